"""SDF put together with `cat`, cut off or patched: no molecule is lost in silence, and none shifts the next."""

import random

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion.chem import RecordError, read_sdf
from pyg_diffusion.chem.sdf_text import split_sdf


def block(smiles: str, name: str, v3000: bool = False) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", name)
    return Chem.MolToMolBlock(mol, forceV3000=v3000)


A, B, C = block("C[C@H](N)CO", "first"), block("CCO", "second"), block("O=CC#N", "third")
FIELD = ">  <pKa>\n7.5\n"
BOTH = [("first", "C[C@H](N)CO"), ("second", "CCO")]


def read(tmp_path, text: str | bytes, need_3d: bool = True):
    path = tmp_path / "mols.sdf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_sdf(str(path), need_3d, say=lambda _: None))


def found(records) -> list[tuple[str, str]]:
    return [(r.name, r.problem or Chem.MolToSmiles(Chem.RemoveHs(r.mol))) for r in records]


@pytest.mark.parametrize(
    "text",
    [
        A + B,
        A + B + "$$$$\n",
        A.rstrip("\n") + B,
        A + "$$$$" + B,
        A + "$$$$ second\n" + B.replace("second", "", 1),
        A + "$$$$ second\n" + B.split("\n", 1)[1],
        A + "$$$$ a comment\n" + B,
        A.rstrip("\n") + "$$$$\n" + B,
        A.rstrip("\n") + "$$$$" + B,
        A + "\n\n" + B,
        A + "$$$$\n\n\n" + B + "$$$$\n\n",
        A + "  $$$$  \n" + B,
        A + FIELD + "$$$$\n" + B,
        A + FIELD + B,
        A + FIELD + "\n" + B,
        A + FIELD.rstrip("\n") + "$$$$\n" + B,
        A + FIELD.rstrip("\n") + "$$$$\n\n" + B + FIELD.rstrip("\n") + "$$$$",
        (A + "$$$$\n" + B).replace("\n", "\r\n"),
        A + "$$$$\n\ufeff" + B + "$$$$\n\x1a",
        (A + FIELD + "$$$$\n" + B).replace("\n", "\r"),
        (A.rstrip("\n") + B).replace("\n", "\r"),
        block("C[C@H](N)CO", "first", v3000=True) + block("CCO", "second", v3000=True),
    ],
    ids=lambda text: repr(text[text.index("END") :].split("second")[0][:30]),
)
def test_two_molecules_are_two(tmp_path, text):
    records = read(tmp_path, text)
    assert found(records) == BOTH
    if "pKa" in text:
        assert records[0].mol.GetProp("pKa") == "7.5"
        assert not records[0].notes


def test_names_that_are_blank_stay_so(tmp_path):
    records = read(tmp_path, block("CCO", "") + block("CCN", "") + "$$$$\n\n\n" + block("CCF", "") + "$$$$\n")
    assert found(records) == [("record 1", "CCO"), ("record 2", "CCN"), ("record 3", "CCF")]


def test_a_molecule_in_a_data_field_is_a_value(tmp_path):
    records = read(tmp_path, A + ">  <drawn_as>\n" + C + "\n$$$$\n" + B + "$$$$\n")
    assert found(records) == BOTH
    assert records[0].notes  # its blank lines end the field


def test_a_value_may_hold_dollars(tmp_path):
    (record,) = read(tmp_path, A + ">  <price>\n12 $$$$\nper g\n\n$$$$\n")
    assert record.mol.GetProp("price") == "12 $$$$\nper g"


@pytest.mark.parametrize("cut", [0.3, 0.55, 0.8])
def test_a_record_that_is_cut_off_does_not_take_the_next_along(tmp_path, cut):
    lines = A.split("\n")
    short = "\n".join(lines[: max(4, int(cut * len(lines)))]) + "\n"
    first, second = read(tmp_path, short + B + "$$$$\n")
    assert first.mol is None and first.name == "first" and "RDKit cannot parse" in first.problem
    assert found([second]) == BOTH[1:]


@pytest.mark.parametrize("rest", ["name$$$$\n", "name\n  x\n\n 23 22  0$$$$\n"])
def test_a_record_that_is_cut_off_before_its_atoms_does_not_take_the_next_along(tmp_path, rest):
    first, short, second = read(tmp_path, A + "$$$$\n" + rest + B + "$$$$\n")
    assert found([first, second]) == BOTH and short.mol is None and short.name.startswith("name")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda text: text.replace(" 14 13", " 20 13", 1), "Atom line too short"),
        (lambda text: text.replace(" 14 13", " 14 20", 1), "line"),
        (lambda text: text.replace(" 14 13", "10021001", 1), "line 4"),
        (lambda text: text.replace(" 14 13", " -1 13", 1), "line 4"),
    ],
)
def test_counts_that_do_not_fit_are_named_and_shift_nothing(tmp_path, wrong, reason):
    text = block("C[C@H](N)CO", "first")
    assert wrong(text) != text, text
    records = read(tmp_path, wrong(text) + "$$$$\n" + B + "$$$$\n")
    assert records[0].mol is None and reason in records[0].problem
    assert found(records[1:]) == BOTH[1:]


def test_columns_of_three_digits_need_no_blank(tmp_path):
    text = block("C" * 40, "chain")
    assert text.split("\n")[3].startswith("122121")
    assert found(read(tmp_path, text + B)) == [("chain", "C" * 40), BOTH[1]]


@pytest.mark.parametrize("v3000", [False, True])
def test_cut_anywhere_a_file_gives_its_molecule_or_a_reason(tmp_path, v3000):
    text = block("C[C@H](F)O", "only", v3000) + FIELD + "\n$$$$\n"
    for end in range(0, len(text), 3):
        try:
            records = read(tmp_path, text[:end])
        except RecordError as error:
            assert "V2000" not in text[:end] and "V3000" not in text[:end], str(error)
            continue
        assert len(records) == 1 and records[0].name == "only" and bool(records[0].mol) != bool(records[0].problem)
        if records[0].mol:
            assert found(records) == [("only", "C[C@@H](O)F")] and "M  END" in text[:end]


def test_bytes_changed_anywhere_end_nothing(tmp_path):
    data = (A + FIELD + "\n$$$$\n" + B + "$$$$\n" + C + "$$$$\n").encode()
    draw = random.Random(0)
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(changed))] = draw.choice(b"\0\n\r $>M9-.\xff\xc3")
        for record in read(tmp_path, bytes(changed), need_3d=False):
            assert (record.mol is None) == bool(record.problem)
            if record.mol is not None:
                assert np.isfinite(record.mol.GetConformer().GetPositions()).all() or record.notes or record.fault


def test_many_records_are_read_one_at_a_time():
    held = []

    def lines():
        for k in range(20_000):
            held.append(k)
            yield f"mol {k}\n"
            yield from ("\n", "\n", "  1  0  0  0  0  0  0  0  0  0999 V2000\n", f"{0:10.4f}" * 3 + " C\n", "M  END\n")

    for k, text in enumerate(split_sdf(lines(), "mols.sdf")):
        assert text.startswith(f"mol {k}\n") and len(held) <= k + 2
    assert k == 19_999
