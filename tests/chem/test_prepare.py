import gzip
import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, rdBase

from pyg_diffusion.chem import RecordError, molecule_from_mol, read_sdf
from pyg_diffusion.chem.prepare import PrepareReport, SkippedRecord, prepare
from pyg_diffusion.data import MoleculeStore, StoreError, write_store

module = sys.modules[prepare.__module__]

BUNDLED = Path(__file__).parents[2] / "datasets"
ENSEMBLES = str(BUNDLED / "qm9_ensembles_20.sdf.gz")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 20)


def blocks(path: str = ENSEMBLES) -> list[str]:
    return [b + "$$$$\n" for b in gzip.decompress(Path(path).read_bytes()).decode().split("$$$$\n") if b.strip()]


def same(a: Path, b: Path) -> None:
    left, right = MoleculeStore(a).arrays, MoleculeStore(b).arrays
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def run(inputs, output, workers=1, **kwargs):
    return prepare(inputs if isinstance(inputs, list) else [inputs], str(output), workers=workers, progress=False, **kwargs)


def test_the_store_holds_what_the_records_say(tmp_path):
    report = run(ENSEMBLES, tmp_path / "a.h5")
    assert (report.records, report.molecules, report.conformers) == (203, 20, 203)
    assert (report.skipped, report.notes, report.resumed) == ([], {}, 0) and report.seconds > 0
    found = {}
    for record in read_sdf(ENSEMBLES):
        molecule = molecule_from_mol(record.mol)
        first = found.setdefault(molecule.topology(), molecule)
        if first is not molecule:
            first.pos += molecule.pos
    write_store(tmp_path / "b.h5", found.values())
    same(tmp_path / "a.h5", tmp_path / "b.h5")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


@pytest.mark.parametrize("workers", [2, 3])
def test_parallel_gives_the_bytes_of_serial(tmp_path, small_chunks, workers):
    run(ENSEMBLES, tmp_path / "serial.h5")
    run(ENSEMBLES, tmp_path / "parallel.h5", workers)
    assert (tmp_path / "parallel.h5").read_bytes() == (tmp_path / "serial.h5").read_bytes()


def test_conformers_are_gathered_from_everywhere(tmp_path, small_chunks):
    texts = blocks()
    renamed = ["other name" + b[b.index("\n") :] for b in texts]
    (tmp_path / "even.sdf").write_text("".join(texts[::2]))
    (tmp_path / "odd.sdf.gz").write_bytes(gzip.compress("".join(renamed[1::2]).encode()))
    report = run([str(tmp_path / "even.sdf"), str(tmp_path / "odd.sdf.gz")], tmp_path / "mixed.h5", workers=2)
    run(ENSEMBLES, tmp_path / "plain.h5")
    assert (report.records, report.molecules, report.conformers) == (203, 20, 203)
    mixed, plain = MoleculeStore(tmp_path / "mixed.h5"), MoleculeStore(tmp_path / "plain.h5")
    assert "other name" not in {m.name for m in mixed}  # the first record names
    for a, b in zip(mixed, plain, strict=True):
        assert a.topology() == b.topology()
        order = [tuple(p[0]) for p in a.pos]
        assert sorted(order) == sorted(tuple(p[0]) for p in b.pos) and len(order) == len(b.pos)


def test_skipped_records_are_counted_and_named(tmp_path, small_chunks):
    texts = blocks()[:50]
    texts[7] = texts[7].replace("V2000", "V9999")
    texts[31] = "bad one\n" + texts[31].split("\n", 1)[1].replace(" 3D", " 2D", 1)
    lines = texts[31].split("\n")
    for k in range(4, 4 + int(lines[3][:3])):
        lines[k] = lines[k][:20] + "    0.0000" + lines[k][30:]
    texts[31] = "\n".join(lines)
    path = tmp_path / "some.sdf"
    path.write_text("".join(texts))
    for workers in (1, 2):
        report = run(str(path), tmp_path / "some.h5", workers)
        assert report.records == 50 and report.conformers == 48
        assert [(s.file, s.record) for s in report.skipped] == [(str(path), 8), (str(path), 32)]
        assert report.skipped[1].name == "bad one"
        assert "cannot parse" in report.skipped[0].reason and "3D" in report.skipped[1].reason
        assert "skipped: 2 records" in str(report)
    assert str(SkippedRecord("f.sdf", 2, "x", "why")) == "f.sdf: record 2 (x): why"


