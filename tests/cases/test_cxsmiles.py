"""Extensions of CXSMILES: honoured where they say what the molecule is, kept out of the name, named where not understood."""

import io

import pytest
from rdkit import Chem

from pyg_diffusion.chem import stereoisomers
from pyg_diffusion.chem.isomers import stereo_groups
from pyg_diffusion.chem.smiles import record_from_line, split_smiles


def record(text: str):
    return record_from_line(0, split_smiles(text))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CCO |&1:1| a name", ("CCO", "a name", "|&1:1|")),
        ("CCO\t|$;;x y$|\ta name", ("CCO", "a name", "|$;;x y$|")),
        ("CCO |&1:1|", ("CCO", "", "|&1:1|")),
        ("CCO a |b| c", ("CCO", "a |b| c", "")),
        ("  CCO  ", ("CCO", "", "")),
        ("CCO |oops name", ("CCO", "name", "|oops")),
    ],
)
def test_the_extension_is_no_part_of_the_name(text, parts):
    assert split_smiles(text)[:3] == parts


def test_radicals_and_labels():
    methyl = record("C |^1:0| methyl")
    assert methyl.name == "methyl" and methyl.mol.GetNumAtoms() == 4 and methyl.notes == []
    assert methyl.mol.GetAtomWithIdx(0).GetNumRadicalElectrons() == 1
    placed = record("CO |(1,2,;3,4,),$a;b$| m")
    assert placed.mol.GetNumConformers() == 0 and placed.mol.GetNumAtoms() == 6 and placed.notes == []


@pytest.mark.parametrize(
    ("extension", "left_out"), [("|XX:1,2|", "XX:1, 2"), ("|^1:9|", "^1:9"), ("|&1:1,&2:12|", "&2:12"), ("|c:0,w:1.0|", "")]
)
def test_what_is_not_understood_is_named(extension, left_out):
    found = record(f"F[C@H](O)Cl {extension} m")
    assert found.mol is not None and found.name == "m"
    assert ["not understood: " + left_out in note for note in found.notes] == [True] * bool(left_out)


def test_what_cannot_be_parsed_is_refused_by_name():
    assert record("CCO |oops name").problem == "CXSMILES extension not understood: '|oops'"
    assert "ring not closed" in record("C1CO |&1:1| x").problem


def test_groups_stand_for_both_hands():
    for text, kind in (("C[C@H](F)O |&1:1|", "AND group at 2"), ("C[C@H](F)O |o3:1|", "OR group at 2")):
        mol = record(text).mol
        assert stereo_groups(mol) == kind
        assert sorted(Chem.MolToSmiles(Chem.RemoveHs(m)) for m in stereoisomers(mol)) == ["C[C@@H](O)F", "C[C@H](O)F"]
    for text in ("C[C@H](F)O", "C[C@H](F)O |a:1|"):
        mol = record(text).mol
        assert stereo_groups(mol) == "" and len(stereoisomers(mol)) == 1
    both = record("C[C@H](F)[C@@H](Cl)[C@H](Br)O |&1:1,3,o2:5|").mol
    assert stereo_groups(both) == "AND group at 2, 4; OR group at 6" and len(stereoisomers(both)) == 4


def test_sampling_says_so_or_makes_both():
    from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
    from pyg_diffusion.tasks.molecules.sample import Request, Sink, sample_records

    generator = ConformerGenerator.from_pretrained(confidence=False)
    names = []
    for most in (None, 8):
        out, said = io.StringIO(), []
        inputs = ["C[C@H](F)O |&1:1| mixture", "C[C@H](F)O one", "C[C@H](F)O", "CC(F)O open"]
        sink = Sink(out, pytest.fail, said.append)
        sample_records(generator, inputs, Request(n=1, max_isomers=most), sink, progress=False)
        names.append(out.getvalue().split("\n")[0::1])
        assert any("mixture: AND group at 2: made as drawn" in text for text in said) == (most is None)
        left_open = "1 molecules leave stereo open and come in any hand: open (--stereo enumerate: each apart)"
        assert (left_open in said) == (most is None)
    assert [sum(line.startswith("mixture") for line in lines) for lines in names] == [1, 2]
