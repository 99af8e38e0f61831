"""Text in any encoding, names included; what is written is UTF-8 whatever the locale."""

import os
import subprocess
import sys

import pytest

from pyg_diffusion.chem import RecordError, read_records
from pyg_diffusion.chem.text import open_text, repaired
from pyg_diffusion.data import MoleculeStore

NAMES = ["Säure", "Ångström–β", "naïve “quote”"]


def read(path, data: bytes):
    path.write_bytes(data)
    said = []
    return list(read_records(str(path), False, say=said.append)), said


@pytest.mark.parametrize(
    ("encoding", "remark"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "read as UTF-16"),
        ("cp1252", "not UTF-8; read as Windows-1252 (Latin-1)"),
    ],
)
def test_names_come_through(tmp_path, encoding, remark):
    names = [name for name in NAMES if encoding != "cp1252" or "β" not in name]
    text = "".join(f"{'C' * k}O {name}\r\n" for k, name in enumerate(names, 1))
    records, said = read(tmp_path / "a.smi", text.encode(encoding))
    assert [r.name for r in records] == names and all(r.mol is not None for r in records)
    assert [text.split(": ")[1] for text in said] == ([remark] if remark else [])


def test_a_mark_is_no_part_of_the_first_name(tmp_path):
    for mark in ("\ufeff".encode(), "\ufeff\ufeff".encode()):
        (record, *_), said = read(tmp_path / "a.smi", mark + b"CCO\nCCN b\n")
        assert record.name == "CCO" and record.mol is not None and said == []
    records, _ = read(tmp_path / "two.smi", "\ufeffCCO a\n".encode() * 2)  # as `cat` makes it
    assert [r.name for r in records] == ["a", "a"] and all(r.mol is not None for r in records)


def test_what_is_no_text_is_called_so(tmp_path):
    for data, what in [
        ("CCO ethanol\nCCN b\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (os.urandom(3000) + b"\0\1\2" * 500, "a binary file"),
        (b"PK\x03\x04 whatever", "a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ]:
        with pytest.raises(RecordError, match=f"a.smi: {what}"):
            read(tmp_path / "a.smi", data)


def test_invisible_characters_of_a_web_page_are_dropped(tmp_path):
    records, _ = read(tmp_path / "a.smi", "CCO\u200b one\nCC\u00a0two\nCC(=O)[O\u2212] three\n".encode())
    assert [(r.name, r.mol is not None) for r in records] == [("one", True), ("two", True), ("three", False)]
    assert records[0].mol.GetNumHeavyAtoms() == 3 and "invisible" in records[0].notes[0]


def test_arguments_of_an_ascii_locale_are_put_right():
    for raw in ("CCO éthanol".encode(), "CCO éthanol".encode("latin-1")):
        assert repaired(raw.decode("ascii", "surrogateescape")) == "CCO éthanol"


def test_an_ascii_terminal_ends_nothing(tmp_path):
    prepare = ["prepare", "in.smi", "-o", "s.h5", "--quiet"]
    sample = ["sample", "-n", "1", "--quiet", "--no-confidence"]
    run = f"import sys; from pyg_diffusion.cli import main; sys.exit(main({prepare}) or main({sample} + sys.argv[1:]))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    (tmp_path / "in.smi").write_bytes("CO Säure\n".encode("latin-1"))
    command = [sys.executable, "-c", run, "CO Ölsäure"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert b"in.smi: not UTF-8" in done.stderr and MoleculeStore(tmp_path / "s.h5")[0].name == "Säure"
    assert done.stdout.startswith("Ölsäure\n".encode())


def test_damage_comes_after_what_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\ntwo\n".encode("utf-16") + b"\0")
    with open_text(str(path), lambda _: None) as lines:
        assert [next(lines), next(lines)] == ["one\n", "two\n"]
        with pytest.raises(OSError, match="not utf-16: truncated data"):
            next(lines)
