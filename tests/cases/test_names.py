"""Names and fields that would tear an SDF are written so that they do not."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.cli import main
from pyg_diffusion.data import StoreError

BAD = ["$$$$", "a$$$$b", "two\nlines", "M  END\n$$$$", "carriage\rreturn", "line\u2028break", "nul\x01"]


@pytest.mark.parametrize("name", BAD)
def test_a_record_stays_one(tmp_path, name):
    mol = embed("CO")
    mol.SetProp("_Name", name)
    mol.SetProp("remark", f"x{name}y")
    path = tmp_path / "a.sdf"
    path.write_text(sdf_text(mol, 0) * 2, encoding="utf-8", newline="")
    assert len([line for line in path.read_text("utf-8").splitlines() if line.startswith("$$$$")]) == 2
    assert [m.GetNumAtoms() for m in Chem.ForwardSDMolSupplier(io.BytesIO(path.read_bytes()), removeHs=False)] == [6, 6]
    first, second = read_sdf(str(path))
    assert first.name == second.name != "" and first.mol is not None and first.mol.GetNumAtoms() == 6
    assert mol.GetProp("_Name") == name  # the caller's is left alone


def test_it_is_said(tmp_path, capsys):
    out = tmp_path / "o.sdf"
    assert main(["sample", "O two$$$$names", "-n", "1", "--quiet", "-o", str(out)]) == 0
    assert "'two$$$$names': written as 'two$$$ $names'" in capsys.readouterr().err
    assert out.read_text().startswith("two$$$ $names\n")


def test_a_full_disk_ends_prepare_with_a_sentence(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    (tmp_path / "in.smi").write_text("CCO a\n")
    with pytest.raises(StoreError, match=r"s\.h5: cannot be written: No space left on device"):
        prepare([str(tmp_path / "in.smi")], str(tmp_path / "s.h5"), workers=1, progress=False)
    assert not (tmp_path / "s.h5").exists()


def test_a_full_disk_is_named(capsys, tmp_path):
    if sys.platform != "linux":
        pytest.skip("/dev/full is Linux's")
    (tmp_path / "out.sdf").symlink_to("/dev/full")
    assert main(["sample", "O", "-n", "1", "--quiet", "-o", str(tmp_path / "out.sdf")]) == 1
    assert "out.sdf: No space left on device; what is written there is cut" in capsys.readouterr().err
