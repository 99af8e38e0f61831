"""Conformers as tables: CXSMILES, CSV, TSV and Parquet, written, read and scored; columns by name and number."""

import csv
import io
import json
import pickle
import sys

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import RecordError, read_records
from pyg_diffusion.chem.finish import FIELDS
from pyg_diffusion.chem.formats import FORMATS, format_to_write
from pyg_diffusion.chem.heavy import identity_smiles
from pyg_diffusion.chem.sheets import FIRST, Table, write_parquet
from pyg_diffusion.chem.table import Columns
from pyg_diffusion.cli import main
from pyg_diffusion.tasks.molecules import SUFFIXES, outputs

QUICK = ["-n", "2", "--steps", "2", "--no-confidence", "--seed", "3", "--quiet"]
MOLECULES = [
    "C[C@H](N)C(=O)[O-]", "C/C=C\\Cl", "c1cc[nH]c1", "C[N+](C)(C)C", "O", "[He]", "[H][H]", "[2H]C([2H])Cl", "CC=C=CC",
    "[CH3:7][OH:2]", "CC(=O)[O-].[Na+]", "C[S@](=O)CC",
]  # fmt: skip
TABLE = 'id,pIC50,ligand,note\nA-1,7.5,CCO,"a, b"\nA-2,,CN,\nA-3,5,CF,"1 < 2"\n'


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def said(path, *columns):
    texts = []
    return list(read_records(path, False, say=texts.append, columns=Columns(*columns))), texts


@pytest.mark.parametrize("suffix", [".smi", ".csv", ".tsv"])
def test_written_and_read_it_is_the_same_conformer(suffix, tmp_path):
    path, kind, made = tmp_path / f"mols{suffix}", format_to_write(suffix), []
    table = Table(kind.sign) if kind.rows else str
    with path.open("w") as file:
        for smiles in MOLECULES:
            mol = embed(smiles, 2)
            mol.SetProp("_Name", f"of {smiles}")
            mol.SetProp("confidence", "0.5")
            pair = [Chem.Mol(mol, confId=k) for k in (0, 1)]
            for k, single in enumerate(pair):
                single.GetConformer().SetId(0)
                single.SetProp("conformer", f"was {k}")
            file.writelines(map(table, kind.texts(pair)))
            made += pair
    records = list(read_records(path, say=lambda _: None))
    assert len(records) == len(made)
    for record, mol in zip(records, made, strict=True):
        assert not record.problem and record.name == mol.GetProp("_Name")
        assert identity_smiles(record.mol) == identity_smiles(mol)
        read, was = (m.GetConformer().GetPositions() for m in (record.mol, mol))
        gap = np.linalg.norm(read[:, None] - was, axis=-1)
        assert gap.shape[0] == gap.shape[1] and gap.min(0).max() < 1e-4
        if kind.rows:
            assert record.mol.GetProp("conformer (input)") == mol.GetProp("conformer")
            assert record.mol.GetProp("confidence") == "0.5"
    if suffix != ".smi":
        assert [row["conformer"] for row in rows_of(path)] == ["1", "2"] * len(MOLECULES)
    assert ":7]" in path.read_text().splitlines()[2 * 9 + (suffix != ".smi")]


def test_columns_are_of_every_job_and_the_rest_is_not_lost(tmp_path):
    table = Table(",")
    rows = [{"name": "a", "smiles": "C", "conformer": 1, "IC 50": "7", "cxsmiles": "C |(0,0,1)|"}]
    rows += [rows[0] | {"name": "b", "late": 'one, "two"\nthree', "unsound": "a bond"}]
    text = "".join(table(json.dumps(row) + "\n") for row in rows)
    header, first, second = csv.reader(io.StringIO(text))
    assert header == [*FIRST, *FIELDS, "IC 50", "cxsmiles", "more"]
    assert first[-3:] == ["7", "C |(0,0,1)|", ""] and second[header.index("unsound")] == "a bond"
    assert json.loads(second[-1]) == {"late": 'one, "two"\nthree'}
    (tmp_path / "a.csv").write_text(text)
    _, record = read_records(tmp_path / "a.csv", say=lambda _: None)
    own = record.mol.GetPropsAsDict(autoConvertStrings=False)
    assert own == {"conformer": "1", "unsound": "a bond", "IC 50": "7", "late": 'one, "two"\nthree'}
    again = Table(",", text.splitlines()[0] + "\n")  # as a job goes on
    assert again(json.dumps(rows[1]) + "\n") == text[len(text) - len(again(json.dumps(rows[1]) + "\n")) :]


