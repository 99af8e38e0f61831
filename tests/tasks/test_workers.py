"""Several processes give the bytes of one, also where one of them is killed; what was asked of workers is refused where it
can have no effect."""

import gzip
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from rdkit import Chem

from pyg_diffusion.chem.formats import format_to_write
from pyg_diffusion.chem.records import Record
from pyg_diffusion.chem.smiles import record_from_line, split_smiles
from pyg_diffusion.cli import main
from pyg_diffusion.console import Output, UsageError
from pyg_diffusion.tasks.molecules import sample, sharing
from pyg_diffusion.tasks.molecules.blocks import blocks_of
from pyg_diffusion.tasks.molecules.inputs import unique_molecules
from pyg_diffusion.tasks.molecules.outputs import Shards, output_of
from pyg_diffusion.tasks.molecules.sharing import PAIR, PROCESS, room

ROOT = Path(__file__).parents[2]
LINES = [
    "C m0",
    "C1CC bad",
    "[CH3:7]N mapped",
    "* dummy",
    "N m4",
    "C[C@H](O)N |o1:1| grouped",
    "[Na+].[Cl-] salt",
    "C#N m7",
    "O m8",
    "CO m1",
    "F/C=C/Cl double",
    "CO m1",
    "CO.CO two",
]
QUICK = ["-n", "2", "--steps", "2", "--no-confidence", "--seed", "3", "--quiet"]


@pytest.fixture(autouse=True)
def blocks_of_three(monkeypatch):
    monkeypatch.setattr(sample, "CHUNK", 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("workers") / "in.smi"
    path.write_text("\n".join(LINES) + "\n")
    return path


def run(source, folder, *options) -> tuple[bytes, bytes, dict]:
    """(SDF, failed, report)"""
    out, failed, report = (folder / name for name in ("out.sdf", "failed.smi", "report.json"))
    files = ["-o", str(out), "--failed", str(failed), "--report", str(report)]
    assert main(["sample", str(source), *QUICK, *files, *options]) == 0
    found = json.loads(report.read_text())
    del found["seconds"]
    return out.read_bytes(), failed.read_bytes(), found


def test_two_processes_one_of_them_killed_give_the_bytes_of_one(source, tmp_path, monkeypatch, capsys):
    one = run(source, tmp_path, "-j", "1")
    said, killed = capsys.readouterr().err, []

    def kill(self):
        if "out.sdf" in self.path and not killed:
            killed.extend(process.pid for process in multiprocessing.active_children()[:1])
            os.kill(killed[0], signal.SIGKILL)
        return settle(self)

    settle = Output.settle
    monkeypatch.setattr(Output, "settle", kill)
    two = run(source, tmp_path, "-j", "2")
    assert killed and two[0] == one[0] and two[1] == one[1]
    assert one[2].pop("threads") == 1 and two[2].pop("threads") == 2
    assert two[2] == one[2] and one[2]["conformers"] == 20
    assert (
        capsys.readouterr().err.replace("2 threads", "1 threads").split("conformers of")[0] == said.split("conformers of")[0]
    )
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("places", ["--core", "--around", "--keep", "--tautomers"])
def test_places_and_forms_are_as_by_one(places, tmp_path):
    poses, inputs = tmp_path / "poses.sdf", tmp_path / "in.smi"
    smiles = ["CCOc1ccccc1", "CC(C)CN", "C[C@H](N)C(=O)NC", "OCCC1CCCC1", "CCOC(=O)CC", "NCCc1ccncc1", "CCCCO"]
    assert main(["sample", *smiles, "-n", "1", "--quiet", "-o", str(poses)]) == 0
    inputs.write_text("".join(f"C{text} m{k}\n" for k, text in enumerate(smiles)))
    words = {
        "--core": [str(inputs), "--core", str(poses), "--relax", "MMFF94s"],
        "--around": ["--around", str(poses), "--spread", "0.8", "--lock", "[#6][CX4]-[CX4,O]~[#6,#7,#8]", "--strict"],
        "--keep": [str(poses), "--keep", "C"],
        "--tautomers": [str(inputs), "--tautomers", "all", "--ph", "7.4", "--parent", "--stereo", "enumerate"],
    }[places]
    made = []
    for workers in ("1", "2"):
        out, failed = tmp_path / f"{workers}.sdf", tmp_path / f"{workers}.smi"
        job = ["sample", *words, *QUICK, "--unsound", "keep", "-j", workers, "-o", str(out), "--failed", str(failed)]
        assert main(job) in (0, 1)
        made.append((out.read_bytes(), failed.read_bytes() if failed.exists() else b""))
    assert made[0] == made[1] and made[0][0].count(b"$$$$") >= 8


def test_a_record_travels_whole():
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)N"))
    mol.SetProp("_Name", "name")
    mol.SetProp("dose (mg)", "1.5")
    mol.GetAtomWithIdx(0).SetIntProp("_atomMap", 7)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.random.default_rng(0).standard_normal((mol.GetNumAtoms(), 3)))
    mol.AddConformer(conformer)
    record = pickle.loads(pickle.dumps(Record(3, "name", mol, notes=["a"], text="C")))
    assert (record.index, record.name, record.notes, record.text) == (3, "name", ["a"], "C")
    assert record.mol.GetPropsAsDict() == {"dose (mg)": 1.5} and record.mol.GetProp("_Name") == "name"
    assert record.mol.GetAtomWithIdx(0).GetIntProp("_atomMap") == 7
    np.testing.assert_array_equal(record.mol.GetConformer().GetPositions(), conformer.GetPositions())
    assert pickle.loads(pickle.dumps(Record(0, "x", None, "why"))).problem == "why"


