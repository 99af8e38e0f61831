"""A format of files that the package does not have: one entry reads it, writes it and recognises it."""

import gzip

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem.formats import FORMATS, Format, read_records, writer_of
from pyg_diffusion.chem.records import Record
from pyg_diffusion.cli import main


def split(lines, path, say):
    """One record a line: its name and the molecule in RDKit's own JSON."""
    yield from (line.rstrip("\n").split("\t") for line in lines if line.strip())


def parse(index, raw, need_3d):
    (mol,) = Chem.JSONToMols(raw[1])
    Chem.GetSymmSSSR(mol)
    return Record(index, raw[0], mol)


def write(mol, conformer):
    single = Chem.Mol(mol, confId=conformer)
    return f"{mol.GetProp('_Name')}\t{Chem.MolToJSON(single)}\n"


@pytest.fixture
def lines():
    made = Format("lines of JSON", (".jsonl",), split, parse, lambda head: '"rdkitjson"' in head[0], write)
    FORMATS.add(made.name, made)
    yield made
    FORMATS.remove(made.name)


def test_it_is_read_written_and_recognised(lines, tmp_path, capsys):
    mol = embed("CCO")
    plain, packed, bare = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz", tmp_path / "bare"
    text = writer_of(str(plain))(mol, 0)
    plain.write_text(text)
    bare.write_text(text)
    with gzip.open(packed, "wt") as stream:
        stream.write(text)
    for path in (plain, packed, bare):
        (record,) = read_records(path)
        assert record.name == "CCO" and record.mol.GetNumAtoms() == 9
        np.testing.assert_allclose(record.mol.GetConformer().GetPositions(), mol.GetConformer().GetPositions(), atol=1e-3)
    assert main(["sample", str(plain), "-n", "2", "-o", str(packed), "--quiet"]) == 0
    assert [record.name for record in read_records(packed)] == ["CCO", "CCO"]
    capsys.readouterr()


def test_what_is_not_written_is_said(tmp_path, capsys):
    for name in ("a.cif", "a.mae"):
        assert main(["sample", "CCO", "-o", str(tmp_path / name), "--quiet"]) == 2
        assert "what is written: SDF" in capsys.readouterr().err and not (tmp_path / name).exists()
    assert writer_of("-") is writer_of("somewhere") is writer_of("a.sdf.gz") is FORMATS["SDF"].write
