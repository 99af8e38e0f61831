"""XYZ, PDB and mol2 against the molecules that were written."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

from pyg_diffusion.chem.formats import read_records, writer_of
from pyg_diffusion.chem.heavy import identity_smiles
from pyg_diffusion.cli import main

SMILES = [
    "C[C@H](N)C(=O)[O-]", "C/C=C\\Cl", "NC(=O)c1ccccc1", "C[N+](C)(C)C", "O=[N+]([O-])c1ccccc1", "C#N", "O", "CS(N)(=O)=O",
    "C1=CC=CN1", "[He]", "FC(F)(F)C(F)(F)F", "O=C=O",
]  # fmt: skip

ACETATE = """\
@<TRIPOS>MOLECULE
acetate
 7 6 0 0 0
SMALL
NO_CHARGES

@<TRIPOS>ATOM
      1 C1   -0.8600   0.0400   0.0100 C.3   1 LIG 0.0
      2 C2    0.6700  -0.0200   0.0000 C.2   1 LIG 0.0
      3 O1    1.2300  -1.1400   0.0000 O.co2 1 LIG 0.0
      4 O2    1.2400   1.0900  -0.0100 O.co2 1 LIG 0.0
      5 H1   -1.2000   1.0700   0.1300 H     1 LIG 0.0
      6 H2   -1.2500  -0.5700   0.8300 H     1 LIG 0.0
      7 H3   -1.2500  -0.3400  -0.9400 H     1 LIG 0.0
@<TRIPOS>BOND
     1 1 2 1
     2 2 3 ar
     3 2 4 ar
     4 1 5 1
     5 1 6 1
     6 1 7 1
"""


@pytest.mark.parametrize("suffix", [".xyz", ".pdb"])
@pytest.mark.parametrize("smiles", SMILES)
def test_written_and_read_it_is_the_same_molecule(smiles, suffix, tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert EmbedMolecule(mol, randomSeed=1) == 0
    mol.SetProp("_Name", "some name")
    mol.SetProp("confidence", "0.5")
    path = tmp_path / f"mols{suffix}"
    path.write_text(2 * writer_of(str(path))(mol, 0))
    records = list(read_records(path, say=pytest.fail))
    assert [record.name for record in records] == ["some name"] * 2
    for record in records:
        assert not record.problem and identity_smiles(record.mol) == identity_smiles(mol)
        read, written = (m.GetConformer().GetPositions() for m in (record.mol, mol))
        np.testing.assert_allclose(read, written, atol=6e-4)


def test_what_has_no_hydrogens_is_refused_by_name(tmp_path):
    for smiles in ("CCO", "c1ccccc1", "C1CCCCC1"):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        EmbedMolecule(mol, randomSeed=1)
        mol = Chem.RemoveAllHs(mol)
        for suffix in (".xyz", ".pdb"):
            path = tmp_path / f"a{suffix}"
            path.write_text(writer_of(str(path))(mol, 0))
            (record,) = read_records(path)
            assert record.mol is None and "it has no hydrogens; SDF and mol2 say them" in record.problem
    kept = [
        line for line in ACETATE.splitlines() if " H" not in line and not line.startswith(("     4", "     5", "     6"))
    ]
    (tmp_path / "a.mol2").write_text("\n".join(kept).replace(" 7 6 ", " 4 3 "))
    (record,) = read_records(tmp_path / "a.mol2")
    assert record.mol is None and "hydrogens" in record.problem


def test_mol2_with_its_charges(tmp_path):
    path = tmp_path / "two.mol2"
    path.write_text(ACETATE + ACETATE.replace("acetate", "again"))
    records = list(read_records(path))
    assert [r.name for r in records] == ["acetate", "again"]
    assert all(identity_smiles(r.mol) == "CC(=O)[O-]" for r in records)


def test_a_wrong_charge_names_what_to_write(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("5\nammonium\nN 0 0 0\nH .6 .6 .6\nH -.6 -.6 .6\nH -.6 .6 -.6\nH .6 -.6 -.6\n")
    (record,) = read_records(path)
    assert record.mol is None and "write charge=N in the comment line" in record.problem
    path.write_text(path.read_text().replace("ammonium", 'name="ammonium" charge=1'))
    (record,) = read_records(path)
    assert record.name == "ammonium" and identity_smiles(record.mol) == "[NH4+]"


@pytest.mark.parametrize("suffix", [".xyz", ".pdb"])
def test_files_in_and_out_of_the_command(suffix, tmp_path):
    one, two = tmp_path / f"one{suffix}", tmp_path / "two.sdf"
    assert main(["sample", "CO methanol", "-n", "2", "--quiet", "-o", str(one)]) == 0
    assert main(["sample", str(one), "-n", "1x", "--quiet", "-o", str(two)]) == 0
    assert [Chem.MolToSmiles(mol) for mol in Chem.SDMolSupplier(str(two))] == ["CO", "CO"]
    assert main(["evaluate", str(two), str(one), "--busters", "0"]) == 0