def test_blocks_are_cut_by_number_and_by_price():
    prices = {"a": 10, "b": 10, "c": 100, "d": 1, "e": 1, "f": 1}
    cut = [("".join(b.entries), b.first, total) for b, total in blocks_of(prices, 5, 3, 100, prices.get)]
    assert cut == [("abc", 5, 120), ("def", 8, 3)]
    cut = [("".join(b.entries), b.first) for b, _ in blocks_of("abcdef", 0, 2, 100, prices.get)]
    assert cut == [("ab", 0), ("c", 2), ("de", 3), ("f", 5)]


@pytest.mark.parametrize("suffix", [".sdf", ".sdf.gz", ".csv", ".parquet"])
def test_shards_of_a_job_that_is_cut_hold_everything_once(tmp_path, suffix):
    kind = format_to_write(f"out{suffix}")
    plain = {"smiles": "C", "conformer": 1, "cxsmiles": "C"}
    rows = [json.dumps({"name": f"m{k}"} | plain) + "\n" if kind.rows else f"m{k}\n" for k in range(12)]
    path, size = str(tmp_path / f"out{suffix}"), 3 * len(rows[0])

    def shards(resume: bool) -> Shards:
        return Shards(path, size, lambda name: output_of(name, kind, []), resume)

    place, done = None, 0
    for cut in (2, 5, 9, 12):  # three jobs that are killed with something unsettled behind, then one that is not
        with shards(resume=place is not None) as out:
            if place is not None:
                out.cut(json.loads(json.dumps(place)))
            for k in range(done, cut):
                out.write(rows[k])
                place = out.settle()
            done = cut
            if done < 12:
                out.write(rows[done])
                out.flush()
            else:
                out.complete()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"out-{k:05d}{suffix}" for k in range(len(files))] and len(files) >= 3
    found = [name for file in files for name in names_in(file)]
    assert found == [f"m{k}" for k in range(12)]
    with pytest.raises(UsageError, match="shards of an earlier job"):
        shards(resume=False)


def names_in(path) -> list[str]:
    if path.suffix == ".parquet":
        return [str(name) for name in parquet.read_table(path)["name"].to_pylist()]
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        return re.findall(r"^m\d+", file.read(), re.MULTILINE)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".sdf.gz", ["--core", "datasets/dft8k_200.sdf.gz", "--core-smarts", "c1ccccc1"]),
        (".xyz", ["--guide", "clashes=1", "--diversity", "1", "--keep", "C"]),
        (".parquet", ["--relax", "MMFF94s", "--window", "5", "--kelvin", "300", "--stereo", "enumerate"]),
        (".pdb", ["--parent", "--ph", "7.4", "--sampler", "ddim:0.5", "--grid", "tau:3.5", "--preset", "screen"]),
        (".csv", ["--compile", "--unsound", "keep"]),
    ],
)
def test_all_that_a_worker_needs_can_be_packed(tmp_path, monkeypatch, suffix, options):
    shared = []

    def draw(*arguments, sharing, **others):
        shared.append(sharing)
        return sample.Tally(conformers=1, drawn=1)

    monkeypatch.setattr(sample, "sample_records", draw)
    monkeypatch.chdir(ROOT)
    assert main(["sample", "C", *QUICK, "-j", "2", "-o", str(tmp_path / f"out{suffix}"), *options]) == 0
    elsewhere = pickle.loads(pickle.dumps(shared[0].elsewhere))
    assert elsewhere.request.seed == 3 and str(elsewhere.options) == str(shared[0].elsewhere.options)
    assert elsewhere.write == shared[0].elsewhere.write