def test_added_hydrogens_are_said(tmp_path):
    mol = Chem.MolFromMolBlock(blocks()[0].split("M  END")[0] + "M  END\n")
    path = tmp_path / "heavy.sdf"
    path.write_text(Chem.MolToMolBlock(mol) + "$$$$\n" + blocks()[0])
    report = run(str(path), tmp_path / "heavy.h5")
    name = blocks()[0].split("\n", 1)[0]
    assert report.notes == {"missing hydrogens added": 1}
    assert f"missing hydrogens added: 1 ({name})" in str(report)


def test_smiles_give_molecules_without_conformers(tmp_path):
    path = tmp_path / "mols.smi"
    path.write_text("CCO ethanol\nnonsense bad\nC[C@H](F)Cl\nCCO again\n")
    report = run([str(path), str(BUNDLED / "zinc_100.smi")], tmp_path / "s.h5")
    assert (report.records, report.molecules, report.conformers) == (104, 102, 0)
    assert [(s.record, s.name) for s in report.skipped] == [(2, "bad")]
    store = MoleculeStore(tmp_path / "s.h5")
    assert (store[0].name, store[0].smiles, store[0].pos) == ("ethanol", "CCO", [])
    assert store[1].smiles == "C[C@H](F)Cl" and len(store[1].tetra) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_stdin(tmp_path, small_chunks, monkeypatch, workers):
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(Path(ENSEMBLES).read_bytes())))
    monkeypatch.setattr(sys, "stdin", stdin)
    run("-", tmp_path / "stdin.h5", workers)
    run(ENSEMBLES, tmp_path / "file.h5")
    same(tmp_path / "stdin.h5", tmp_path / "file.h5")


