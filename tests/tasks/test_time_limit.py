"""`sample --time-limit`: a molecule that takes longer yields nothing and is named; the others are as they would be."""

import math
import time

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import read_records, relax, similarity
from pyg_diffusion.chem.finish import Finish
from pyg_diffusion.chem.forms import tautomers
from pyg_diffusion.cli import main
from pyg_diffusion.deadline import Allowance, OutOfTime, check_time, deadline, is_limited
from pyg_diffusion.sample.counted import Counted

LIMIT = "takes longer than 5 s (--time-limit)"
NAMES = ["a", "slow", "b"]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyg_diffusion.deadline.monotonic", made)
    return made


def test_the_earlier_of_two_deadlines_holds(clock):
    check_time()
    assert not is_limited()
    with deadline(5, "outer"):
        with deadline(9, "inner"):
            clock.now = 4.9
            check_time()
            clock.now = 5.0
            with pytest.raises(OutOfTime, match="outer"):
                check_time()
        with deadline(1, "inner"), pytest.raises(OutOfTime, match="outer"):
            check_time()
    check_time()


def test_work_on_several_is_shared_out(clock):
    allowance = Allowance(10, "late")
    with allowance({1: 1.0, 2: 3.0}):
        clock.now += 8
    assert dict(allowance.spent) == {1: 2.0, 2: 6.0}
    with pytest.raises(OutOfTime, match="late"), allowance({1: 1.0, 2: 1.0}):  # 1 has 8 s left, so both have 16
        clock.now += 15
        check_time()
        clock.now += 1
        check_time()
    assert allowance.out(1) and allowance.out(2) and not allowance.out(3)
    with Allowance()({1: 1.0}):
        clock.now += 1e9
        check_time()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.smi"
    path.write_text("CCCO a\nCCCCCCN slow\nCCF b\n")
    return path


def sample(source, *options) -> tuple[int, dict[str, list[np.ndarray]], list[str]]:
    out, failed = source.with_name("out.sdf"), source.with_name("failed.smi")
    out.write_text("")
    failed.write_text("")
    asked = ["--seed", "1", "--quiet", "--workers", "1", "--failed", str(failed), "-o", str(out), *options]
    code = main(["sample", str(source), "-n", "2", "--oversample", "2", *asked])
    made: dict[str, list[np.ndarray]] = {}
    for record in read_records(out, say=pytest.fail) if out.read_text() else ():
        made.setdefault(record.name, []).append(record.mol.GetConformer().GetPositions())
    return code, made, failed.read_text().splitlines()


def slow_at(monkeypatch, clock, owner, name, is_slow):
    """Have a call take a minute where it is about the slow molecule."""
    original = getattr(owner, name)

    def call(*args, **kwargs):
        clock.now += 60 * bool(is_slow(*args))
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def of_slow(mol) -> bool:
    return mol.HasProp("_Name") and mol.GetProp("_Name") == "slow"


@pytest.mark.parametrize("stage", ["drawing", "choosing", "relaxing", "energies", "pruning"])
def test_one_that_takes_longer_is_named_and_the_others_are_written(stage, source, clock, monkeypatch):
    options = ["--time-limit", "5"]
    if stage == "drawing":  # each in a batch of its own
        monkeypatch.setattr("pyg_diffusion.tasks.molecules.generator.ConformerGenerator.cost", lambda self, size: 60_000)
        slow_at(monkeypatch, clock, Counted, "denoise", lambda self, op, w, t, context: w.shape[1] == 7)
    elif stage == "choosing":
        slow_at(monkeypatch, clock, similarity._Aligned, "rmsd", lambda self, a, b: self.core.GetNumHeavyAtoms() == 7)
    elif stage == "relaxing":
        slow_at(monkeypatch, clock, relax, "_mmff_field", lambda mol, dielectric: of_slow(mol))
        options += ["--relax", "MMFF94s"]
    elif stage == "energies":
        slow_at(monkeypatch, clock, relax, "_mmff_field", lambda mol, dielectric: of_slow(mol))
        options += ["--energies", "MMFF94s"]
    else:
        options += ["--prune-torsions", "0.01", "--oversample", "1"]
        slow_at(monkeypatch, clock, similarity, "heavy_atoms", of_slow)
    code, made, failed = sample(source, *options)
    assert code == 0 and failed == [f"CCCCCCN slow: {LIMIT}"]
    assert sorted(made) == ["a", "b"] and len(made["a"]) == 2


def test_without_hurry_nothing_changes(source):
    _, free, none = sample(source, "--relax", "MMFF94s")
    _, timed, failed = sample(source, "--relax", "MMFF94s", "--time-limit", "600")
    assert sorted(free) == sorted(timed) == sorted(NAMES) and none == failed == []
    for name in NAMES:
        np.testing.assert_array_equal(free[name], timed[name])


def test_forms_end_in_time(clock):
    mol = Chem.AddHs(Chem.MolFromSmiles("CC(=O)CC(=O)CC(=O)CC(=O)C"))
    with deadline(0, LIMIT), pytest.raises(OutOfTime, match="5 s"):
        tautomers(mol)


def test_fragments_are_of_one_molecule(source, clock, monkeypatch):
    source.write_text("CCO.CCCCCCN salt\nCCF b\n")
    monkeypatch.setattr("pyg_diffusion.tasks.molecules.generator.ConformerGenerator.cost", lambda self, size: 60_000)
    slow_at(monkeypatch, clock, Counted, "denoise", lambda self, op, w, t, context: w.shape[1] == 7)
    _, made, failed = sample(source, "--time-limit", "5")
    assert sorted(made) == ["b"] and len(failed) == 1 and LIMIT in failed[0]


@pytest.mark.parametrize("level", ["MMFF94s", "GFN2-xTB"])
def test_relaxation_of_a_large_molecule_ends_within_seconds(level):
    if level == "GFN2-xTB":
        pytest.importorskip("tblite")
    mol = embed("C" * 40 if level == "MMFF94s" else "C" * 20 + "O")
    begin = time.process_time()
    with deadline(0.5, LIMIT), pytest.raises(OutOfTime):
        for _ in range(1000):
            relax.RELAX[level](mol)
    assert time.process_time() - begin < 3


def test_pauses_reach_the_same_minimum():
    mol = embed("CCCCCCCCCC")
    free = relax.relax_mmff(mol)
    with pytest.MonkeyPatch.context() as patch, deadline(600, LIMIT):
        patch.setattr(relax, "MMFF_ITERATIONS", 150)  # in a pause's place
        paused = relax.relax_mmff(mol)
    assert free is not None and paused is not None and abs(free.energy - paused.energy) < 1e-3


def test_finishing_keeps_no_time_where_none_is_asked_for():
    assert Finish().window == math.inf and not is_limited()
