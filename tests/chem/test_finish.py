"""Relaxing, energies, ranking and pruning against the force field itself."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms
from rdkit.Chem.rdDistGeom import EmbedMolecule

from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem.acceptance import Acceptance
from pyg_diffusion.chem.ensembles import EnsembleOptions, ensemble
from pyg_diffusion.chem.finish import ABOVE, GAS_CONSTANT, NO_ENERGY, PRUNED, UNSOUND, Finish, populations
from pyg_diffusion.chem.relax import RELAX, Relaxed, energy, relax_mmff
from pyg_diffusion.chem.similarity import torsion_distinct


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
    monkeypatch.setitem(RELAX, "MMFF94s", lambda placed, k, hold: Relaxed(crushed, 0.0, 1.0))
    finished, notes = Finish(relax="MMFF94s")(mol, accept(mol), minima[:1])
    assert finished[0].properties["relaxed"] == "no" and notes == {"conformers that MMFF94s could not relax": 1}
    np.testing.assert_array_equal(finished[0].pos, minima[0])
    monkeypatch.undo()
    finished, notes = Finish()(mol, accept(mol), np.stack([minima[0], crushed]))
    assert notes == {UNSOUND: 1}
    assert ["unsound" in f.properties for f in finished] == [False, True] and "C5-O6" in finished[1].properties["unsound"]
    healed, notes = Finish(relax="MMFF94s")(mol, accept(mol), minima[:1] + 0.0)
    assert "unsound" not in healed[0].properties and not notes


def test_a_window_of_energy_and_populations_of_distinct_minima(mol, minima):
    twice = np.concatenate([minima, minima[:1] + 0.001])
    finished, _ = Finish(energies="MMFF94s", kelvin=298.15)(mol, accept(mol), twice)
    energies = np.array([float(f.properties["energy_kcal_mol"]) for f in finished])
    shares = np.array([float(f.properties["population"]) for f in finished])
    equal = np.array([int(f.properties["equal_conformers"]) for f in finished])
    assert sorted(equal)[-2:] == [2, 2] and (equal == 2).sum() == 2
    weight = np.exp(-energies / (GAS_CONSTANT * 298.15)) / equal
    np.testing.assert_allclose(shares, weight / weight.sum(), atol=0.01)  # energies are written to .01 kcal/mol
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    cut = (energies[2] + energies[3]) / 2
    within, notes = Finish(energies="MMFF94s", window=cut)(mol, accept(mol), twice)
    assert len(within) == (energies <= cut).sum() and notes == {ABOVE: (energies > cut).sum()}


def test_populations_in_closed_form():
    step = GAS_CONSTANT * 300 * np.log(2)  # halves a population
    shares, equal = populations(np.array([0, step, 2 * step, 2 * step, np.inf]), np.array([0, 1, 2, 2, 3]), 300)
    np.testing.assert_allclose(shares, np.array([4, 2, 0.5, 0.5, 0]) / 7)
    assert equal.tolist() == [1, 1, 2, 2, 1]
    assert populations(np.full(2, np.inf), np.array([0, 1]), 300)[0].tolist() == [0, 0]


def test_what_has_no_energy_is_in_no_window():
    xenon = Chem.MolFromSmiles("[Xe]")
    assert Finish(energies="MMFF94s", window=5)(xenon, accept(xenon), np.zeros((1, 1, 3))) == ([], {NO_ENERGY: 1})
    with pytest.raises(ValueError, match="window needs energies"):
        Finish(window=5)


def test_torsion_fingerprints_prune_what_turns_a_little(mol, minima):
    once = torsion_distinct(mol, minima, 0.01)  # fewer than the minima: some differ in O-H alone
    assert torsion_distinct(mol, np.concatenate([minima, minima]), 0.01) == once
    assert torsion_distinct(mol, minima, 1.0) == [0]
    butane = Chem.AddHs(Chem.MolFromSmiles("CCCC"))
    EmbedMolecule(butane, randomSeed=1)
    turned = []
    for degrees in (180, 175, 60):
        rdMolTransforms.SetDihedralDeg(butane.GetConformer(), 0, 1, 2, 3, degrees)
        turned.append(butane.GetConformer().GetPositions())
    # the only torsion weighs 1 and is counted over 180 degrees: 5 of them are .028, 120 are .667
    assert torsion_distinct(butane, np.stack(turned), 0.03) == [0, 2]
    assert torsion_distinct(butane, np.stack(turned), 0.02) == [0, 1, 2]