def test_a_long_input_is_not_held_in_memory():
    records = (record_from_line(k, split_smiles(f"{'C' * (1 + k % 50)} m{k % 100}")) for k in range(150))
    entries = unique_molecules(records, pytest.fail, lambda _: None)
    first = weakref.ref(next(entries))
    assert len(list(entries)) == 99 and first() is None
    records = (record_from_line(k, split_smiles("CO same")) for k in range(3))
    assert [entry.copies for entry in list(unique_molecules(records, pytest.fail, lambda _: None))] == [3]


def test_memory_sizes_batches_then_workers():
    full = 60_000 * PAIR
    assert room(PROCESS + 10 * PAIR, 60_000, False) == (10, 1)
    assert room(PROCESS + 4 * (PROCESS + full), 60_000, False) == (60_000, 4)
    assert room(PROCESS, 60_000, False) == (0, 0)
    assert room(PROCESS + 100_000 * PAIR, 60_000, True) == (100_000, 1)


def test_what_has_no_effect_is_refused(source, tmp_path, monkeypatch, capsys):
    assert main(["sample", "C", "--memory", "0.1"]) == 2 and "a process takes" in capsys.readouterr().err
    assert main(["sample", "C", "-j", "2", "--grid", "optimised", "--sampler", "ddim"]) == 2
    assert "fitted to the first molecules by one process" in capsys.readouterr().err
    trajectory = ["--trajectory", str(tmp_path / "t.sdf")]
    assert main(["sample", "C", "-j", "2", *trajectory]) == 2 and "--trajectory is written" in capsys.readouterr().err
    monkeypatch.setattr(sharing, "Processes", None)  # a few molecules take none
    assert run(source, tmp_path, "--memory", "0.7")[2]["conformers"] == 20
    monkeypatch.setattr(sample, "CHUNK", 64)
    assert run(source, tmp_path, "-j", "9")[2]["conformers"] == 20


def wait_until_gone(group: int) -> None:
    with pytest.raises(ProcessLookupError):
        for _ in range(1200):  # a minute at most
            os.killpg(group, 0)  # somebody of the job is left
            time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_ends_all_and_the_rest_is_drawn_later(tmp_path):
    source = tmp_path / "in.smi"
    source.write_text("".join(f"{'C' * (1 + k % 4)}O m{k}\n" for k in range(300)))
    out, whole = tmp_path / "out.sdf", tmp_path / "whole.sdf"
    command = [sys.executable, "-m", "pyg_diffusion", "sample", str(source), *QUICK]
    log = (tmp_path / "log").open("w+")  # a pipe would fill up
    job = subprocess.Popen([*command, "-j", "2", "-o", str(out)], stderr=log, start_new_session=True)
    while not (tmp_path / "out.sdf.progress").exists():
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait() == 130
    log.seek(0)
    said = log.read()
    assert "--resume goes on" in said and "Traceback" not in said, said
    wait_until_gone(job.pid)
    for options in (["-j", "2", "--resume", "-o", str(out)], ["-j", "1", "-o", str(whole)]):
        assert subprocess.run([*command, *options], check=False).returncode == 0
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_killed_parent_leaves_no_workers(tmp_path):
    source = tmp_path / "in.smi"
    source.write_text("".join(f"{'C' * (1 + k % 4)}O m{k}\n" for k in range(300)))
    out = tmp_path / "out.sdf"
    command = [sys.executable, "-m", "pyg_diffusion", "sample", str(source), *QUICK, "-j", "2", "-o", str(out)]
    job = subprocess.Popen(command, start_new_session=True)
    while not out.exists():
        time.sleep(0.05)
    job.kill()
    job.wait()
    wait_until_gone(job.pid)
