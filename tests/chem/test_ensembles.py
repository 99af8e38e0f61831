"""Ensembles against what is known of their molecules, and through `prepare`."""

from collections import Counter

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from pyg_diffusion.chem import check_stereo, stereo_of, with_positions
from pyg_diffusion.chem.ensembles import EnsembleOptions, ensemble
from pyg_diffusion.chem.prepare import NothingUsable, prepare
from pyg_diffusion.chem.relax import BOHR, energy, relax_mmff
from pyg_diffusion.chem.similarity import distinct
from pyg_diffusion.data import MoleculeStore


def molecule(smiles):
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def torsion(mol, pos, atoms):
    placed = with_positions(mol, pos[None])
    return rdMolTransforms.GetDihedralDeg(placed.GetConformer(), *atoms)


def test_butane_has_one_anti_and_two_gauche():
    mol = molecule("CCCC")
    found = ensemble(mol, EnsembleOptions(30, "MMFF94s"))
    turns = [torsion(mol, c.pos, (0, 1, 2, 3)) for c in found]
    assert [round(abs(t)) for t in turns] == [180, 65, 65] and turns[1] * turns[2] < 0
    assert [c.energy for c in found] == pytest.approx([0, 0.782, 0.782], abs=0.01)  # Halgren 1996: .78 kcal/mol
    assert len(ensemble(mol, EnsembleOptions(30, "MMFF94s", window=0.5))) == 1
    assert len(ensemble(mol, EnsembleOptions(30, "MMFF94s", keep=2))) == 2
    assert len(ensemble(mol, EnsembleOptions(30, "ETKDGv3", rmsd=0))) == 30


def test_members_are_minima_of_right_stereo_apart_and_the_same_each_time():
    mol = molecule("C[C@H](O)/C=C/[C@@H](C)N")
    options = EnsembleOptions(20, "MMFF94s")
    notes = Counter()
    found = ensemble(mol, options, notes)
    positions = np.stack([c.pos for c in found])
    assert len(found) > 3 and check_stereo(stereo_of(mol), positions).all()
    placed = with_positions(mol, positions)
    assert all(relax_mmff(placed, c.GetId()).strain < 1e-3 for c in placed.GetConformers())
    assert [c.energy for c in found] == sorted(c.energy for c in found) and found[0].energy == 0 and found[-1].energy <= 6
    assert distinct(mol, positions, options.rmsd) == list(range(len(found)))
    np.testing.assert_array_equal(positions, np.stack([c.pos for c in ensemble(mol, options)]))


def test_a_dielectric_constant_unfolds_what_charges_hold_together():
    """4-aminobutanoic acid's zwitterion: in vacuum the salt bridge is far below all else, with eps = 4 less so."""
    mol = molecule("[NH3+]CCCC(=O)[O-]")
    nitrogen, oxygens = 0, [5, 6]
    gaps, spread = [], []
    for level in ("MMFF94s", "MMFF94s(eps=4)"):
        found = ensemble(mol, EnsembleOptions(30, level, window=200.0))
        reach = np.array([min(np.linalg.norm(c.pos[nitrogen] - c.pos[o]) for o in oxygens) for c in found])
        energies = np.array([c.energy for c in found])
        assert reach[0] < 3.2  # the lowest has the bridge
        gaps.append(energies[reach > 4.5].min())
        spread.append(energies.max())
    assert gaps[0] > 3 * gaps[1] > 0  # a Coulomb energy is inverse to the constant
    assert spread[0] > spread[1]
    placed = with_positions(mol, np.stack([c.pos for c in found]))
    assert all(relax_mmff(placed, c.GetId(), dielectric=4.0).strain < 1e-3 for c in placed.GetConformers())
    values = [energy(placed, "MMFF94s(eps=4)", k) for k in range(len(found))]
    assert np.subtract(values, values[0]) == pytest.approx([c.energy for c in found], abs=1e-3)


def test_gfn2_members_have_no_force_left():
    interface = pytest.importorskip("tblite.interface")
    mol = molecule("CCO")
    found = ensemble(mol, EnsembleOptions(10))
    turns = sorted(abs(torsion(mol, c.pos, (0, 1, 2, 8))) for c in found)
    assert turns == pytest.approx([60, 60, 180], abs=8)
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    for c in found:
        calculator = interface.Calculator("GFN2-xTB", numbers, c.pos / BOHR)
        calculator.set("verbosity", 0)
        assert np.abs(calculator.singlepoint()["gradient"]).max() < 6e-4


def test_prepare_makes_them_in_parallel_and_says_what_failed(tmp_path):
    source = tmp_path / "some.smi"
    source.write_text("CCO ethanol\nnonsense\nOCC ethanol again\nCC[C@H](C)O butanol\n[Xe] xenon\nCCO ethanol once more\n")
    options = EnsembleOptions(8, "MMFF94s", window=20.0)
    report = prepare([str(source)], str(tmp_path / "a.h5"), 1, False, options)
    assert [s.record for s in report.skipped] == [2, 5] and "MMFF94s" in report.skipped[1].reason
    store = MoleculeStore(tmp_path / "a.h5")
    assert [m.name for m in store] == ["ethanol", "butanol"] and store.levels == ["MMFF94s"]
    for m in store:
        assert set(m.levels) == {"MMFF94s"} and m.energies[0] == 0 and len(m.pos) == len(m.energies) > 1
        assert m.data(1).level == "MMFF94s"
    expected = ensemble(molecule("CCO"), options)
    centred = expected[0].pos - expected[0].pos.mean(0)
    np.testing.assert_allclose(store[0].pos[0], centred, atol=1e-4)
    with pytest.raises(ValueError, match="level says"):
        prepare([str(source)], str(tmp_path / "b.h5"), 1, False, options, "B3LYP")
    (tmp_path / "bad.smi").write_text("[Xe]\n")
    with pytest.raises(NothingUsable):
        prepare([str(tmp_path / "bad.smi")], str(tmp_path / "b.h5"), 1, False, options)


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"level": "AM1"}, {"window": 0.0}, {"rmsd": -1.0}, {"keep": -1}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|no level"):
        EnsembleOptions(**{"starts": 5, **wrong})
