"""The commands of docs/formats.md run as they are written, and its table has every suffix that is read."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pyg_diffusion.chem.formats import FORMATS
from pyg_diffusion.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def test_its_table_has_every_suffix():
    table = "".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    for kind in FORMATS.values():
        for suffix in kind.suffixes:
            assert f"`{suffix}`" in table


@pytest.mark.slow
def test_its_commands_run(tmp_path, monkeypatch):
    for package in ("pyarrow", "dimorphite_dl"):
        pytest.importorskip(package)
    (tmp_path / "datasets").mkdir()
    shutil.copy(ROOT / "datasets" / "zinc_100.smi", tmp_path / "datasets")
    (tmp_path / "mine.csv").write_text('id;smiles;activity;remark\nM1;CC(=O)Nc1ccc(O)cc1;6.2;"known; sold"\nM2;OCCO;5.1;\n')
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
    assert (tmp_path / "mine.sdf").read_text().count("known; sold") == 10
    assert len((tmp_path / "runs" / "table.csv").read_text().splitlines()) == 4
