"""Stereo that RDKit does not read from 3D comes back from a file; distorted polyhedra stay one molecule."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.tasks.molecules.inputs import unique_molecules


def written(path, smiles: list[str], noise: float = 0.0) -> str:
    draw, text = np.random.default_rng(0), ""
    for k, one in enumerate(smiles):
        mol = Chem.AddHs(Chem.MolFromSmiles(one))
        assert AllChem.EmbedMolecule(mol, randomSeed=k + 1) == 0
        pos = mol.GetConformer().GetPositions()
        mol.GetConformer().SetPositions(pos + noise * draw.standard_normal(pos.shape))
        mol.SetProp("_Name", "mol")
        text += Chem.MolToMolBlock(mol) + "$$$$\n"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "smiles", ["C[P@](CC)c1ccccc1", "C[As@@](CC)CCC", "C[N@]1C[C@@H]1F", "C[S@](=O)CC", "C[P@@](=O)(CC)O"]
)
def test_both_hands_come_back_as_two(tmp_path, smiles):
    mirrored = smiles.replace("@@", "~").replace("@", "@@").replace("~", "@")
    path = written(tmp_path / "mols.sdf", [smiles, mirrored, smiles])
    found = [Chem.MolToSmiles(Chem.RemoveHs(r.mol)) for r in read_sdf(path)]
    assert found == [Chem.CanonSmiles(s) for s in (smiles, mirrored, smiles)]
    assert found[0] != found[1]
    assert [e.copies for e in list(unique_molecules(read_sdf(path), print, print))] == [2, 1]


@pytest.mark.parametrize("smiles", ["FS(F)(F)(F)(F)F", "CP(C)(C)(C)C", "F[P-](F)(F)(F)(F)F"])
def test_a_distorted_polyhedron_is_one_molecule(tmp_path, smiles):
    path = written(tmp_path / "mols.sdf", [smiles] * 6, noise=0.1)
    assert len({molecule_from_mol(r.mol).topology() for r in read_sdf(path)}) == 1
