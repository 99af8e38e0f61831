"""A sampling job that is cut goes on with --resume: nothing twice, nothing lost; what fails is kept with its reason."""

import gzip
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.cli import main
from pyg_diffusion.console import Output
from pyg_diffusion.tasks.molecules import sample
from pyg_diffusion.tasks.molecules.journal import Journal

LINES = [
    "C m0",
    "CO m1",
    "C1CC bad",
    "CN m2",
    "* dummy",
    "CF m3",
    "N m4",
    "CCl m5",
    "C=O m6",
    "C#N m7",
    "O m8",
    "CO m1",
    "CC m9",
]
QUICK = ["-n", "2", "--steps", "2", "--no-confidence", "--seed", "3", "--quiet"]


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def chunks_of_three(monkeypatch):
    monkeypatch.setattr(sample, "CHUNK", 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "in.smi"
    path.write_text("\n".join(LINES) + "\n")
    return path


def run(source, folder, *options, suffix=".sdf") -> int:
    files = [
        "-o",
        str(folder / f"out{suffix}"),
        "--failed",
        str(folder / "failed.smi"),
        "--report",
        str(folder / "report.json"),
    ]
    return main(["sample", str(source), *QUICK, *files, *options])


def read(path) -> list[tuple[str, np.ndarray]]:
    opened = gzip.open if path.suffix == ".gz" else open
    supplier = Chem.SDMolSupplier()
    with opened(path, "rt") as file:
        supplier.SetData(file.read(), removeHs=False)
    return [(mol.GetProp("_Name"), mol.GetConformer().GetPositions()) for mol in supplier]


def same(one, other) -> None:
    assert [name for name, _ in one] == [name for name, _ in other]
    for (_, a), (_, b) in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "CHUNK", 3)
        assert run(source, folder) == 0
    assert not (folder / "out.sdf.progress").exists()
    return folder


def test_what_fails_is_kept_with_its_reason(whole):
    lines = (whole / "failed.smi").read_text().splitlines()
    assert [line.split(" ")[:2] for line in lines] == [["C1CC", "bad:"], ["*", "dummy:"]]
    assert "ring" in lines[0] and "dummy atom" in lines[1]


@pytest.mark.parametrize(
    ("suffix", "method", "call"),
    [(".sdf", "write", 5), (".sdf.gz", "write", 13), (".sdf", "settle", 3), (".sdf.gz", "flush", 9)],
)
def test_cut_anywhere_and_gone_on_with(source, whole, tmp_path, monkeypatch, capsys, suffix, method, call):
    calls = 0

    def cut(self, *args):
        nonlocal calls
        calls += self.path.endswith(suffix)
        if calls == call:
            calls += 1
            raise Killed
        return original(self, *args)

    original = getattr(Output, method)
    with monkeypatch.context() as patch:
        patch.setattr(Output, method, cut)
        with pytest.raises(Killed):
            run(source, tmp_path, suffix=suffix)
    (tmp_path / "failed.smi").open("a").write("torn")  # what a kill may leave behind the last whole piece
    capsys.readouterr()
    begun = (tmp_path / f"out{suffix}.progress").exists()
    assert run(source, tmp_path, *["--resume"] * begun, suffix=suffix) == 0
    assert ("going on behind" in capsys.readouterr().err) == begun == (call > 5 or method == "settle")
    same(read(tmp_path / f"out{suffix}"), read(whole / "out.sdf"))
    assert (tmp_path / "failed.smi").read_text() == (whole / "failed.smi").read_text()
    one, other = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path, whole))
    assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert not (tmp_path / f"out{suffix}.progress").exists()


def test_only_a_cut_job_of_the_same_options_goes_on(source, tmp_path, monkeypatch, capsys):
    assert run(source, tmp_path, "--resume") == 2 and "no job with this output was cut" in capsys.readouterr().err
    monkeypatch.setattr(Journal, "close", lambda self: None)  # as if it had been cut at the very end
    assert run(source, tmp_path) == 0
    assert run(source, tmp_path, "--resume", "--attempts", "2") == 2
    assert "the cut job had another attempts" in capsys.readouterr().err
    assert main(["sample", "C", "--resume"]) == 2 and "-o" in capsys.readouterr().err
    (tmp_path / "out.sdf.progress").write_text("{")
    assert run(source, tmp_path, "--resume") == 2 and "is damaged" in capsys.readouterr().err


OTHERS = [
    pytest.param(suffix, (9,), marks=pytest.mark.slow)
    for suffix in (".mol2", ".pdb", ".xyz.gz", ".cxsmiles", ".tsv", ".mol")
]


@pytest.mark.parametrize(("suffix", "calls"), [(".csv", (2, 9)), (".parquet", (13,)), *OTHERS])
def test_what_is_cut_is_whole_in_the_end(source, tmp_path, monkeypatch, capsys, suffix, calls):
    (tmp_path / "whole").mkdir()
    assert run(source, tmp_path / "whole", suffix=suffix) == 0
    original, count = Output.write, 0

    def cut(self, text):
        nonlocal count
        count += "out" in self.path
        if "out" in self.path and count in calls:
            raise Killed
        original(self, text)

    monkeypatch.setattr(Output, "write", cut)
    for _ in calls:
        with pytest.raises(Killed):
            run(source, tmp_path, *["--resume"] * (tmp_path / f"out{suffix}.progress").exists(), suffix=suffix)
    capsys.readouterr()
    assert run(source, tmp_path, "--resume", suffix=suffix) == 0
    assert "10 molecules done, 2 skipped: bad, dummy" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("out*")) == [f"out{suffix}"]
    for name in (f"out{suffix}", "failed.smi"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "workers"), [(".sdf.gz", 2), (".csv", 2), (".parquet", 1)])
def test_kill_minus_9(tmp_path, suffix, workers):
    """Killed at random moments, the whole job with its workers, until it is done: the bytes of one that never was."""
    source, moments = tmp_path / "in.smi", np.random.default_rng(workers)
    source.write_text("".join(f"{'C' * (1 + k % 4)}O m{k}\n" for k in range(200)) + "C1CC bad\n")
    command = [sys.executable, "-m", "pyg_diffusion", "sample", str(source), *QUICK, "--preset", "screen", "-n", "2"]
    for name in ("whole", "cut"):
        files = ["-o", str(tmp_path / f"{name}{suffix}"), "--failed", str(tmp_path / f"{name}.smi")]
        kills, journal = 2 * (name == "cut"), tmp_path / f"{name}{suffix}.progress"
        while True:
            job = subprocess.Popen([*command, *files, "-j", str(workers), *["--resume"] * journal.exists()])
            begun = journal.stat().st_mtime_ns if journal.exists() else 0
            while kills and job.poll() is None and not (journal.exists() and journal.stat().st_mtime_ns > begun):
                time.sleep(0.02)
            if not kills or job.poll() is not None:
                break
            time.sleep(moments.uniform(0, 1.5))
            job.kill()
            job.wait()
            kills -= 1
        assert job.wait() == 0
    for end in (suffix, ".smi"):
        cut, whole = ((tmp_path / f"{name}{end}").read_bytes() for name in ("cut", "whole"))
        if end == ".sdf.gz":  # whose members have their times
            cut, whole = gzip.decompress(cut), gzip.decompress(whole)
        assert cut == whole
