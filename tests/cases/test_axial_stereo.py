"""Allenes and hindered biaryls keep their hand from the input to the file and back."""

import numpy as np
from conftest import embed
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.axial import axial_key
from pyg_diffusion.chem.smiles import record_from_smiles
from pyg_diffusion.cli import main

BIARYL = "Cc1cccc(Cl)c1-c1c(C)cccc1Br"


def test_both_hands_of_an_allene_stay_apart(tmp_path):
    out = tmp_path / "out.sdf"
    smiles = {"left": "ClC(C)=[C@]=CC", "right": "ClC(C)=[C@@]=CC"}
    lines = [f"{s} {name}" for name, s in smiles.items()]
    assert main(["sample", *lines, "-n", "4", "--oversample", "1", "-o", str(out), "--quiet"]) == 0
    for again in (out, tmp_path / "again.sdf"):
        if again != out:
            assert main(["sample", str(out), "-n", "4", "--oversample", "1", "-o", str(again), "--quiet"]) == 0
        keys = {name: {axial_key(r.mol) for r in read_sdf(str(again)) if r.name == name} for name in smiles}
        assert keys == {name: {axial_key(record_from_smiles(0, s).mol)} for name, s in smiles.items()}
    assert keys["left"] != keys["right"]
    for record in read_sdf(str(out)):  # linear, not merely handed
        assert rdMolTransforms.GetAngleDeg(record.mol.GetConformer(), 1, 3, 4) > 165


def test_the_hand_of_a_biaryl_is_read_from_its_coordinates(tmp_path):
    torsions = {}
    for hand in (1, -1):
        mol = embed(BIARYL)
        mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() * [1, 1, hand])
        Chem.MolToMolFile(mol, str(tmp_path / "in.mol"))
        assert main(["sample", str(tmp_path / "in.mol"), "-n", "4", "-o", str(tmp_path / "out.sdf"), "--quiet"]) == 0
        found = [mol, *(r.mol for r in read_sdf(str(tmp_path / "out.sdf")))]
        torsions[hand] = [rdMolTransforms.GetDihedralDeg(m.GetConformer(), 1, 7, 8, 9) for m in found]
        assert len({*np.sign(torsions[hand])}) == 1 and len(found) == 5
    assert np.sign(torsions[1][0]) == -np.sign(torsions[-1][0])


def test_enumeration_makes_both_hands(tmp_path, capsys):
    out = tmp_path / "out.sdf"
    options = ["-n", "1", "-o", str(out), "--quiet", "--stereo", "enumerate"]
    assert main(["sample", "CC=C=CC diene", f"{BIARYL} biaryl", *options]) == 0
    found = [(r.name, axial_key(r.mol)) for r in read_sdf(str(out))]
    assert [name for name, _ in found] == ["diene isomer 1", "diene isomer 2", "biaryl isomer 1", "biaryl isomer 2"]
    assert len({*found}) == len({key for _, key in found}) == 4
    assert "2 molecules with unspecified stereo were made as 4 stereoisomers" in capsys.readouterr().err
