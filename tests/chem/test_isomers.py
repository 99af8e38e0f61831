"""Stereoisomers counted by hand, with hydrogens as without, and through the command line."""

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem
from rdkit.Chem import rdDepictor

from pyg_diffusion.chem import stereo_of, stereoisomers
from pyg_diffusion.chem.axial import axial_key
from pyg_diffusion.chem.isomers import leaves_stereo_open, most_stereoisomers
from pyg_diffusion.chem.smiles import record_from_smiles
from pyg_diffusion.cli import main

# SMILES -> number of isomers
COUNTS = {
    "CCO": 1,
    "CC(F)Cl": 2,
    "FC=CF": 2,
    "CC(O)C(O)C": 3,  # one is meso
    "CC1CCC(C)CC1": 2,
    "CC=CC=CC": 3,
    "OC1C(O)C(O)C(O)C(O)C1O": 9,  # the inositols, of 64 ways to specify them
    "C[C@H](F)C(Cl)Br": 2,  # what is specified stays
    "C/C=C/C(F)Cl": 2,
    "C/C=C/C(O)/C=C\\C": 2,  # a centre only because its branches differ
    "CS(=O)CC": 2,
    "C1CCC=CC1": 1,
    "CNC(N)=N": 1,  # C=N-H is left open
    "CC(F)C(=N)C=CC": 4,
    "N=C(N)NCCCC(N)C(=O)O": 2,
    "CC1CN1": 2,
    "CC1NC1C": 3,
    "CC=C=CC": 2,
    "CC=[C@]=CC": 1,
    "CC=C=CC(O)C": 4,
    "CC=C=CCC=C=CC": 3,  # one is meso
    "Oc1ccc2ccccc2c1-c1c(O)ccc2ccccc12": 2,  # BINOL
    "Cc1ccccc1-c1ccccc1C": 1,  # turns over
    "C12C3C4C1C5C2C3C45": 1,  # cubane
    "C1CC2CCC1C2": 1,  # norbornane: in and out is none
    "OC1CC2CCC1C2": 4,  # endo and exo
    "CN1C2CCC1CC(O)C2": 2,  # tropine and pseudotropine
    "CC1(C)C2CCC1(C)C(=O)C2": 2,  # camphor
    "C1CCCCC2CCCCCCCCC1CCCCCCCC2": 2,  # wide enough for in and out
}


