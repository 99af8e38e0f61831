"""Heavy atoms and identity against molecules that RDKit's own ways leave hydrogens on."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.heavy import heavy_atoms, identity_smiles
from pyg_diffusion.chem.isomers import most_stereoisomers, stereoisomers
from pyg_diffusion.chem.splits import connectivity, scaffold
from pyg_diffusion.metrics import etkdg, rmsd_matrix


def labelled(smiles: str, n: int = 1) -> Chem.Mol:
    """Conformers of a molecule with a data group of one atom on every atom, as some programs write them."""
    mol, _ = etkdg(Chem.AddHs(Chem.MolFromSmiles(smiles)), n, seed=4)
    assert mol.GetNumConformers() == n
    for atom in mol.GetAtoms():
        group = Chem.CreateMolDataSubstanceGroup(mol, "charge", "0.1")
        group.AddAtomWithIdx(atom.GetIdx())
        Chem.AddMolSubstanceGroup(mol, group)
    return mol


@pytest.mark.parametrize(
    ("smiles", "heavy"),
    [
        ("[2H]OCCC(=O)N", 6),
        ("[H]/N=C/OC", 4),
        ("c1cc[nH]c1", 5),
        ("[2H]C([2H])([3H])c1ccccc1", 7),
        ("[Na+].[H-]", 1),
        ("[H][H]", 2),  # nothing else is there
        ("[2H]", 1),
    ],
)
def test_no_hydrogen_is_left(smiles, heavy):
    mol = labelled(smiles)
    bare = heavy_atoms(mol)
    assert bare.GetNumAtoms() == heavy
    numbers = [a.GetAtomicNum() for a in mol.GetAtoms()]
    kept = [k for k, z in enumerate(numbers) if z > 1] or list(range(len(numbers)))
    assert [a.GetAtomicNum() for a in bare.GetAtoms()] == [numbers[k] for k in kept]
    np.testing.assert_array_equal(bare.GetConformer().GetPositions(), mol.GetConformer().GetPositions()[kept])


def test_hydrogens_on_heavy_atoms_are_still_known():
    """Patterns and rotatable bonds of the heavy atoms are those of the molecule."""
    for smiles in ("c1cc[nH]c1CO", "CC(C)C(=O)[O-]", "C[NH2+]CCO"):
        bare = heavy_atoms(labelled(smiles))
        assert Chem.MolToSmiles(bare) == Chem.CanonSmiles(smiles)
        assert bare.GetRingInfo().NumRings() == Chem.MolFromSmiles(smiles).GetRingInfo().NumRings()


def test_rmsd_does_not_count_hydrogens_of_groups_nor_deuterium():
    """The same as of the molecule that never had hydrogens, by RDKit's function; `RemoveHs` would have kept all ten."""
    mol = labelled("[2H]OCCC(=O)NC", 2)
    first, second = (Chem.Mol(mol, confId=c.GetId()) for c in mol.GetConformers())
    assert Chem.RemoveHs(mol).GetNumAtoms() == Chem.RemoveAllHs(mol).GetNumAtoms() == mol.GetNumAtoms()
    plain = Chem.MolFromSmiles("OCCC(=O)NC")
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    for positions in (c.GetPositions()[heavy] for c in mol.GetConformers()):
        conformer = Chem.Conformer(plain.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(positions))
        plain.AddConformer(conformer, assignId=True)
    expected = rdMolAlign.GetBestRMS(plain, plain, 0, 1)
    assert expected > 0.1
    assert rmsd_matrix(first, second)[0, 0] == pytest.approx(expected, abs=1e-6)
    assert rdMolAlign.GetBestRMS(first, second) > expected + 0.05  # with hydrogens


def test_groups_make_no_other_molecule():
    for smiles in ("[2H]OCCC(=O)N", r"[H]/N=C/OC", "C[C@H](N)C(=O)O"):
        assert identity_smiles(labelled(smiles)) == Chem.CanonSmiles(smiles)  # D and the imine's hydrogen are part of it
        assert molecule_from_mol(labelled(smiles)).smiles == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize(("smiles", "isomers"), [("CC(F)C(=O)N", 2), ("CC(F)C(C)=N", 2), ("CC(N)=N", 1)])
def test_groups_change_neither_the_isomers_nor_the_split(smiles, isomers):
    """The hydrogen of an imine counts as stereo where a group keeps it: four isomers for two."""
    plain, grouped = Chem.AddHs(Chem.MolFromSmiles(smiles)), labelled(smiles)
    assert most_stereoisomers(grouped) == most_stereoisomers(plain) == len(stereoisomers(grouped)) == isomers
    assert [identity_smiles(m) for m in stereoisomers(grouped)] == [identity_smiles(m) for m in stereoisomers(plain)]
    assert connectivity(grouped) == connectivity(plain) and scaffold(grouped) == scaffold(plain)
