"""One record never ends the job: what cannot be done is named with its reason, and all others come out as without it."""

import io

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem import RecordError
from pyg_diffusion.chem.finish import Finish
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.chem.records import guarded, reason_of
from pyg_diffusion.tasks.molecules import blocks
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.sample import Request, Sink, sample_records

# π-bound rings that RDKit reads from a mol block and cannot kekulize once hydrogens go
FERROCENE = "[Fe+2].[cH-]1cccc1.[cH-]1cccc1"
ODD = ["*CC", "CC~C", "C[N](C)(C)C", "c1cncn1C(", FERROCENE, "[U]", "[H+]", "[He]", "C[Si]", "[Fe]", "CCO |oops x"]
GOOD = ["CO", "CN", "CF", "CC=O", "C#N"]


@pytest.fixture(scope="module")
def generator() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained(confidence=False)


def sampled(generator, inputs, **options):
    out, skipped, said = io.StringIO(), {}, []
    tally = sample_records(
        generator, inputs, Request(n=1, **options), Sink(out, skipped.__setitem__, said.append), progress=False
    )
    return out.getvalue(), skipped, said, tally


def written(text: str) -> dict[str, str]:
    return {record.split("\n", 1)[0]: record for record in text.split("$$$$\n")[:-1]}


@pytest.mark.parametrize("options", [{}, {"max_isomers": 4}, {"finish": Finish(energies="MMFF94s")}], ids=str)
def test_all_records_are_accounted_for(generator, tmp_path, options):
    path = tmp_path / "all.smi"
    path.write_text("".join(f"{smiles} m{k}\n" for k, smiles in enumerate(ODD[:-1] + GOOD)) + "CCO |oops last\n")
    text, skipped, _, tally = sampled(generator, [str(path)], **options)
    made = written(text)
    assert len(made) + len(skipped) == len(ODD + GOOD) and tally.molecules == len(made)
    assert {f"m{k}" for k in range(len(ODD) - 1, len(ODD + GOOD) - 1)} <= set(made)
    assert {"m0", "m1", "m2", "m3", "last"} <= set(skipped) and all(skipped.values())


def test_a_molecule_that_cannot_be_drawn_is_named_and_the_others_come_out_the_same(generator, monkeypatch):
    inputs = [f"{smiles} {k}" for k, smiles in enumerate(GOOD)]
    alone, *_ = sampled(generator, inputs)
    choose = blocks.representatives

    def broken(mol, *rest):
        if mol.GetProp("_Name") == "2":
            raise RuntimeError("Pre-condition Violation\n\tsomething about atom 3\n\tViolation occurred on line 7")
        return choose(mol, *rest)

    monkeypatch.setattr(blocks, "representatives", broken)
    text, skipped, _, tally = sampled(generator, inputs)
    assert skipped == {"2": "something about atom 3"} and tally.molecules == 4
    assert written(text).keys() == {"0", "1", "3", "4"}
    for name, record in written(text).items():
        ours, theirs = (Chem.MolFromMolBlock(t, removeHs=False).GetConformer() for t in (record, written(alone)[name]))
        np.testing.assert_allclose(ours.GetPositions(), theirs.GetPositions(), atol=2e-3)


def test_wrong_options_are_no_molecules_fault(generator):
    with pytest.raises(ValueError, match="no level of theory 'AM1'"):
        sampled(generator, GOOD, level="AM1")


def test_prepare_names_what_it_cannot_do(tmp_path):
    path = tmp_path / "all.smi"
    path.write_text("".join(f"{smiles} m{k}\n" for k, smiles in enumerate(ODD[:5] + GOOD)))
    report = prepare([str(path)], str(tmp_path / "s.h5"), workers=1, progress=False)
    assert report.records == len(ODD[:5] + GOOD) == report.molecules + len(report.skipped)
    assert [s.name for s in report.skipped][:4] == ["m0", "m1", "m2", "m3"]
    assert "no molecule" in report.skipped[0].reason


def test_missing_conformers_are_named(generator, monkeypatch):
    monkeypatch.setattr(blocks, "representatives", lambda mol, positions, n, confidence: [0])
    out, said = io.StringIO(), []
    sample_records(generator, ["CCO some", "CO other"], Request(n=3), Sink(out, pytest.fail, said.append), progress=False)
    named = [text.partition(" after ")[0] for text in said if "missing" in text]
    assert named == ["some: 2 of 3 conformers missing", "other: 2 of 3 conformers missing"]


def test_the_guard_takes_errors_of_records_alone():
    told = {}
    with guarded("a", told.__setitem__):
        raise RuntimeError("****\nPre-condition Violation\nbad thing\nViolation occurred on line 1")
    with guarded("b", told.__setitem__):
        raise KeyError
    assert told == {"a": "bad thing", "b": "KeyError"}
    assert reason_of(ValueError("\n  first\nsecond")) == "first"
    for error in (OSError("full"), RecordError("file"), KeyboardInterrupt()):
        with pytest.raises(type(error)), guarded("c", told.__setitem__):
            raise error
