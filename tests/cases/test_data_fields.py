"""Data fields of an SDF: none is lost or overwritten unsaid."""

import io

import pytest
from rdkit import Chem

from pyg_diffusion import SDFDataset
from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.sample import Request, Sink, sample_records

MOL = """water
     progr          3D

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.1173 O   0  0
    0.0000    0.7572   -0.4692 H   0  0
    0.0000   -0.7572   -0.4692 H   0  0
  1  2  1  0
  1  3  1  0
M  END
"""


def read(tmp_path, fields: str):
    path = tmp_path / "mols.sdf"
    path.write_text(f"{MOL}{fields}$$$$\n{MOL}$$$$\n")
    first, second = read_sdf(str(path))
    assert second.mol is not None and not second.notes
    return first


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        (">  <a>\n1\n\n>  <b>  (3)\ntwo\nlines\n\n", {"a": "1", "b": "two\nlines"}, []),
        (">  25 <a> DT5\n1\n\n", {"a": "1"}, []),
        (">  <a (x>y)>\n1\n\n", {"a (x>y)": "1"}, []),
        ("> <a>\n1\n> <b>\n2\n\n", {"a": "1", "b": "2"}, ["no blank line before its data field 'b' (line 13)"]),
        ("> <a\n1\n\n> <b>\n2\n\n", {"b": "2"}, ["a data field whose name cannot be read ('> <a', line 11) is left out"]),
        ("> DT12\n1\n\n", {}, ["a data field whose name cannot be read ('> DT12', line 11) is left out"]),
        ("> <a>\n1\n\nmore\n\n", {"a": "1"}, ["1 lines outside of data fields are left out (line 14: 'more')"]),
        ("> <a>\n1\n\n> <a>\n2\n\n", {"a": "2"}, ["its data field 'a' stands there twice; the last is kept"]),
        ("> <_Name>\nx\n\n", {}, ["its data field '_Name' is left out: RDKit keeps such names for itself"]),
        ("> <a>\n\n> <b>\n2\n\n", {"a": "", "b": "2"}, []),
    ],
)
def test_fields_are_read_or_named(tmp_path, text, fields, said):
    record = read(tmp_path, text)
    assert {name: record.mol.GetProp(name) for name in record.mol.GetPropNames()} == fields
    assert record.notes == [f"data fields: {words}" for words in said]
    assert record.name == record.mol.GetProp("_Name") == "water"


def test_fields_of_the_input_are_not_overwritten(tmp_path):
    path = tmp_path / "mols.sdf"
    path.write_text(f"{MOL}>  <confidence>\nmy own\n\n>  <relaxed>\nby hand\n\n>  <pKa>\n15.7\n\n$$$$\n")
    generator, said = ConformerGenerator.from_pretrained(steps=2), []

    def sample(source: str) -> str:
        out = io.StringIO()
        sink = Sink(out, lambda *row: said.append(row), said.append)
        tally = sample_records(generator, [source], Request(n=1, attempts=3), sink)
        assert tally.molecules == 1, said
        names = [name for name in ("confidence", "relaxed") if any(f"'{name}'" in note for note in tally.finished)]
        assert names == (["confidence", "relaxed"] if source.endswith("mols.sdf") else ["confidence"])
        return out.getvalue()

    once = sample(str(path))
    (tmp_path / "again.sdf").write_text(once)
    for text in (once, sample(str(tmp_path / "again.sdf"))):
        supplier = Chem.SDMolSupplier()
        supplier.SetData(text, removeHs=False)
        mol = next(iter(supplier))
        assert 0 < float(mol.GetProp("confidence")) <= 1
        assert mol.GetProp("confidence (input)") == "my own" and mol.GetProp("relaxed (input)") == "by hand"
        assert mol.GetProp("pKa") == "15.7" and not mol.HasProp("relaxed")


def test_records_with_missing_hydrogens_are_named(tmp_path):
    bare = MOL.replace("  3  2  0", "  1  0  0").replace("water", "bare")
    lines = [line for line in bare.split("\n") if " H " not in line and not line.startswith("  1  ")]
    lines.insert(3, "  1  0  0  0  0  0  0  0  0  0999 V2000")
    path = tmp_path / "mols.sdf"
    path.write_text("\n".join(lines) + "$$$$\n" + MOL + "$$$$\n")
    report = prepare([str(path)], str(tmp_path / "store.h5"), workers=1, progress=False)
    assert report.notes == {"missing hydrogens added": 1} and report.named == {"missing hydrogens added": ["bare"]}
    assert report.remarks() == ["missing hydrogens added: 1 (bare)"]
    with pytest.warns(UserWarning, match="missing hydrogens added: 1 \\(bare\\)"):
        assert len(SDFDataset(tmp_path, str(path), workers=1, log=False)) == 2
