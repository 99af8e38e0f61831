"""SDF and SMILES files -> the HDF5 store: in parallel, resumable, with every record that was left out named.

The parent only splits text into chunks of records. A worker turns each into a small store of its own beside the output
(`OUTPUT.parts/`); an interrupted run finds the finished ones again. The parent then merges them, conformers of one molecule
together, and moves the whole into place. With a split the workers say which of two stores each molecule belongs to.
"""

import json
import os
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rdkit import rdBase
from tqdm import tqdm

from .. import __version__
from ..data import schema
from ..data.store import MoleculeStore
from ..data.store_layout import VERSION, StoreError
from ..data.store_write import merge_stores, write_store
from ..workers.processes import interrupts_held, start_worker
from .atom_order import matching
from .chunks import NAMED, Chunk, ChunkWork, SkippedRecord, parse_chunk
from .ensembles import EnsembleOptions
from .formats import Say, raw_records
from .rdkit_log import rdkit_counts
from .records import RecordError
from .relax import RELAX, require
from .splits import Split
from .table import FOUND, Columns

CHUNK = 1000  # records per part: about half a second of work
ENSEMBLE_CHUNK = 20  # where ensembles are made: seconds to minutes
PARTS = 2  # version of what a part holds


@dataclass
class PrepareReport:
    """What `prepare` did.

    Attributes:
        records: read, used or not.
        molecules, conformers: written to the store.
        held_out_molecules, held_out_conformers: written to the held-out store.
        skipped: records left out.
        notes: what was done, such as "missing hydrogens added", and how often.
        named: the first records of a note, where it is about records.
        files: what is to be said of a file as a whole, such as how its columns were read.
        seconds: wall time.
        resumed: chunks of an interrupted run that were found and kept.
    """

    records: int = 0
    molecules: int = 0
    conformers: int = 0
    held_out_molecules: int = 0
    held_out_conformers: int = 0
    skipped: list[SkippedRecord] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0

    def __str__(self) -> str:
        made = f"{self.molecules} molecules with {self.conformers} conformers"
        if self.held_out_molecules:
            made += f" and, held out, {self.held_out_molecules} with {self.held_out_conformers}"
        lines = [f"{made} from {self.records} records in {self.seconds:.1f} s"]
        lines += self.remarks()
        if self.skipped:
            lines.append(f"skipped: {len(self.skipped)} records")
            reasons = Counter(s.reason for s in self.skipped)
            lines += [f"  {count} x {reason}" for reason, count in reasons.most_common(10)]
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """A line for every note, on files and on records, with the names of the first that it is about."""
        lines = list(self.files)
        for note, count in self.notes.items():
            names = self.named.get(note, [])
            shown = f" ({', '.join(names)}{', ...' if count > len(names) else ''})" if names else ""
            lines.append(f"{note}: {count}{shown}")
        return lines


class NothingUsable(RecordError):
    """No record of the inputs can be used; `report.skipped` has the reasons."""

    def __init__(self, inputs: Sequence[str], report: PrepareReport):
        first = f"; the first: {report.skipped[0]}" if report.skipped else ""
        super().__init__(f"{', '.join(inputs)}: none of {report.records} records is usable{first}")
        self.report = report


class _Found(NamedTuple):
    """A molecule of a part: what tells it from others, its atoms in canonical order, on which side of the split it is."""

    part: int
    row: int
    digest: str
    order: bytes  # uint16: of millions of molecules
    held_out: bool


def prepare(
    inputs: Sequence[str],
    output: str,
    workers: int | None = None,
    progress: bool = True,
    ensembles: EnsembleOptions | None = None,
    level: str = "",
    split: Split | None = None,
    columns: Columns = FOUND,
) -> PrepareReport:
    """Write the molecules of SDF (or SMILES) files, plain or gzipped, to the store `output`.

    Records of one molecule become its conformers, wherever they stand in the input and in whatever order their atoms do; the
    first of them names it and orders its atoms. SMILES give molecules without conformers, or, with `ensembles`, with those
    that are made for them; then records of SDF files only name molecules as well. An interrupted run is continued by the
    same call, unless it reads stdin. `output` appears, or is replaced, only when whole.

    Args:
        inputs: file names; "-" is stdin.
        workers: processes; all cores if None.
        progress: bar and messages on stderr.
        ensembles: make conformers (`chem.ensembles.ensemble`).
        level: of theory of the conformers in the inputs, such as "B3LYP/6-31G(2df,p)".
        split: put a share of the molecules into `held_out_path(output)` instead. Each goes by its own key alone, so stores
            made with one split have no molecule on different sides.
        columns: of tables.

    Raises:
        ValueError: both `ensembles` and `level` are given, or a level needs a package that is not installed.
        RecordError: an input is missing, empty or of another kind, nothing in it is usable, or all of it falls on one side.
        StoreError: the output cannot be written.
    """
    begin = time.perf_counter()
    inputs = [inputs] if isinstance(inputs, str) else [str(name) for name in inputs]
    workers = workers or os.cpu_count() or 1
    outputs = [Path(output), held_out_path(output)] if split else [Path(output)]
    _check_inputs(inputs, outputs, columns)
    if ensembles is not None:
        _check_ensembles(ensembles, level)
    task = ChunkWork(ensembles, level, split)
    parts, resumable = _open_parts(inputs, outputs, task, columns, progress)
    try:
        report = PrepareReport()
        found = _run(inputs, parts, task, columns, workers, progress, report)
        if not found:
            raise NothingUsable(inputs, report)
        _merge(parts, found, outputs, report, task)
    except RecordError:
        resumable = False  # the same call would only fail again
        raise
    except OSError as error:
        raise StoreError(f"{output}: cannot be written: {error.strerror or error}") from error
    except KeyboardInterrupt:
        if progress and resumable:
            print("interrupted; the same command continues from here", file=sys.stderr)
        raise
    finally:
        if not resumable:
            shutil.rmtree(parts, ignore_errors=True)
    shutil.rmtree(parts, ignore_errors=True)
    report.seconds = time.perf_counter() - begin
    return report


