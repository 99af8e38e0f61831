"""Strain against energies and forces taken another way, and the molecules that have none."""

import sys

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from pyg_diffusion.chem import Record, with_positions
from pyg_diffusion.chem.relax import BOHR, HARTREE, require
from pyg_diffusion.metrics import compare, etkdg, evaluate, group_records, mmff_strain, records_of, xtb_strain
from pyg_diffusion.metrics.strain import METHODS

KCAL_PER_EV = 23.0605


@pytest.fixture
def xtb():
    return pytest.importorskip("tblite.interface")


def embed(smiles, n=1, mmff=True):
    mol, _ = etkdg(Chem.AddHs(Chem.MolFromSmiles(smiles)), n, 3, mmff)
    assert mol.GetNumConformers() == n
    return mol


def at(mol, pos):
    return with_positions(mol, np.array([pos]))


def stretched(mol, atom, by):
    """A terminal atom moved outwards along its bond, by Å."""
    (near,) = (n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors())
    pos = mol.GetConformer().GetPositions()
    way = pos[atom] - pos[near]
    pos[atom] += by * way / np.linalg.norm(way)
    return at(mol, pos), way / np.linalg.norm(way)


def work_of_stretching(mol, atom, by, gradient, steps=21):
    """∫ ∂E/∂s ds along the stretch, the trapezoid rule; gradient(mol) `[N, 3]` in energy/Å."""
    s = np.linspace(0, by, steps)
    slope = [gradient(moved)[atom] @ way for moved, way in (stretched(mol, atom, x) for x in s)]
    return np.trapezoid(slope, s)


def mmff_gradient(mol):
    copy = Chem.Mol(mol)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(copy, mmffVariant="MMFF94s")
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(copy, properties)
    field.Initialize()
    return np.array(field.CalcGrad()).reshape(-1, 3)


def xtb_gradient(xtb, charge):
    def gradient(mol):
        numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
        calculator = xtb.Calculator("GFN2-xTB", numbers, mol.GetConformer().GetPositions() / 0.529177, charge=charge, uhf=0)
        calculator.set("verbosity", 0)
        return calculator.singlepoint()["gradient"] * 27.2114 * KCAL_PER_EV / 0.529177

    return gradient


def relaxed_by_xtb(xtb, mol, charge, steps=200):
    """A minimum found without the code under test: steepest descent, kcal/mol and Å."""
    gradient = xtb_gradient(xtb, charge)
    for _ in range(steps):
        g = gradient(mol)
        if np.abs(g).max() < 0.05:
            return mol
        mol = at(mol, mol.GetConformer().GetPositions() - g / 1500)
    raise AssertionError("no minimum")


def test_units():
    assert pytest.approx(27.2114 * KCAL_PER_EV, rel=1e-4) == HARTREE and pytest.approx(0.529177, rel=1e-5) == BOHR


def test_relaxed_has_none_and_a_stretched_bond_has_its_work():
    mol = embed("CCO")
    assert 0 <= mmff_strain(mol) < 1e-2
    for atom in (3, 8):  # C-H, O-H
        work = work_of_stretching(mol, atom, 0.1, mmff_gradient)
        assert work > 1 and mmff_strain(stretched(mol, atom, 0.1)[0]) == pytest.approx(work, rel=0.2)


def test_mmff_by_its_published_bond_term():
    water = embed("O")
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(water, mmffVariant="MMFF94s")
    _, kb, _ = properties.GetMMFFBondStretchParams(water, 0, 1)  # mdyn/Å
    by, cubic = 0.1, -2.0
    term = 143.9325 / 2 * kb * by**2 * (1 + cubic * by + 7 / 12 * cubic**2 * by**2)
    assert mmff_strain(stretched(water, 1, by)[0]) == pytest.approx(term, rel=0.05)


@pytest.mark.parametrize(("smiles", "atom", "charge"), [("O", 1, 0), ("O=C[O-]", 3, -1)])
def test_xtb_relaxed_and_stretched(xtb, smiles, atom, charge):
    mol = relaxed_by_xtb(xtb, embed(smiles), charge)
    assert 0 <= xtb_strain(mol) < 1e-2
    work = work_of_stretching(mol, atom, 0.1, xtb_gradient(xtb, charge), steps=11)
    assert work > 1 and xtb_strain(stretched(mol, atom, 0.1)[0]) == pytest.approx(work, rel=0.2)