def test_an_interrupted_run_is_continued(tmp_path, small_chunks, monkeypatch, capsys):
    output, calls, parse = tmp_path / "a.h5", [], module.parse_chunk

    def interrupted(chunk, task):
        calls.append(chunk.start)
        if chunk.start == 100:
            raise KeyboardInterrupt
        return parse(chunk, task)

    monkeypatch.setattr(module, "parse_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([ENSEMBLES], str(output), workers=1)
    assert "interrupted; the same command continues" in capsys.readouterr().err
    assert calls == [0, 20, 40, 60, 80, 100]
    assert os.listdir(tmp_path) == ["a.h5.parts"]

    monkeypatch.setattr(module, "parse_chunk", lambda chunk, task: (calls.append(chunk.start), parse(chunk, task))[1])
    calls.clear()
    report = prepare([ENSEMBLES], str(output), workers=1)
    assert "5 chunks of an interrupted run found" in capsys.readouterr().err
    assert report.resumed == 5 and calls == list(range(100, 203, 20))
    assert (report.records, report.molecules, report.conformers) == (203, 20, 203)
    assert os.listdir(tmp_path) == ["a.h5"]
    run(ENSEMBLES, tmp_path / "b.h5")
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()


def interrupt_after(monkeypatch, start: int, path: str, output: Path) -> None:
    parse = module.parse_chunk
    with monkeypatch.context() as patch:

        def interrupted(chunk, task):
            if chunk.start == start:
                raise KeyboardInterrupt
            return parse(chunk, task)

        patch.setattr(module, "parse_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(path, output)


def test_a_damaged_part_is_made_anew(tmp_path, small_chunks, monkeypatch):
    interrupt_after(monkeypatch, 100, ENSEMBLES, tmp_path / "a.h5")
    parts = tmp_path / "a.h5.parts"
    (parts / "000001.h5").write_bytes((parts / "000001.h5").read_bytes()[:500])
    (parts / "000002.json").write_text("{")
    assert run(ENSEMBLES, tmp_path / "a.h5").resumed == 3
    run(ENSEMBLES, tmp_path / "b.h5")
    same(tmp_path / "a.h5", tmp_path / "b.h5")


def test_parts_of_other_inputs_are_discarded_with_a_message(tmp_path, small_chunks, monkeypatch, capsys):
    path = tmp_path / "in.sdf"
    path.write_text("".join(blocks()[:100]))
    interrupt_after(monkeypatch, 60, str(path), tmp_path / "a.h5")
    path.write_text("".join(blocks()[100:]))
    report = prepare([str(path)], str(tmp_path / "a.h5"), workers=1)
    assert report.resumed == 0 and report.records == 103
    assert "starting anew" in capsys.readouterr().err


def test_a_foreign_folder_of_that_name_is_not_touched(tmp_path):
    (tmp_path / "a.h5.parts").mkdir()
    (tmp_path / "a.h5.parts" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="not made by this program"):
        run(ENSEMBLES, tmp_path / "a.h5")
    assert (tmp_path / "a.h5.parts" / "thesis.tex").read_text() == "mine"


def slow_run(output: Path, errors: Path) -> None:
    """In a forked process with a terminal group of its own; one of two workers takes long to start."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    sys.stderr = os.fdopen(2, "w")
    parse = module.parse_chunk
    module.parse_chunk = lambda chunk, task: (time.sleep(0.3), parse(chunk, task))[1]
    first = output.with_name("first")

    def dawdle():
        try:
            first.touch(exist_ok=False)
            time.sleep(5)
        except FileExistsError:
            pass
        except KeyboardInterrupt:
            print("a worker was interrupted", file=sys.stderr)

    os.register_at_fork(after_in_child=dawdle)
    prepare([ENSEMBLES], str(output), workers=2)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_no_output_and_no_processes_and_is_continued(tmp_path, small_chunks, how):
    output, errors = tmp_path / "a.h5", tmp_path / "errors.txt"
    process = multiprocessing.get_context("fork").Process(target=slow_run, args=(output, errors))
    process.start()
    parts, deadline = tmp_path / "a.h5.parts", time.monotonic() + 60
    while len(list(parts.glob("0*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) == 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.kill()
    process.join(20)
    assert process.exitcode not in (0, None)
    if how == signal.SIGINT:
        said = errors.read_text()
        assert "the same command continues" in said
        assert said.count("Traceback") == 1 and "was interrupted" not in said  # the parent's own; none from workers
    deadline = time.monotonic() + 10
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in workers if running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left and not output.exists()
    report = run(ENSEMBLES, output)
    assert 3 <= report.resumed < 11
    run(ENSEMBLES, tmp_path / "b.h5")
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.slow  # every worker imports torch anew
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(
        "import importlib, multiprocessing, sys\n"
        "module = importlib.import_module('pyg_diffusion.chem.prepare')\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method(sys.argv[3])\n"
        "    module.CHUNK = 150\n"
        "    print(module.prepare([sys.argv[1]], sys.argv[2], workers=2, progress=False).conformers)\n"
    )
    done = subprocess.run([sys.executable, script, ENSEMBLES, tmp_path / "a.h5", method], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("203", "")


def test_a_dying_worker_is_an_error_that_says_where(tmp_path, small_chunks, monkeypatch):
    parse = module.parse_chunk
    monkeypatch.setattr(module, "parse_chunk", lambda chunk, task: os._exit(3) if chunk.start == 40 else parse(chunk, task))
    with pytest.raises(RuntimeError, match=r"worker process died after record \d+ of .*qm9_ensembles_20"):
        run(ENSEMBLES, tmp_path / "a.h5", workers=2)
    assert not (tmp_path / "a.h5").exists()


def test_inputs_are_checked_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "parse_chunk", lambda chunk, task: pytest.fail("work began"))
    (tmp_path / "empty.sdf").write_text("")
    (tmp_path / "text.sdf").write_text("some\ntext\n")
    for name, message in [("absent.sdf", "no such file"), ("empty.sdf", "the file is empty"), ("text.sdf", "not an SDF")]:
        with pytest.raises(RecordError, match=f"{name}: {message}"):
            run([ENSEMBLES, str(tmp_path / name)], tmp_path / "a.h5")
    with pytest.raises(RecordError, match="it is a folder"):
        run(str(tmp_path), tmp_path / "a.h5")
    with pytest.raises(RecordError, match="no input"):
        run([], tmp_path / "a.h5")
    assert sorted(os.listdir(tmp_path)) == ["empty.sdf", "text.sdf"]


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "parse_chunk", lambda chunk, task: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for output in ("file/a.h5", "folder"):
        with pytest.raises(StoreError, match="cannot be written"):
            run(ENSEMBLES, tmp_path / output)
    path = tmp_path / "in.sdf"
    path.write_text(blocks()[0])
    with pytest.raises(StoreError, match="also an input"):
        run(str(path), path)
    assert path.read_text() == blocks()[0]


def test_nothing_usable_leaves_the_old_output_alone(tmp_path):
    output = tmp_path / "a.h5"
    run(ENSEMBLES, output)
    before = output.read_bytes()
    path = tmp_path / "bad.sdf"
    path.write_text(blocks()[0].replace("V2000", "V9999"))
    with pytest.raises(RecordError, match=r"bad\.sdf: none of 1 records is usable; the first: .*cannot parse"):
        run(str(path), output)
    assert output.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "bad.sdf"]
    run(str(BUNDLED / "dft8k_200.sdf.gz"), output)
    assert len(MoleculeStore(output)) == 200


def test_progress_goes_to_stderr_or_nowhere(tmp_path, capsys):
    run(ENSEMBLES, tmp_path / "a.h5")
    assert capsys.readouterr() == ("", "")
    prepare([ENSEMBLES], str(tmp_path / "a.h5"), workers=1)
    out, err = capsys.readouterr()
    assert out == "" and "203 records" in err


def test_the_report_survives_json(tmp_path):
    report = run(ENSEMBLES, tmp_path / "a.h5")
    assert PrepareReport(**json.loads(json.dumps(asdict(report)))) == report


def test_the_bundled_files_are_what_their_readme_says():
    for line in (BUNDLED / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == digest, name

    def skeletons(name: str) -> list[str]:
        with rdBase.BlockLogs():
            return [Chem.MolToInchiKey(Chem.MolFromMolBlock(b, removeHs=False))[:14] for b in blocks(str(BUNDLED / name))]

    qm9, ensembles = skeletons("qm9_3000.sdf.gz"), skeletons("qm9_ensembles_20.sdf.gz")
    assert (len(qm9), len(set(ensembles))) == (3000, 20)
    assert not set(qm9) & set(ensembles)
    assert min(ensembles.count(key) for key in set(ensembles)) >= 3


def test_workers_leave_ctrl_c_to_the_parent():
    with ProcessPoolExecutor(1, initializer=module.start_worker) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


def test_isotopologues_are_two_molecules(tmp_path):
    path = tmp_path / "in.smi"
    path.write_text("CCO a\n[13CH3]CO b\nCCO c\n")
    run(str(path), tmp_path / "a.h5")
    assert [MoleculeStore(tmp_path / "a.h5")[i].smiles for i in (0, 1)] == ["CCO", "[13CH3]CO"]
    assert MoleculeStore(tmp_path / "a.h5").smiles() == ["CCO", "[13CH3]CO"]