def _check_ensembles(ensembles: EnsembleOptions, level: str) -> None:
    if level:
        raise ValueError("level says what the inputs' own conformers are; made ones have that of the ensembles")
    require([ensembles.level] if ensembles.level in RELAX else [])


def held_out_path(output: str | os.PathLike) -> Path:
    """Where a split of `output` keeps what it holds out: STORE_held_out.h5 for STORE.h5."""
    path = Path(output)
    return path.with_name(f"{path.stem}_held_out{path.suffix}")


def _check_inputs(inputs: Sequence[str], outputs: Sequence[Path], columns: Columns) -> None:
    """Fail now rather than after an hour."""
    if not inputs:
        raise RecordError("no input files")
    for name in inputs:
        if name != "-" and Path(name).is_file():
            for output in outputs:
                if output.exists() and os.path.samefile(name, output):
                    raise StoreError(f"{output}: is also an input")
            next(raw_records(name, say=lambda _: None, columns=columns))
        elif name != "-" and Path(name).is_dir():
            raise RecordError(f"{name}: cannot be read: it is a folder")
        elif name != "-" and not Path(name).exists():
            raise RecordError(f"{name}: no such file")


def _chunk_size(task: ChunkWork) -> int:
    return ENSEMBLE_CHUNK if task.ensembles else CHUNK


def _chunks(inputs: Sequence[str], size: int, say: Say, columns: Columns) -> Iterator[Chunk]:
    for name in inputs:
        raws, start = raw_records(name, say=say, columns=columns), 0
        while records := list(islice(raws, size)):
            yield Chunk(name, start, records[0][0].name, [raw for _, raw in records])
            start += len(records)


def fingerprint(files: Sequence[str | os.PathLike]) -> list[tuple[str, int, int]]:
    """(absolute path, size, time of change) of each file: equal as long as nobody touched them."""
    return [(os.path.abspath(f), os.stat(f).st_size, os.stat(f).st_mtime_ns) for f in files]


def _open_parts(
    inputs: Sequence[str], outputs: Sequence[Path], task: ChunkWork, columns: Columns, progress: bool
) -> tuple[Path, bool]:
    """The folder of parts, emptied unless it belongs to these very inputs, and whether it may serve a later run."""
    parts = Path(f"{outputs[0]}.parts")
    resumable = all(Path(name).is_file() for name in inputs)
    versions = [__version__, VERSION, schema.VERSION, rdBase.rdkitVersion]
    asked = [PARTS, _chunk_size(task), repr(task), columns]
    text = json.dumps([*versions, *asked, fingerprint(inputs) if resumable else None])
    try:
        for output in outputs:
            if output.is_dir():
                raise StoreError(f"{output}: cannot be written: it is a folder")
        if parts.exists():
            label = parts / "fingerprint.json"
            found = label.read_text() if label.is_file() else None
            if found is None and any(parts.iterdir()):
                raise FileExistsError(f"{parts} exists and was not made by this program")
            if not resumable or found != text:
                if progress and found is not None:
                    print(f"{parts}: left by a run on other inputs or options; starting anew", file=sys.stderr)
                shutil.rmtree(parts)
            elif progress:
                count = sum(1 for _ in parts.glob("[0-9]*.json"))
                print(f"{parts}: {count} chunks of an interrupted run found; continuing", file=sys.stderr)
        parts.mkdir(parents=True, exist_ok=True)
        (parts / "fingerprint.tmp").write_text(text)
        os.replace(parts / "fingerprint.tmp", parts / "fingerprint.json")
    except OSError as error:
        raise StoreError(f"{outputs[0]}: cannot be written: {error.strerror or error}") from error
    return parts, resumable