def test_charge_is_passed(xtb, monkeypatch):
    mol = embed("CC(=O)[O-]")
    anion = xtb_strain(mol)
    monkeypatch.setattr(Chem, "GetFormalCharge", lambda _: 1)
    assert xtb_strain(mol) != pytest.approx(anion, abs=0.5)
    monkeypatch.setattr(Chem, "GetFormalCharge", lambda _: 0)
    assert xtb_strain(mol) is None  # an odd number of electrons


def test_relaxing_to_another_molecule_is_no_strain(xtb):
    assert xtb_strain(embed("[NH3+]CC(=O)[O-]")) is None  # hands its proton over
    assert xtb_strain(embed("C[CH2]")) is None


def test_broken_coordinates_give_none(xtb):
    mol = embed("CCO")
    pos = mol.GetConformer().GetPositions()
    assert mmff_strain(at(mol, pos * np.nan)) is None
    assert xtb_strain(at(mol, pos * np.nan)) is None and xtb_strain(at(mol, pos * 0)) is None


def test_molecules_without_parameters_are_counted():
    boron, other = embed("CB(O)O", 2), embed("CCO", 2)
    assert mmff_strain(at(boron, boron.GetConformer(0).GetPositions())) is None
    refs, _ = group_records([*records_of(boron, "b"), *records_of(other, "o")])
    records = [*records_of(boron, "b"), *records_of(other, "o"), Record(9, "o", embed("CCN"))]
    out = evaluate(refs, records, checked=None)
    assert [list(m.strain) for m in out.molecules] == [["MMFF94s"]] * 2
    assert out.molecules[0].strain["MMFF94s"] == [None, None]
    *known, lost = out.molecules[1].strain["MMFF94s"]
    assert lost is None and max(known) < 1e-2
    row = compare({"x": out}).rows["x"]
    assert row["strain MMFF94s known"] == "2 of 5" and row["strain MMFF94s median"] == pytest.approx(np.median(known))
    assert not any(key.startswith("strain GFN2") for key in row)
    off = evaluate(refs, records)
    assert not any(key.startswith("strain") for key in compare({"x": off}).rows["x"])


def test_xtb_in_the_table(xtb):
    refs, _ = group_records([Record(0, "w", embed("O")), Record(1, "m", embed("CO"))])
    records = [Record(0, "w", embed("O")), Record(1, "m", embed("CO", mmff=False))]
    out = evaluate(refs, records, checked=None, strain=tuple(METHODS))
    assert [list(m.strain) for m in out.molecules] == [["MMFF94s", "GFN2-xTB"]] * 2
    row = compare({"x": out}).rows["x"]
    assert row["strain GFN2-xTB known"] == "2 of 2"
    assert row["strain GFN2-xTB median"] == pytest.approx(np.median([xtb_strain(r.mol) for r in records]), abs=1e-3)


@pytest.mark.parametrize("method", [mmff_strain, xtb_strain])
def test_nothing_in_the_input_is_modified(xtb, method):
    mol = embed("Cc1nonc1C", mmff=False)  # MMFF sees another aromaticity here
    before = mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps | Chem.PropertyPickleOptions.CoordsAsDouble))
    assert method(mol) > 0
    assert before == mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps | Chem.PropertyPickleOptions.CoordsAsDouble))


def test_unknown_methods_and_missing_tblite_are_said_at_once(monkeypatch):
    with pytest.raises(ValueError, match=r"no energy surface 'AM1'; there are MMFF94s, MMFF94s\(eps=4\), GFN2-xTB"):
        evaluate([], [], strain=("AM1",))
    monkeypatch.setitem(sys.modules, "tblite", None)
    require(["MMFF94s"])
    with pytest.raises(ValueError, match=r"GFN2-xTB needs the package tblite: pip install 'pyg_diffusion\[xtb\]'"):
        evaluate([], [], strain=("MMFF94s", "GFN2-xTB"))