def bare(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


@pytest.mark.parametrize("smiles", COUNTS)
def test_isomers_are_all_different_specified_and_the_molecule(smiles):
    mol = record_from_smiles(0, smiles).mol
    isomers = stereoisomers(mol)
    texts = [f"{bare(m)} {axial_key(m)}" for m in isomers]
    assert len(set(texts)) == len(isomers) == COUNTS[smiles] <= most_stereoisomers(mol)
    if "@]=" not in smiles:  # which RDKit would forget
        assert sorted(texts) == sorted(f"{bare(m)} {axial_key(m)}" for m in stereoisomers(Chem.MolFromSmiles(smiles)))
    assert leaves_stereo_open(mol) == (len(isomers) > 1)
    if len(isomers) == 1:
        assert isomers[0] is mol
        return
    given = {(tuple(i), "") for i in stereo_of(mol).tetra} | {(tuple(i), t) for i, t in _ez(mol)}
    for isomer in isomers:
        assert [a.GetAtomicNum() for a in isomer.GetAtoms()] == [a.GetAtomicNum() for a in mol.GetAtoms()]
        assert len(stereoisomers(isomer)) == 1
        assert given <= {(tuple(i), "") for i in stereo_of(isomer).tetra} | {(tuple(i), t) for i, t in _ez(isomer)}


def _ez(mol):
    stereo = stereo_of(mol)
    return zip(stereo.ez, stereo.ez_type, strict=True)


def test_the_limit_cuts():
    mol = Chem.AddHs(Chem.MolFromSmiles("Br" + "C(Cl)" * 20 + "F"))  # 2^20: made one by one
    assert most_stereoisomers(mol) == 2**20
    assert len({bare(m) for m in stereoisomers(mol, 5)}) == len(stereoisomers(mol, 5)) == 5
    assert len(stereoisomers(Chem.MolFromSmiles("CC(F)Cl"), 1)) == 1
    assert bare(stereoisomers(Chem.MolFromSmiles("CC(F)Cl"), 1)[0]) != "CC(F)Cl"
    with pytest.raises(ValueError, match="at least 1"):
        stereoisomers(mol, 0)


def records(path) -> dict[str, list[str]]:
    """Name -> SMILES of the stereo that RDKit sees in the coordinates of each record."""
    found: dict[str, list[str]] = {}
    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
        assert mol.GetConformer().Is3D()
        for atom in mol.GetAtoms():
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        for bond in mol.GetBonds():
            bond.SetStereo(Chem.BondStereo.STEREONONE)
        Chem.AssignStereochemistryFrom3D(mol)
        found.setdefault(mol.GetProp("_Name"), []).append(bare(mol))
    return found


def test_the_command_makes_every_isomer_and_says_so(tmp_path, capsys):
    flat = Chem.MolFromSmiles("FC(Cl)C=CC")  # drawn with a wavy bond and a crossed double bond
    rdDepictor.Compute2DCoords(flat)
    flat.GetBondBetweenAtoms(1, 2).SetBondDir(Chem.BondDir.UNKNOWN)
    flat.GetBondBetweenAtoms(3, 4).SetStereo(Chem.BondStereo.STEREOANY)
    flat.SetProp("_Name", "drawn")
    flat.SetProp("activity", "7.5")
    with Chem.SDWriter(str(tmp_path / "in.sdf")) as writer:
        writer.write(flat)
        writer.write(embed("C[C@H](O)C(=O)O"))  # its stereo is in its coordinates, not in the file's text
    out = tmp_path / "out.sdf"
    inputs = [str(tmp_path / "in.sdf"), "CC(O)C(O)C diol", "OCC plain", "CC(F)C(Cl)C(Br)C cut"]
    options = ["-n", "2", "-o", str(out), "--quiet", "--stereo", "enumerate"]
    assert main(["sample", *inputs, *options, "--max-isomers", "4"]) == 0
    made = records(out)
    assert list(made) == [
        *(f"drawn isomer {k}" for k in (1, 2, 3, 4)),
        "C[C@H](O)C(=O)O",
        *(f"diol isomer {k}" for k in (1, 2, 3)),
        "plain",
        *(f"cut isomer {k}" for k in (1, 2, 3, 4)),
    ]
    assert all(len(texts) == 2 and texts[0] == texts[1] for texts in made.values())
    assert {made[f"drawn isomer {k}"][0] for k in (1, 2, 3, 4)} == {
        "C/C=C/[C@@H](F)Cl", "C/C=C/[C@H](F)Cl", "C/C=C\\[C@@H](F)Cl", "C/C=C\\[C@H](F)Cl"
    }  # fmt: skip
    assert made["C[C@H](O)C(=O)O"][0] == "C[C@H](O)C(=O)O"
    assert {made[f"diol isomer {k}"][0] for k in (1, 2, 3)} == {
        "C[C@@H](O)[C@@H](C)O", "C[C@H](O)[C@H](C)O", "C[C@H](O)[C@@H](C)O"
    }  # fmt: skip
    assert len({made[f"cut isomer {k}"][0] for k in (1, 2, 3, 4)}) == 4
    first = next(iter(Chem.SDMolSupplier(str(out), removeHs=False)))
    assert first.GetProp("activity") == "7.5"
    said = capsys.readouterr().err
    assert "cut: up to 8 stereoisomers; 4 of them are made (--max-isomers)" in said
    assert "3 molecules with unspecified stereo were made as 11 stereoisomers" in said


def test_coordinates_settle_what_rdkit_leaves_open(tmp_path):
    """A bridgehead nitrogen has no label from 3D, but has its side where rings are wide; a flat centre has none."""
    sided, flat = embed("FC1CCCCCN2CCCCCC[C@@H]1CCCCCC2"), embed("[CH3]C(F)Cl")
    Chem.AssignStereochemistryFrom3D(sided)
    assert len(stereoisomers(sided)) == 2
    pos = flat.GetConformer().GetPositions()
    pos[:, 2] = 0.0
    flat.GetConformer().SetPositions(pos)
    with Chem.SDWriter(str(tmp_path / "in.sdf")) as writer:
        for name, mol in (("sided", sided), ("flat", flat)):
            mol.SetProp("_Name", name)
            writer.write(mol)
    options = ["-n", "1", "-o", str(tmp_path / "out.sdf"), "--quiet", "--stereo", "enumerate"]
    assert main(["sample", str(tmp_path / "in.sdf"), *options]) == 0
    assert list(records(tmp_path / "out.sdf")) == ["sided", "flat isomer 1", "flat isomer 2"]


def test_conformers_per_record_go_to_every_isomer(tmp_path):
    (tmp_path / "in.smi").write_text("CC(F)Cl a\nCC(F)Cl a\n")
    out = tmp_path / "out.sdf"
    assert main(["sample", str(tmp_path / "in.smi"), "-n", "1x", "-o", str(out), "--quiet", "--stereo", "enumerate"]) == 0
    assert {name: len(set(texts)) for name, texts in records(out).items()} == {"a isomer 1": 1, "a isomer 2": 1}
    assert np.unique([len(texts) for texts in records(out).values()]) == [2]


def test_without_enumeration_a_record_stays_one(tmp_path, capsys):
    out = tmp_path / "out.sdf"
    assert main(["sample", "CC(F)Cl a", "-n", "2", "-o", str(out), "--quiet"]) == 0
    assert list(records(out)) == ["a"] and "isomer" not in capsys.readouterr().err
    assert main(["sample", "CC(F)Cl", "--max-isomers", "3", "-o", str(out), "--quiet"]) == 2
    assert "goes with --stereo enumerate" in capsys.readouterr().err