def _run(
    inputs: Sequence[str],
    parts: Path,
    task: ChunkWork,
    columns: Columns,
    workers: int,
    progress: bool,
    report: PrepareReport,
) -> list[_Found]:
    """Turn every chunk into a part; all their molecules in input order."""
    found: list[_Found] = []
    with (
        tqdm(unit=" records", file=sys.stderr, disable=not progress) as bar,
        closing(_results(inputs, parts, task, columns, workers, report)) as results,  # workers end here whatever happens
    ):
        for part, result in enumerate(results):
            report.records += result["records"]
            report.skipped += [SkippedRecord(*s) for s in result["skipped"]]
            for note, count in result["notes"].items():
                report.notes[note] = report.notes.get(note, 0) + count
            for note, names in result["named"].items():
                report.named[note] = (report.named.get(note, []) + names)[:NAMED]
            for row, order in enumerate(result["orders"]):
                packed = np.array(order, np.uint16).tobytes()
                found.append(_Found(part, row, result["digests"][row], packed, result["held_out"][row]))
            bar.update(result["records"])
    return found


def _results(
    inputs: Sequence[str], parts: Path, task: ChunkWork, columns: Columns, workers: int, report: PrepareReport
) -> Generator[dict, None, None]:
    """The result of every chunk in order; a bounded number is under way at any time."""
    chunks = enumerate(_chunks(inputs, _chunk_size(task), report.files.append, columns))
    head = list(islice(chunks, 2))
    if workers == 1 or len(head) < 2:
        for k, chunk in chain(head, chunks):
            yield _finished(parts, k, report) or _make_part(parts, k, chunk, task)
        return
    pool = ProcessPoolExecutor(workers, initializer=start_worker)
    pending: deque[tuple[str, int, dict | Future]] = deque()
    file, start = head[0][1][:2]
    try:
        for item in chain(head, chunks, [None]):
            if item is not None:
                k, chunk = item
                done = _finished(parts, k, report)
                with interrupts_held():  # the first call starts the workers
                    pending.append((*chunk[:2], done or pool.submit(_make_part, parts, k, chunk, task)))
            while len(pending) > (3 * workers if item else 0):
                file, start, result = pending.popleft()
                yield result.result() if isinstance(result, Future) else result
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a worker process died after record {start} of {file}. In a script, call this under "
            "'if __name__ == \"__main__\":', or with workers=1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(parts: Path, k: int, report: PrepareReport) -> dict | None:
    """The result of a part that an earlier run left."""
    try:
        result = json.loads((parts / f"{k:06d}.json").read_text())
        if result["digests"]:
            MoleculeStore(parts / f"{k:06d}.h5")
    except (OSError, ValueError):
        return None
    report.resumed += 1
    return result


def _make_part(parts: Path, k: int, chunk: Chunk, task: ChunkWork) -> dict:
    """Parse one chunk, write its molecules as a store and then, as the mark of completeness, its result."""
    with rdkit_counts() as messages:
        result, molecules = parse_chunk(chunk, task)
    result["notes"].update({f"RDKit: {text}": count for text, count in messages.items()})
    if molecules:
        write_store(parts / f"{k:06d}.h5", molecules)
    (parts / f"{k:06d}.tmp").write_text(json.dumps(result))
    os.replace(parts / f"{k:06d}.tmp", parts / f"{k:06d}.json")
    return result


def _merge(parts: Path, found: list[_Found], outputs: Sequence[Path], report: PrepareReport, task: ChunkWork) -> None:
    """Write the store, or the two of them; they are moved into place when both are whole."""
    groups: dict[str, list[_Found]] = {}
    for molecule in found:
        group = groups.setdefault(molecule.digest, [])
        if not group or task.ensembles is None:  # a repeated molecule has the same ensemble
            group.append(molecule)
    sides: list[list[list[tuple[int, int]]]] = [[] for _ in outputs]
    for group in groups.values():
        sides[group[0].held_out].append([(m.part, m.row) for m in group])
    if not all(sides):
        assert task.split is not None
        all_or_none, other = ("none", "larger") if sides[0] else ("all", "smaller")
        raise RecordError(
            f"{outputs[0]}: {all_or_none} of {len(groups)} molecules would be held out by {task.split.by} at a share of "
            f"{task.split.share}; take a {other} one, or more molecules"
        )
    orders: dict[tuple[int, int], np.ndarray] = {}
    for group in groups.values():
        for member in group[1:]:
            if member.order != group[0].order:
                theirs, its = (np.frombuffer(packed, np.uint16) for packed in (member.order, group[0].order))
                orders[member.part, member.row] = matching(theirs, its)
    stores = {part: MoleculeStore(parts / f"{part:06d}.h5") for part in sorted({m.part for m in found})}
    whole = [parts / f"whole_{k}.h5" for k in range(len(outputs))]
    counts = [merge_stores(path, stores, members, orders) for path, members in zip(whole, sides, strict=True)]
    for path, output in zip(reversed(whole), reversed(outputs), strict=True):
        os.replace(path, output)
    report.molecules, report.conformers = counts[0]
    if task.split is not None:
        report.held_out_molecules, report.held_out_conformers = counts[1]