def test_parquet_has_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"name": "a", "smiles": "C", "conformer": 1, "energy_kcal_mol": "0.00", "id": "007", "pIC50": "5", "cxsmiles": "C"},
        {"name": "b", "smiles": "C", "conformer": 2, "energy_kcal_mol": "unknown", "id": "8", "pIC50": "5.5", "late": "1"},
    ]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_parquet(tmp_path / "rows", tmp_path / "a.parquet") == 2
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["name", "smiles", "conformer", "energy_kcal_mol", "id", "pIC50", "late", "cxsmiles"]
    assert table.column("energy_kcal_mol").to_pylist() == [0.0, None] and table.column("late").to_pylist() == [None, 1]
    assert table.column("id").to_pylist() == ["007", "8"] and table.column("pIC50").to_pylist() == [5.0, 5.5]


@pytest.mark.parametrize("sign", [",", "\t", ";", " "])
def test_columns_by_name_and_by_number(sign, tmp_path):
    path = tmp_path / "mols.csv"
    path.write_text("id,pIC50,ligand\nA-1,7.5,CCO\nA-2,6,CN\n".replace(",", sign))
    for columns in (("ligand", "id"), ("LIGAND", "1"), ("3", "Id")):
        records, texts = said(path, *columns)
        assert [(r.name, r.mol.GetProp("pIC50")) for r in records] == [("A-1", "7.5"), ("A-2", "6")]
        assert "structures in column 3 (ligand), names in column 1 (id)" in texts[0]
    with pytest.raises(RecordError, match=r"no column 'smi'; there are id, pIC50, ligand$"):
        said(path, "smi")
    with pytest.raises(RecordError, match=r"no column '4'; there are id, pIC50, ligand$"):
        said(path, "ligand", "4")
    path.write_text("A-1,CCO\nA-2,CN\n".replace(",", sign))
    assert [r.name for r in said(path, "2", "1")[0]] == ["A-1", "A-2"]
    with pytest.raises(RecordError, match=r"no column 'ligand'; it has no header line: give a number, 1 to 2"):
        said(path, "ligand")


def test_two_columns_of_smiles_one_is_asked_for(tmp_path):
    path = tmp_path / "mols.csv"
    path.write_text("CO,CCN\nO,CCCC\nN,CCO\nC,CCCO\n")
    with pytest.raises(RecordError, match="both column 1 and column 2 read as SMILES"):
        said(path)
    assert [Chem.MolToSmiles(Chem.RemoveHs(r.mol)) for r in said(path, "2")[0]] == ["CCN", "CCCC", "CCO", "CCCO"]


def test_other_columns_become_properties_and_come_back(tmp_path, capsys):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(TABLE)
    asked = ["--smiles-column", "ligand", "--name-column", "id"]
    assert main(["sample", str(source), *QUICK, "-o", str(out), *asked]) == 0
    rows = rows_of(out)
    assert [(row["name"], row["conformer"], row["pIC50"], row["note"]) for row in rows] == [
        (name, k, value, note)
        for name, value, note in (("A-1", "7.5", "a, b"), ("A-2", "", ""), ("A-3", "5", "1 < 2"))
        for k in "12"
    ]
    assert [row["smiles"] for row in rows[::2]] == ["CCO", "CN", "CF"]
    capsys.readouterr()
    assert main(["sample", str(source), "--smiles-column", "SMILES", "-o", str(out)]) == 1
    assert "no column 'SMILES'; there are id, pIC50, ligand, note" in capsys.readouterr().err
    assert len(rows_of(out)) == 6  # what was there stays


