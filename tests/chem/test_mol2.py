"""mol2 as it is written: read back by RDKit and by this package, and its types against Tripos' table of them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem.formats import read_records, writer_of
from pyg_diffusion.chem.geometry_formats import parse_mol2
from pyg_diffusion.chem.mol2 import mol2_text, sybyl_types
from pyg_diffusion.cli import main

ZINC = [line.split()[0] for line in (Path(__file__).parents[2] / "datasets/zinc_100.smi").read_text().splitlines()[:24]]

# Types of the heavy atoms in the order of the SMILES, and of their bonds.
GROUPS = {
    "nitro": ("Cc1ccc([N+](=O)[O-])cc1", "C.3 C.ar C.ar C.ar C.ar N.pl3 O.2 O.2 C.ar C.ar", "1 ar ar ar 1 2 1 ar ar ar"),
    "N-oxide": ("C[N+]([O-])(C)C", "C.3 N.4 O.3 C.3 C.3", "1 1 1 1"),
    "zwitterion": ("C[C@H]([NH3+])C(=O)[O-]", "C.3 C.3 N.4 C.2 O.co2 O.co2", "1 1 1 2 1"),
    "sulfonamide": ("CS(=O)(=O)NC", "C.3 S.O2 O.2 O.2 N.3 C.3", "1 2 2 1 1"),
    "sulfonate": ("CS(=O)(=O)[O-]", "C.3 S.O2 O.2 O.2 O.3", "1 2 2 1"),
    "sulfoxide": ("C[S@](=O)CC", "C.3 S.O O.2 C.3 C.3", "1 2 1 1"),
    "guanidinium": ("CNC(=[NH2+])N(C)CC", "C.3 N.pl3 C.cat N.pl3 N.pl3 C.3 C.3 C.3", "1 1 2 1 1 1 1"),
    "charged at its other N": ("NC(N)=[NH+]CCC", "N.pl3 C.cat N.pl3 N.pl3 C.3 C.3 C.3", "1 1 2 1 1 1"),
    "guanidine": ("CN=C(N)N", "C.3 N.2 C.2 N.pl3 N.pl3", "1 2 1 1"),
    "pyridinium": ("C[n+]1ccccc1", "C.3 N.ar C.ar C.ar C.ar C.ar C.ar", "1 ar ar ar ar ar ar"),
    "tetrazole": ("Cc1nnn[nH]1", "C.3 C.2 N.2 N.2 N.2 N.pl3", "1 2 1 2 1 1"),
    "phosphate": ("COP(=O)([O-])[O-]", "C.3 O.3 P.3 O.co2 O.co2 O.co2", "1 1 2 1 1"),
    "phosphoric ester": ("COP(=O)(O)OC", "C.3 O.3 P.3 O.2 O.3 O.3 C.3", "1 1 2 1 1 1"),
    "phosphorous amide": ("NP(N)N", "N.3 P.3 N.3 N.3", "1 1 1"),
    "azide": ("CCN=[N+]=[N-]", "C.3 C.3 N.2 N.1 N.2", "1 1 2 2"),
    "isonitrile": ("C[N+]#[C-]", "C.3 N.1 C.1", "1 3"),
    "allene": ("CC=C=C[C@@H](F)Cl", "C.3 C.2 C.1 C.2 C.3 F Cl", "1 2 2 1 1 1"),
    "thioamide": ("CC(=S)NC", "C.3 C.2 S.2 N.am C.3", "1 2 am 1"),
    "pyridone": ("O=c1cccc[nH]1", "O.2 C.2 C.2 C.2 C.2 C.2 N.am", "2 1 2 1 2 1 am"),
    "indole": ("c1ccc2[nH]ccc2c1", "C.ar C.ar C.ar C.ar N.pl3 C.2 C.2 C.ar C.ar", "ar ar ar 1 1 2 1 ar ar ar"),
    "isoindole": ("c1ccc2c[nH]cc2c1", "C.2 C.2 C.2 C.2 C.2 N.pl3 C.2 C.2 C.2", "1 2 1 2 1 1 2 1 2 1"),
    "naphthalene": ("c1ccc2ccccc2c1", " ".join(["C.ar"] * 10), " ".join(["ar"] * 11)),
    "azo": (r"C/N=N\C", "C.3 N.2 N.2 C.3", "1 2 1"),
    "borate": ("C[B-](F)(F)F", "C.3 B F F F", "1 1 1 1"),
    "selenide": ("C[Se]C", "C.3 Se C.3", "1 1"),
}


def read_twice(mol: Chem.Mol):
    """What RDKit and this package make of a molecule's record, and how far its atoms moved."""
    text = mol2_text(mol, -1)
    record = parse_mol2(0, text, True)
    assert not record.problem and not record.notes
    for found in (Chem.MolFromMol2Block(text, removeHs=False), record.mol):
        moved = np.abs(found.GetConformer().GetPositions() - mol.GetConformer().GetPositions()).max()
        yield Chem.MolToSmiles(Chem.RemoveHs(found)), moved


