"""Relaxation by calculators of ASE: the same minima as without ASE, what is fixed stays, and what goes wrong is named."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers, rdMolTransforms
from rdkit.Chem.rdDistGeom import EmbedMultipleConfs

from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem import relax as relaxing
from pyg_diffusion.chem.relax import EV, Hold, energy, relax, relax_mmff, relax_xtb
from pyg_diffusion.chem.torsions import Torsions, torsion

pytest.importorskip("ase")
from ase.calculators.calculator import Calculator, all_changes


class MMFF(Calculator):
    """RDKit's MMFF94s as ASE has it, so that minima can be compared."""

    implemented_properties = ("energy", "forces")

    def __init__(self, mol: Chem.Mol):
        super().__init__()
        self.mol, self.seen = Chem.Mol(mol), None

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen = dict(atoms.info)
        facts = rdForceFieldHelpers.MMFFGetMoleculeProperties(self.mol, mmffVariant="MMFF94s")
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(self.mol, facts)
        pos = list(map(float, atoms.get_positions().ravel()))
        self.results["energy"] = field.CalcEnergy(pos) / EV
        self.results["forces"] = -np.array(field.CalcGrad(pos)).reshape(-1, 3) / EV


class Spring(Calculator):
    """½ k |x - x₀|²: draws the atoms to given places."""

    implemented_properties = ("energy", "forces")

    def __init__(self, places: np.ndarray):
        super().__init__()
        self.places = places

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.get_positions() - self.places
        self.results.update(energy=10 * float((away**2).sum()), forces=-20 * away)


@pytest.fixture
def mol():
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)CC(=O)[O-]"))
    assert len(EmbedMultipleConfs(mol, 2, randomSeed=3)) == 2
    return mol


def test_the_minima_are_those_without_ase(mol):
    expected = [relax_mmff(mol, k) for k in range(2)]
    calculator = MMFF(mol)
    outcomes = relax(mol, calculator, force=1e-3)
    assert calculator.seen == {"charge": -1, "spin": 1}
    for conformer, outcome, minimum in zip(mol.GetConformers(), outcomes, expected, strict=True):
        assert outcome.problem == "" and outcome.energy == pytest.approx(minimum.energy, abs=2e-3)
        assert outcome.strain == pytest.approx(minimum.strain, abs=2e-3)
        distances = [np.linalg.norm(pos[:, None] - pos, axis=-1) for pos in (conformer.GetPositions(), minimum.pos)]
        np.testing.assert_allclose(*distances, rtol=0, atol=0.05)


def test_fixed_atoms_stay_and_the_rest_relaxes(mol):
    before = [c.GetPositions() for c in mol.GetConformers()]
    core = [0, 1, 2, 3]
    expected = [relax_mmff(mol, k, hold=Hold(tuple(core))) for k in range(2)]
    outcomes = relax(mol, MMFF(mol), fixed=core, force=1e-3)
    for conformer, pos, outcome, minimum in zip(mol.GetConformers(), before, outcomes, expected, strict=True):
        np.testing.assert_array_equal(conformer.GetPositions()[core], pos[core])
        np.testing.assert_allclose(minimum.pos[core], pos[core], rtol=0, atol=1e-9)
        assert outcome.energy == pytest.approx(minimum.energy, abs=2e-3) and outcome.strain > 1


def test_held_torsions_keep_their_values_in_mmff(mol):
    pos = mol.GetConformer(0).GetPositions()
    torsions = Torsions(molecule_from_mol(mol, conformers=False), [(1, 3), (3, 4)], pos)
    held, free = relax_mmff(mol, 0, hold=Hold(torsions=torsions)), relax_mmff(mol, 0)
    for row in torsions.rows:
        assert torsion(held.pos, row) == pytest.approx(torsion(pos, row), abs=1e-6)
    assert max(abs(torsion(free.pos, row) - torsion(pos, row)) for row in torsions.rows) > 2
    assert held.strain > 1 and held.energy >= free.energy


