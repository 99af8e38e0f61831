"""Files by what they are: packed in any way, of another kind than their name says, missing, folders, pipes."""

import bz2
import gzip
import lzma
import os
import random
import threading

import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import RecordError, read_records
from pyg_diffusion.chem.formats import raw_records
from pyg_diffusion.tasks.molecules.inputs import input_records

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
MOL = Chem.MolToMolBlock(embed("CO"))


def named(text: str, count: int = 2) -> str:
    return "".join(f"{text} {k}" + MOL[MOL.index("\n") :] + "$$$$\n" for k in range(count))


def names(path, **options) -> list[str]:
    return [r.name for r in read_records(str(path), False, say=lambda _: None, **options)]


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.sdf", "a.SDF.GZ", "a.sd.bz2", "a.sdf.xz"])
def test_packed_files_are_told_by_their_bytes(tmp_path, packer, name):
    path = tmp_path / name
    path.write_bytes(PACKERS[packer](named("x").encode()))
    assert names(path) == ["x 0", "x 1"]
    path.write_bytes(PACKERS[packer](named("x").encode()) + PACKERS[packer](named("y").encode()))  # as `cat` makes them
    assert names(path) == ["x 0", "x 1", "y 0", "y 1"]
    path.write_bytes(named("x").encode())
    assert names(path) == ["x 0", "x 1"]


@pytest.mark.parametrize("packer", PACKERS)
def test_cut_files_give_what_is_whole(tmp_path, packer):
    rng = random.Random(0)
    lines = [f"{'C' * rng.randrange(1, 9)}O m{k} {rng.random()}" for k in range(60_000)]
    data = PACKERS[packer]("\n".join(lines).encode())
    path = tmp_path / "a.smi"
    path.write_bytes(data[: len(data) * 3 // 4])
    *good, last = (raw for _, raw in raw_records(str(path)))
    assert len(good) > 10_000 and [f"{raw.smiles} {raw.name}" for raw in good] == lines[: len(good)]
    assert last.damage.startswith("the file is damaged here: Compressed file ended")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.smi", named("x"), "looks like SDF, not SMILES; name it .sdf if it is"),
        ("a.sdf", "CCO one\nCCN two\n", "looks like SMILES, not SDF; name it .smi if it is"),
        ("a.cif", "data_x\n_cell_length_a 5\n", "a CIF file, which is not read; what is: SDF"),
        (
            "a.txt",
            "HETATM    1  C1  UNL     1       0.9   0.1  -0.0  1.00  0.00           C\n",
            "looks like PDB, not SMILES; name it .pdb if it is",
        ),
        ("a.smi", "2\n\nO 0.0 0.0 0.0\nC 0.0 0.0 1.1\n", "looks like XYZ, not SMILES; name it .xyz if it is"),
        ("a.dat", "nothing of the kind\n", "of no kind that is read; what is: SDF"),
        ("a.smi", "<!DOCTYPE html><html>\n", "an HTML page"),
        ("a.smi", "\n  \n", "the file is empty"),
        ("a.sdf", "", "the file is empty"),
    ],
)
def test_another_kind_is_named_in_one_sentence(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecordError, match=message) as error:
        names(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_file_without_a_suffix_is_told_by_its_content(tmp_path):
    for text, expected in ((named("x"), ["x 0", "x 1"]), ("CCO one\nCCN two\n", ["one", "two"])):
        (tmp_path / "molecules").write_text(text)
        assert [r.name for r in input_records([str(tmp_path / "molecules")])] == expected


def test_molecules_and_files_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CCO").mkdir()
    (tmp_path / "CCN").write_text("whatever")
    (tmp_path / "folder").mkdir()
    made = list(input_records(["CCO", "CCN amine", "InChI=1S/CH4/h1H4", "C1CC", "lig.mol"[:3]]))
    assert [r.mol is not None for r in made] == [True, True, True, False, False]
    assert made[2].mol.GetNumAtoms() == 5
    with pytest.raises(RecordError, match="folder: cannot be read: Is a directory"):
        list(input_records(["folder"]))
    (unknown,) = input_records(["lignad.mlo2"])
    assert "nor is there such a file" in unknown.problem


@pytest.mark.parametrize("name", ["no.sdf", "no.SMI.gz", "no.mol2", "no.pdb", "no.csv.bz2", "no.xyz"])
def test_a_missing_file_is_refused_before_any_work(name):
    records = input_records(["CCO", name, "CCN"])
    with pytest.raises(RecordError, match=f"^{name}: no such file$"):
        next(records)


def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe.smi"
    os.mkfifo(path)
    threading.Thread(target=path.write_text, args=("CCO one\nCCN two\n",), daemon=True).start()
    assert names(path) == ["one", "two"]


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("C" * 10_000_001)
    with pytest.raises(RecordError, match="a line of more than 10000000 characters"):
        names(path)