@pytest.mark.parametrize("name", GROUPS)
def test_groups_have_their_types_and_come_back(name):
    smiles, atoms, bonds = GROUPS[name]
    assert sybyl_types(Chem.MolFromSmiles(smiles)) == (atoms.split(), bonds.split())
    mol = embed(smiles)
    for found, moved in read_twice(mol):
        assert found == Chem.CanonSmiles(smiles) and moved < 1e-4


@pytest.mark.parametrize("smiles", ZINC)
def test_molecules_come_back(smiles):
    mol = embed(smiles)
    Chem.AssignStereochemistryFrom3D(mol)
    expected = Chem.MolToSmiles(Chem.RemoveHs(mol))
    for found, moved in read_twice(mol):
        assert found == expected and moved < 1e-4


def test_a_record():
    mol = Chem.AddHs(Chem.MolFromSmiles("[OH-].[Na+]"))
    mol.SetProp("_Name", "lye")
    mol.SetDoubleProp("energy", 0.5)
    conformer = Chem.Conformer(3)
    conformer.SetPositions(np.array([[0.0, 0.0, 0.0], [2.0, -0.1234567, 0.0], [-0.96, 0.0, 0.0]]))
    mol.AddConformer(conformer)
    assert mol2_text(mol, 0).splitlines() == [
        "# energy: 0.5",
        "@<TRIPOS>MOLECULE",
        "lye",
        "3 1 0 0 0",
        "SMALL",
        "USER_CHARGES",
        "",
        "@<TRIPOS>ATOM",
        "      1 O1         0.00000     0.00000     0.00000 O.3   1 UNL1  -1.0000",
        "      2 Na2        2.00000    -0.12346     0.00000 Na    1 UNL1   1.0000",
        "      3 H3        -0.96000     0.00000     0.00000 H     1 UNL1   0.0000",
        "@<TRIPOS>UNITY_ATOM_ATTR",
        "1 2",
        "charge -1",
        "AtomExpr -1",
        "2 2",
        "charge 1",
        "AtomExpr 1",
        "@<TRIPOS>BOND",
        "     1     1     3 1",
        "",
    ]


def test_no_name_and_no_property_tears_a_file(tmp_path):
    names = {
        "@<TRIPOS>ATOM": "_@ <TRIPOS>ATOM",
        "one\n@<TRIPOS>MOLECULE\rtwo": "one @ <TRIPOS>MOLECULE two",
        "# three": "_# three",
        "four\\": "four",
        "data_5": "data_5",  # as a CIF file begins
        "six V2000": "six V2000",  # as a mol block has it
        "": "",
        "α-pinene": "α-pinene",
    }
    mol = embed("CO")
    texts = []
    for name in names:
        mol.SetProp("_Name", name)
        mol.SetProp(f"note on\n{name}", f"of {name}\n@<TRIPOS>BOND\n\\")
        texts.append(mol2_text(mol, 0))
    plain, packed = tmp_path / "a.mol2", tmp_path / "a.mol2.gz"
    plain.write_text("".join(texts), encoding="utf-8")
    with gzip.open(packed, "wt", encoding="utf-8") as stream:
        stream.write("".join(texts))
    for path in (plain, packed):
        records = list(read_records(path))
        assert [r.name for r in records] == [name or f"record {i + 1}" for i, name in enumerate(names.values())]
        assert [Chem.MolToSmiles(Chem.RemoveHs(r.mol)) for r in records] == ["CO"] * len(names)


def test_a_molecule_without_kekule_structure_is_written():
    mol = Chem.MolFromSmiles("c1ccccc1")
    mol.GetAtomWithIdx(0).SetNumExplicitHs(2)  # as a damaged one may be
    mol.GetAtomWithIdx(0).SetNoImplicit(True)
    assert sybyl_types(mol)[1] == ["ar"] * 6


def test_sample_writes_a_record_per_conformer(tmp_path, capsys):
    path = tmp_path / "out.mol2"
    assert main(["sample", "CC(=O)[O-] acetate", "-n", "2", "-o", str(path), "--quiet"]) == 0
    capsys.readouterr()
    text = path.read_text()
    assert text.count("@<TRIPOS>MOLECULE\nacetate\n") == 2 and text.count("# confidence: ") == 2
    assert [Chem.MolToSmiles(Chem.RemoveHs(r.mol)) for r in read_records(path)] == ["CC(=O)[O-]"] * 2
    assert writer_of("out.mol2.gz") is mol2_text
