"""One atom and two: closed forms, and every later step on them."""

import json

import numpy as np
import pytest

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.cli import main

LENGTHS = {"[HH] a": 0.741, "[2H][2H] b": 0.741, "N#N c": 1.098, "[C-]#[O+] d": 1.128, "Br e": 1.414, "[C-]#N f": 1.177}
ATOMS = ["[He] g", "[H+] h", "[Li+] i", "[S-2] j"]


def test_tiny_species_from_file_to_file(tmp_path, capsys):
    out, again = tmp_path / "out.sdf", tmp_path / "again.sdf"
    assert main(["sample", *LENGTHS, *ATOMS, "-n", "2", "-o", str(out), "--quiet"]) == 0
    records = list(read_sdf(str(out)))
    assert [r.name for r in records] == [name for name in "abcdefghij" for _ in range(2)]
    for record, length in zip(records[::2], LENGTHS.values(), strict=False):
        pos = record.mol.GetConformer().GetPositions()
        assert np.linalg.norm(pos[0] - pos[1]) == pytest.approx(length, abs=1e-3)
    said = capsys.readouterr().err
    assert "c: N2: measured bond length, 1.098 Å, in closed form: its confidence is 1" in said
    assert "elements the model never saw: He" in said
    assert main(["sample", str(out), "-n", "2x", "-o", str(again), "--quiet"]) == 0
    assert len(list(read_sdf(str(again)))) == 4 * 10
    report = tmp_path / "report.json"
    assert main(["evaluate", str(again), str(out), "--busters", "0", "--workers", "1", "-o", str(report)]) == 0
    assert "NaN" not in report.read_text() and "Infinity" not in report.read_text()
    assert json.loads(report.read_text())
    assert main(["prepare", str(out), "-o", str(tmp_path / "tiny.h5"), "--workers", "1", "--quiet"]) == 0
    options = ["--relax", "MMFF94s", "--prune", "0.1", "--diversity", "10"]
    assert main(["sample", *LENGTHS, *ATOMS, "-n", "2", *options, "-o", str(again), "--quiet"]) == 0
