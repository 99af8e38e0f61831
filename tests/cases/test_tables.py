"""Tables of SMILES: any separator, header, quotes, columns in either order; never a molecule of a column of names."""

import io
import sys

import pytest

from pyg_diffusion.chem import RecordError, read_records
from pyg_diffusion.chem.prepare import prepare


def read(tmp_path, text, name="table.smi"):
    """((SMILES-made atoms, name) of each record, remarks)"""
    path = tmp_path / name
    path.write_text(text)
    said = []
    records = list(read_records(str(path), need_3d=False, say=said.append))
    return [(None if r.mol is None else r.mol.GetNumHeavyAtoms(), r.name) for r in records], said


THREE = [(4, "tert-butanol, dry"), (6, "benzene"), (3, "ether")]


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ('smiles,name,pIC50\r\nCCCO,"tert-butanol, dry",5.1\r\nc1ccccc1,benzene,4\r\nCOC,ether,\r\n', "by commas"),
        ("CCCO;tert-butanol, dry\nc1ccccc1;benzene\nCOC;ether\n", "by semicolons"),
        ("CCCO\ttert-butanol, dry\t1,5\nc1ccccc1\tbenzene\t2\nCOC\tether\t3\n", ""),
        ("tert-butanol, dry\tCCCO\nbenzene\tc1ccccc1\nether\tCOC\n", "structures in column 2, names in column 1"),
        ('"CCCO","tert-butanol, dry"\n"c1ccccc1","benzene"\n"COC","ether"\n', "by commas"),
        ('name;mol wt;SMILES\n"tert-butanol, dry";74;CCCO\nbenzene;78;c1ccccc1\nether;46;COC\n', "column 3 (SMILES)"),
        (",smiles,title\n0,CCCO,'x'\n1,c1ccccc1,benzene\n2,COC,ether\n".replace("'x'", '"tert-butanol, dry"'), "column 2"),
        ("SMILES ID\nCCCO tert-butanol, dry\nc1ccccc1 benzene\nCOC ether\n", "the first line is a header (SMILES | ID)"),
        ("# a comment\n\nCCCO   tert-butanol, dry\n   c1ccccc1 benzene  \nCOC ether", ""),
        ('CCCO,"tert-butanol, dry"\nc1ccccc1,benzene\n\n"COC","ether"', "by commas"),
    ],
)
def test_one_table_in_ten_dialects(tmp_path, text, remark):
    rows, said = read(tmp_path, text)
    assert rows == THREE
    assert (len(said) == 1 and remark in said[0] and "table.smi" in said[0]) if remark else said == []


def test_columns_of_names_are_found_by_what_they_are_called(tmp_path):
    rows, _ = read(tmp_path, "SMILES,SPLIT\nCCO,train\nCCN,train\n")  # a column of something else names nothing
    assert rows == [(3, "CCO"), (3, "CCN")]
    rows, _ = read(tmp_path, "num,split,Compound ID,name,smiles\n1,a,X1,first,CCO\n2,a,X2,second,CCN\n")
    assert rows == [(3, "first"), (3, "second")]
    rows, _ = read(tmp_path, "sep=;\nID;SMILES\nX1;CCO\n")  # as Excel writes it
    assert rows == [(3, "X1")]


def test_names_that_read_as_smiles_are_no_molecules(tmp_path):
    rows, said = read(tmp_path, "C\tCCCCCC\nO\tOCCCO\nCN\tCCC(=O)N\nP\tCCCP\nCHEMBL2\tCCS\n")
    assert rows == [(6, "C"), (5, "O"), (5, "CN"), (4, "P"), (3, "CHEMBL2")] and "column 2" in said[0]
    with pytest.raises(RecordError, match=r"both column 1 and column 2 read as SMILES; say which"):
        read(tmp_path, "C\tCCCCCC\nO\tOCCCO\nCN\tCCC(=O)N\n")  # nothing tells
    rows, _ = read(tmp_path, "name\tSMILES\nC\tCCCCCC\nO\tOCCCO\nCN\tCCC(=O)N\n")
    assert rows == [(6, "C"), (5, "O"), (5, "CN")]
    rows, _ = read(tmp_path, "CCCCCC C\nOCCCO O\n")  # the other way round nothing is strange
    assert rows == [(6, "C"), (5, "O")]
    rows, _ = read(tmp_path, "OCC CCO\nC(N)C CCN\n")  # one molecule, written twice
    assert rows == [(3, "CCO"), (3, "CCN")]


def test_a_text_of_something_else_gets_one_sentence(tmp_path):
    with pytest.raises(RecordError, match=r"none of the first 50 lines has a SMILES; expected are lines 'SMILES \[name\]'"):
        read(tmp_path, "a walk in the park\n" * 1000)
    with pytest.raises(RecordError, match="looks like XYZ, not SMILES; name it"):
        read(tmp_path, "3\nwater\nO 0.0 0.0 0.1\nH 0.0 0.8 -0.5\nH 0.0 -0.8 -0.5\n", "water.txt")
    for words in (
        "I am\nC is a language\nNo more\nOn and on\nThe end\nof it\n",
        "symbol,number\nC,6\nN,7\nO,8\nF,9\nI,53\n",
    ):
        with pytest.raises(RecordError, match="hardly any of the first 6 lines has a SMILES of more than two letters"):
            read(tmp_path, words)
    rows, _ = read(tmp_path, "nonsense one\nCC(C two\n")  # few rows: each its own reason
    assert rows == [(None, "one"), (None, "two")]
    with pytest.raises(RecordError, match="nothing but a header line"):
        read(tmp_path, "SMILES name\n")


def test_rows_that_do_not_fit_are_records_with_a_reason(tmp_path):
    text = 'name,smiles\na,CCO\nb\nc,"CC\n' + "".join(f"m{k},{'C' * k}O\n" for k in range(1, 40))
    rows, _ = read(tmp_path, text)
    assert rows[:3] == [(3, "a"), (None, "b"), (2, "c")]  # the quote is never closed, and swallows nothing
    assert rows[3:] == [(k + 1, f"m{k}") for k in range(1, 40)]
    rows, _ = read(tmp_path, 'smiles,name\nCCO,"first\nsecond line"\nCCN,b\n')
    assert rows == [(3, "first\nsecond line"), (3, "b")]


def test_stdin_and_prepare_find_the_dialect_too(tmp_path, monkeypatch):
    text = "id;smiles\nx1;CCO\nx2;CCN\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    said = []
    assert [r.name for r in read_records("-", False, say=said.append)] == ["x1", "x2"] and "stdin" in said[0]
    (tmp_path / "t.csv").write_text(text)
    report = prepare([str(tmp_path / "t.csv")], str(tmp_path / "s.h5"), workers=1, progress=False)
    assert (report.molecules, len(report.files)) == (2, 1) and "parted by semicolons" in str(report)


def test_a_long_table_streams(tmp_path):
    path = tmp_path / "long.csv"
    with open(path, "w") as file:
        file.write("smiles,name\n")
        file.writelines(f"CC{'C' * (k % 7)}O,m{k}\n" for k in range(100_000))
    records = read_records(str(path), False, say=lambda _: None)
    assert [next(records).name for _ in range(3)] == ["m0", "m1", "m2"]
