"""Relaxing, energies, ranking and pruning against the force field itself."""

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem.acceptance import Acceptance
from pyg_diffusion.chem.ensembles import EnsembleOptions, ensemble
from pyg_diffusion.chem.finish import PRUNED, UNSOUND, Finish
from pyg_diffusion.chem.relax import RELAX, Relaxed, energy, relax_mmff


@pytest.fixture(scope="module")
def mol():
    return Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)CCO"))


@pytest.fixture(scope="module")
def minima(mol):
    return np.stack([c.pos for c in ensemble(mol, EnsembleOptions(20, "MMFF94s"))])


def accept(mol):
    return Acceptance(molecule_from_mol(mol))


def test_nothing_asked_nothing_done(mol, minima):
    finished, notes = Finish()(mol, accept(mol), minima)
    np.testing.assert_array_equal(np.stack([f.pos for f in finished]), minima)
    assert all(not f.properties for f in finished) and not notes


def test_relaxed_ranked_by_energy_and_pruned(mol, minima, rng):
    shaken = np.concatenate([minima, minima])[::-1] + 0.03 * rng.standard_normal((2 * len(minima), mol.GetNumAtoms(), 3))
    finished, notes = Finish(relax="MMFF94s", prune=0.1)(mol, accept(mol), shaken)
    assert len(finished) == len(minima) and notes == {PRUNED: len(minima)}
    placed = with_positions(mol, np.stack([f.pos for f in finished]))
    energies = [energy(placed, "MMFF94s", k) for k in range(len(finished))]
    assert energies == sorted(energies)
    for k, f in enumerate(finished):
        assert f.properties["relaxed"] == "MMFF94s" and float(f.properties["strain_before_kcal_mol"]) > 0.5
        assert float(f.properties["energy_kcal_mol"]) == pytest.approx(energies[k] - energies[0], abs=0.006)
        assert relax_mmff(placed, k).strain < 1e-3


def test_energies_alone_leave_the_geometry(mol, minima):
    finished, _ = Finish(energies="MMFF94s")(mol, accept(mol), minima[::-1])
    np.testing.assert_allclose(np.stack([f.pos for f in finished]), minima)  # `ensemble` sorts by energy as well


def test_ranked_by_confidence_and_the_better_of_two_is_kept(mol, minima):
    pair = np.stack([minima[0], minima[1], minima[0] + 0.001])
    finished, _ = Finish(prune=0.05)(mol, accept(mol), pair, np.array([0.2, 0.5, 0.9]))
    assert [f.properties["confidence"] for f in finished] == ["0.900", "0.500"]
    np.testing.assert_array_equal(finished[0].pos, pair[2])


def test_a_relaxation_that_fails_or_turns_a_centre_is_taken_back(mol, minima):
    mirrored = minima[:1] * [1, 1, -1]
    finished, notes = Finish(relax="MMFF94s")(mol, accept(mol), mirrored)
    assert finished[0].properties["relaxed"] == "no" and notes == {"conformers that MMFF94s could not relax": 1}
    np.testing.assert_array_equal(finished[0].pos, mirrored[0])
    xenon = Chem.MolFromSmiles("[Xe]")
    finished, notes = Finish(relax="MMFF94s")(xenon, accept(xenon), np.zeros((1, 1, 3)))
    assert finished[0].properties["energy_kcal_mol"] == "unknown" and sum(notes.values()) == 1


def test_none_at_all_and_wrong_options(mol):
    assert Finish("MMFF94s", prune=0.1)(mol, accept(mol), np.zeros((0, mol.GetNumAtoms(), 3))) == ([], {})
    with pytest.raises(ValueError, match="no energy surface 'UFF'"):
        Finish(relax="UFF")
    with pytest.raises(ValueError, match="prune"):
        Finish(prune=-1.0)


def test_a_relaxation_into_what_cannot_be_is_taken_back_and_the_unsound_are_marked(mol, minima, monkeypatch):
    crushed = minima[0].copy()
    crushed[4] = crushed[0] + 0.5
    monkeypatch.setitem(RELAX, "MMFF94s", lambda placed, k: Relaxed(crushed, 0.0, 1.0))
    finished, notes = Finish(relax="MMFF94s")(mol, accept(mol), minima[:1])
    assert finished[0].properties["relaxed"] == "no" and notes == {"conformers that MMFF94s could not relax": 1}
    np.testing.assert_array_equal(finished[0].pos, minima[0])
    monkeypatch.undo()
    finished, notes = Finish()(mol, accept(mol), np.stack([minima[0], crushed]))
    assert notes == {UNSOUND: 1}
    assert ["unsound" in f.properties for f in finished] == [False, True] and "C5-O6" in finished[1].properties["unsound"]
    healed, notes = Finish(relax="MMFF94s")(mol, accept(mol), minima[:1] + 0.0)
    assert "unsound" not in healed[0].properties and not notes
