"""Torsions set to what they are elsewhere: against RDKit's, with nothing else changed."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms
from rdkit.Chem.rdDistGeom import EmbedMultipleConfs

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.torsions import Torsions, torsion


@pytest.fixture(scope="module")
def two():
    mol = Chem.AddHs(Chem.MolFromSmiles("OCCC(C)Cc1ccccc1"))
    assert len(EmbedMultipleConfs(mol, 2, randomSeed=4)) == 2
    return mol


def test_values_are_those_of_rdkit(two):
    for conformer in two.GetConformers():
        for row in ([0, 1, 2, 3], [1, 2, 3, 5], [4, 3, 5, 6]):
            expected = rdMolTransforms.GetDihedralDeg(conformer, *row)
            assert torsion(conformer.GetPositions(), row) == pytest.approx(expected, abs=1e-6)


def test_they_are_set_and_all_lengths_angles_and_other_torsions_stay(two):
    molecule = molecule_from_mol(two, conformers=False)
    here, there = (c.GetPositions() for c in two.GetConformers())
    bonds = [(2, 3), (5, 3), (1, 2)]
    held = Torsions(molecule, bonds, here)
    moved = held(there)
    for row in held.rows:
        assert torsion(moved, row) == pytest.approx(torsion(here, row), abs=1e-9)
    near = Chem.GetDistanceMatrix(two) <= 2  # bonds and angles
    distances = [np.linalg.norm(pos[:, None] - pos, axis=-1)[near] for pos in (moved, there)]
    np.testing.assert_allclose(*distances, rtol=0, atol=1e-9)
    assert torsion(moved, [3, 5, 6, 7]) == pytest.approx(torsion(there, [3, 5, 6, 7]), abs=1e-9)


def test_atoms_that_stay_do_not_move(two):
    molecule = molecule_from_mol(two, conformers=False)
    here, there = (c.GetPositions() for c in two.GetConformers())
    for stay in ([0, 1], [6, 7, 8]):
        held = Torsions(molecule, [(2, 3)], here, np.isin(np.arange(two.GetNumAtoms()), stay))
        moved = held(there)
        np.testing.assert_array_equal(moved[stay], there[stay])
        assert torsion(moved, held.rows[0]) == pytest.approx(torsion(here, held.rows[0]), abs=1e-9)
    with pytest.raises(ValueError, match="the bond C3-C4 has atoms to keep on both sides"):
        Torsions(molecule, [(2, 3)], here, np.isin(np.arange(two.GetNumAtoms()), [0, 7]))


def test_part_of_a_molecule_has_those_of_its_atoms(two):
    molecule = molecule_from_mol(two, conformers=False)
    here, there = (c.GetPositions() for c in two.GetConformers())
    held = Torsions(molecule, [(2, 3), (1, 0)], here)  # the second by a hydrogen
    heavy = np.flatnonzero(molecule.z > 1)
    part = held.of(heavy)
    assert len(held.rows) == 2 and part.rows.tolist() == [held.rows[0].tolist()]
    assert torsion(part(there[heavy]), part.rows[0]) == pytest.approx(torsion(here, held.rows[0]), abs=1e-9)


@pytest.mark.parametrize(
    ("smiles", "bond", "words"),
    [
        ("CCC", (0, 2), "C1 and C3 have no bond to lock"),
        ("CC1CC1", (1, 2), "the bond C2-C3 is in a ring: keep its atoms instead"),
        ("CC#CC", (1, 2), "nothing turns about the bond C2-C3"),
        ("CF", (0, 1), "nothing turns about the bond C1-F2"),
    ],
)
def test_what_has_no_torsion_is_named(smiles, bond, words):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert len(EmbedMultipleConfs(mol, 1, randomSeed=1)) == 1
    with pytest.raises(ValueError, match=words):
        Torsions(molecule_from_mol(mol, conformers=False), [bond], mol.GetConformer().GetPositions())