def test_held_torsions_keep_their_values_in_xtb():
    """At the minimum under a held torsion all that is left of the slope is along the torsion."""
    pytest.importorskip("tblite")
    mol = Chem.AddHs(Chem.MolFromSmiles("OO"))
    assert len(EmbedMultipleConfs(mol, 1, randomSeed=3)) == 1
    rdMolTransforms.SetDihedralDeg(mol.GetConformer(), 2, 0, 1, 3, 40.0)
    pos = mol.GetConformer().GetPositions()
    torsions = Torsions(molecule_from_mol(mol, conformers=False), [(0, 1)], pos)
    held, free = relax_xtb(mol, hold=Hold(torsions=torsions)), relax_xtb(mol)
    assert torsion(held.pos, torsions.rows[0]) == pytest.approx(40, abs=1e-6)
    assert held.strain > 0 and held.energy > free.energy + 0.5
    assert energy(with_positions(mol, held.pos[None]), "GFN2-xTB") == pytest.approx(held.energy, abs=1e-4)

    def slope(f) -> np.ndarray:
        step = 1e-3 * np.eye(12).reshape(12, 4, 3)
        return np.array([(f(held.pos + d) - f(held.pos - d)) / 2e-3 for d in step])

    along = slope(lambda x: torsion(x, torsions.rows[0]))
    of_energy = slope(lambda x: energy(with_positions(mol, x[None]), "GFN2-xTB"))
    across = of_energy - along * (of_energy @ along) / (along @ along)
    assert np.linalg.norm(of_energy) > 2  # kcal/(mol Å)
    assert np.abs(across).max() < 0.2  # 1e-4 Hartree/Bohr is .12


def test_two_torsions_and_kept_atoms_cost_little_more_in_xtb(mol, monkeypatch):
    pytest.importorskip("tblite")
    pos, counted = mol.GetConformer(0).GetPositions(), []
    minimize = relaxing.minimize
    monkeypatch.setattr(relaxing, "minimize", lambda *args, **kw: counted.append(minimize(*args, **kw)) or counted[-1])
    stay = np.isin(np.arange(len(pos)), [4, 5, 6])
    torsions = Torsions(molecule_from_mol(mol, conformers=False), [(1, 3), (3, 4)], pos, stay)
    held = relax_xtb(mol, hold=Hold((4, 5, 6), torsions))
    assert sum(found.nfev for found in counted) < 400
    for row in torsions.rows:
        assert torsion(held.pos, row) == pytest.approx(torsion(pos, row), abs=1e-6)
    np.testing.assert_allclose(held.pos[[4, 5, 6]], pos[[4, 5, 6]], rtol=0, atol=1e-9)


def test_what_goes_wrong_is_named_and_leaves_the_conformer(mol):
    before = [c.GetPositions() for c in mol.GetConformers()]
    slow = relax(mol, MMFF(mol), steps=2)
    assert all(outcome.problem == "no force below 0.02 eV/Å within 2 steps" for outcome in slow)
    mirrored, torn = before[0] * [1, 1, -1], before[0].copy()
    torn[0] += 3.0
    assert relax(mol, Spring(mirrored))[0].problem == "the stereo would be another"
    assert "C1-H" in relax(mol, Spring(torn))[0].problem
    broken = relax(mol, object())
    assert all(outcome.problem and np.isnan(outcome.energy) for outcome in broken)
    for conformer, pos in zip(mol.GetConformers(), before, strict=True):
        np.testing.assert_array_equal(conformer.GetPositions(), pos)
    with pytest.raises(ValueError, match="there is no atom 99 to fix among 14"):
        relax(mol, MMFF(mol), fixed=[99])
    mol.RemoveAllConformers()
    with pytest.raises(ValueError, match="the molecule has no conformers to relax"):
        relax(mol, MMFF(mol))


def test_tblite_through_ase_and_by_itself(mol):
    ase = pytest.importorskip("tblite.ase")
    small = Chem.AddHs(Chem.MolFromSmiles("CO"))
    assert len(EmbedMultipleConfs(small, 1, randomSeed=3)) == 1
    minimum, start = relax_xtb(small), small.GetConformer().GetPositions()
    held = relax_xtb(small, hold=Hold((0, 1)))
    np.testing.assert_array_equal(held.pos[:2], start[:2])
    assert minimum.energy <= held.energy < minimum.energy + minimum.strain
    (outcome,) = relax(small, ase.TBLite(method="GFN2-xTB", verbosity=0), force=2e-3)
    assert outcome.problem == "" and outcome.energy == pytest.approx(minimum.energy, abs=0.01)