def test_parquet_in_and_out_scored_and_prepared(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    first, second, store = (str(tmp_path / name) for name in ("a.parquet", "b.csv.gz", "store.h5"))
    assert main(["sample", "CCCO propanol", "CN amine", *QUICK, "-o", first, "--energies", "MMFF94s"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet"]
    assert main(["sample", first, *QUICK, "-o", second]) == 0  # properties of the former conformers are set aside
    records = list(read_records(second, say=lambda _: None))
    assert [r.name for r in records] == ["propanol", "propanol", "amine", "amine"]
    assert records[0].mol.GetProp("energy_level (input)") == "MMFF94s"
    capsys.readouterr()
    assert main(["evaluate", second, first, "--busters", "0"]) == 0
    assert "propanol" not in capsys.readouterr().err  # nothing was skipped
    assert main(["prepare", first, second, "-o", store, "-j", "1", "--quiet", "--level", "x"]) == 0
    assert "2 molecules, 8 conformers" in capsys.readouterr().err
    assert main(["sample", "C", "-o", str(tmp_path / "no.parquet.pdbqt")]) == 2


def test_a_cut_parquet_job_goes_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    out = tmp_path / "a.parquet"

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_parquet", cut)
        assert main(["sample", "C m", "O w", *QUICK, "-o", str(out)]) == 130
    assert not out.exists() and (tmp_path / "a.parquet.rows").exists()
    assert main(["sample", "C m", "O w", *QUICK, "-o", str(out), "--resume"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
    assert [r.name for r in read_records(out, say=lambda _: None)] == ["m", "m", "w", "w"]


def test_stdin_by_content(monkeypatch):
    methane = FORMATS["XYZ"].write(embed("C"), 0)
    texts = {
        "SDF": Chem.SDWriter.GetText(embed("C")), "XYZ": methane, "PDB": FORMATS["PDB"].write(embed("C"), 0),
        "CSV": "name;smiles\nC;C\n", "SMILES": "C C\n", "CXSMILES": FORMATS["SMILES"].write(embed("C"), 0), "InChI":
        "InChI=1S/CH4/h1H4 C\n",
    }  # fmt: skip
    for kind, text in texts.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        (record,) = read_records("-", False, say=lambda _: None)
        assert record.mol is not None and record.mol.GetNumAtoms() == 5, kind
        assert record.name == "C", kind


def test_models_of_one_structure(tmp_path):
    mol = embed("CCO", 3)
    path, kind = tmp_path / "mols.pdb", FORMATS["PDB"]
    singles = [Chem.Mol(mol, confId=k) for k in range(3)]
    for single in singles:
        single.GetConformer().SetId(0)
    text = "".join(kind.texts(singles)) + "".join(kind.texts([embed("CN")]))
    assert [row.split()[-1] for row in text.splitlines() if row.startswith("MODEL")] == ["1", "2", "3"]
    assert text.count("ENDMDL") == 3 and text.index("CONECT") > text.rindex("ENDMDL") and text.count("\nEND\n") == 2
    path.write_text(text)
    assert Chem.MolFromPDBFile(str(path), removeHs=False).GetNumConformers() == 3
    records = list(read_records(path, say=pytest.fail))
    assert [r.name for r in records] == ["CCO"] * 3 + ["CN"]
    for record, single in zip(records, singles, strict=False):
        np.testing.assert_allclose(record.mol.GetConformer().GetPositions(), single.GetConformer().GetPositions(), atol=6e-4)


def test_what_is_no_table_has_no_columns(tmp_path, capsys):
    path = tmp_path / "a.xyz"
    path.write_text(FORMATS["XYZ"].write(embed("C"), 0))
    _, texts = said(path, "smiles")
    assert any("XYZ has no columns; --smiles-column and --name-column are for tables" in text for text in texts)
    (tmp_path / "b.parquet").write_text("no")
    with pytest.raises(RecordError, match=r"b.parquet: cannot be read"):
        list(read_records(tmp_path / "b.parquet"))


def test_what_molecules_own_is_what_is_read():
    known = {suffix for kind in FORMATS.values() for suffix in kind.suffixes}
    assert set(SUFFIXES) == known - {".txt"}


def test_formats_go_to_other_processes_by_name():
    for name in FORMATS:
        assert pickle.loads(pickle.dumps(FORMATS[name])) is FORMATS[name]
