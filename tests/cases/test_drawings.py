"""Wedges that are clear give their stereo; unclear, wavy and crossed ones leave it open, and the unclear are named."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion.chem import read_sdf, stereoisomers, with_positions
from pyg_diffusion.chem.writing import sdf_text

CHIRAL = """  4  3  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
   -1.3000    0.7500    0.0000 O   0  0
    1.3000    0.7500    0.0000 Cl  0  0
    0.0000   -1.5000    0.0000 C   0  0
  1  2  1  {0}
  1  3  1  {1}
  1  4  1  {2}
M  END
"""
REVERSED = CHIRAL.replace("  1  2  1  {0}", "  2  1  1  {0}")
FOUR = """  5  4  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    0.0000    1.5000    0.0000 O   0  0
    1.5000    0.0000    0.0000 Cl  0  0
    0.0000   -1.5000    0.0000 C   0  0
   -1.5000    0.0000    0.0000 N   0  0
  1  2  1  {0}
  1  3  1  {1}
  1  4  1  {2}
  1  5  1  {3}
M  END
"""
DOUBLE = """  4  3  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.3000    0.0000    0.0000 C   0  0
   {0}    0.0000 O   0  0
    2.0000    1.2000    0.0000 N   0  0
  1  2  2  {1}
  1  3  1  {2}
  2  4  1  0
M  END
"""
OUT, ALONG = "-0.7000    1.2000", "-1.3000    0.0000"


@pytest.mark.parametrize(
    ("block", "isomers", "remark"),
    [
        (CHIRAL.format(1, 0, 0), ["C[C@@H](O)Cl"], ""),
        (CHIRAL.format(6, 0, 0), ["C[C@H](O)Cl"], ""),
        (FOUR.format(1, 0, 1, 0), ["C[C@@](N)(O)Cl"], ""),
        (CHIRAL.format(0, 0, 0), ["C[C@@H](O)Cl", "C[C@H](O)Cl"], ""),
        (CHIRAL.format(4, 0, 0), ["C[C@@H](O)Cl", "C[C@H](O)Cl"], ""),
        (CHIRAL.format(1, 4, 0), ["C[C@@H](O)Cl", "C[C@H](O)Cl"], "atom 1 (wedge and wavy bond)"),
        (FOUR.format(1, 0, 6, 0), ["C[C@@](N)(O)Cl", "C[C@](N)(O)Cl"], "atom 1 (opposing bonds have opposite wedging)"),
        (REVERSED.format(1, 0, 0), ["C[C@@H](O)Cl", "C[C@H](O)Cl"], "atom 1 (it is at the wide end of the wedge)"),
        (DOUBLE.format(OUT, 0, 0), ["N/C=C\\O"], ""),
        (DOUBLE.format(OUT, 3, 0), ["N/C=C/O", "N/C=C\\O"], ""),
        (DOUBLE.format(OUT, 0, 4), ["N/C=C/O", "N/C=C\\O"], ""),
        (DOUBLE.format(ALONG, 0, 0), ["N/C=C/O", "N/C=C\\O"], "double bond 1-2 (its sides are not drawn)"),
    ],
)
def test_marks(tmp_path, block, isomers, remark):
    path = tmp_path / "drawn.sdf"
    path.write_text(f"drawn\n     program          2D\n\n{block}$$$$\n")
    (record,) = read_sdf(str(path), need_3d=False)
    made = [Chem.MolToSmiles(Chem.RemoveHs(m)) for m in stereoisomers(record.mol)]
    assert sorted(made) == sorted(map(Chem.CanonSmiles, isomers))
    remarks = [note for note in record.notes if "hydrogens" not in note]
    assert remarks == ([f"ambiguous stereochemistry left open: {remark}"] if remark else [])


def test_other_warnings_of_rdkit_are_passed_on(tmp_path):
    path = tmp_path / "drawn.sdf"
    path.write_text(f"drawn\n     progr          3D\n\n{CHIRAL.format(1, 0, 0)}$$$$\n")
    (record,) = read_sdf(str(path), need_3d=False)
    assert any("marking the mol as 2D" in note and note.startswith("RDKit: ") for note in record.notes)


def test_stereo_groups_come_through_v3000(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](F)[C@@H](O)Cl |&1:1,o2:3|"))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    mol.SetProp("_Name", "groups")
    path = tmp_path / "groups.sdf"
    path.write_text(sdf_text(mol, -1))
    (record,) = read_sdf(str(path))
    assert "V3000" in sdf_text(record.mol, -1)
    groups = {str(g.GetGroupType()): [a.GetIdx() for a in g.GetAtoms()] for g in record.mol.GetStereoGroups()}
    assert groups == {"STEREO_AND": [1], "STEREO_OR": [3]}


def test_more_than_999_atoms_go_out_and_come_back_as_v3000(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("C" * 400))
    pos = np.zeros((mol.GetNumAtoms(), 3))
    for atom in mol.GetAtoms():  # a zigzag, hydrogens beside it
        k = atom.GetIdx()
        pos[k] = (
            [1.3 * k, 0.4 * (-1) ** k, 0.0] if k < 400 else pos[atom.GetNeighbors()[0].GetIdx()] + [0.0, 0.1 * (k % 7), 1.0]
        )
    text = sdf_text(with_positions(mol, pos[None]), -1)
    path = tmp_path / "long.sdf"
    path.write_text(text + text.split("$$$$")[0])  # the second without its end
    first, second = read_sdf(str(path), need_3d=False)
    assert "V3000" in text and first.mol.GetNumAtoms() == 1202 and second.mol.GetNumAtoms() == 1202
    assert Chem.MolToSmiles(Chem.RemoveHs(first.mol)) == "C" * 400
