"""Whole files through the generator: molecules in, SDF out."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from rdkit import Chem
from tqdm import tqdm

from ...chem import with_positions
from ...chem.acceptance import Acceptance
from ...chem.finish import OWN, PRUNED, Finish, with_own_aside
from ...chem.records import guarded, reason_of
from ...chem.similarity import representatives
from ...chem.writing import RecordWriter, one_line, sdf_text
from ...terms import bind
from .conformers import Conformers
from .embed import OVERSAMPLE
from .generator import ConformerGenerator
from .inputs import Entry, as_drawn, enumerated, input_records, unique_molecules, with_kept
from .trajectory import TrajectoryFile

CHUNK = 64  # molecules sampled together; results are written after each chunk


@dataclass
class Tally:
    """Sums over a sampling job.

    Molecules with at least one conformer and those refused; conformers asked for and written; draws (none counted twice),
    those that had the right stereo at once, and were sound too; draws made anew because they were unsound, and conformers
    mended since no draw of theirs was sound; what finishing left out or could not do.
    """

    molecules: int = 0
    asked: int = 0
    drawn: int = 0
    conformers: int = 0
    right_at_once: int = 0
    sound_at_once: int = 0
    redrawn_unsound: int = 0
    mended: int = 0
    refused: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    threads: int = 1
    finished: dict[str, int] = field(default_factory=dict)

    def add(self, result: Conformers, asked: int) -> None:
        """Count what was drawn of a molecule, of which so many conformers were asked for."""
        self.asked += asked
        self.drawn += result.asked
        self.right_at_once += result.right_at_once
        self.sound_at_once += result.sound_at_once
        self.redrawn_unsound += result.redrawn
        self.mended += result.mended
        self.evaluations += result.evaluations

    def measures(self) -> dict[str, float | int]:
        """Per conformer, as rows of an evaluation's table."""
        made = max(1, self.conformers)
        return {
            "seconds per conformer": self.seconds / made,
            "threads": self.threads,
            "network evaluations per conformer": self.evaluations / made,
            "stereo right before resampling": self.right_at_once / max(1, self.drawn),
            "stereo right and sound before resampling": self.sound_at_once / max(1, self.drawn),
        }

    def lines(self) -> list[str]:
        """In words, for the user."""
        said = []
        if self.conformers:
            said.append(
                f"{self.conformers} conformers of {self.molecules} molecules, "
                f"{1e3 * self.seconds / self.conformers:.1f} ms and "
                f"{self.evaluations / self.conformers:.1f} network evaluations each; "
                f"stereo right at once {100 * self.right_at_once / self.drawn:.1f} %, "
                f"and sound {100 * self.sound_at_once / self.drawn:.1f} %"
            )
        if self.redrawn_unsound:
            said.append(f"{self.redrawn_unsound} unsound draws made anew, {self.mended} conformers mended")
        said += [f"{note}: {number}" for note, number in self.finished.items()]
        if missing := self.asked - self.conformers - self.finished.get(PRUNED, 0):
            said.append(f"{missing} conformers missing in all")
        return said

    @classmethod
    def load(cls, path: str) -> "Tally":
        """Raises ValueError where the file is not a report of `sample`."""
        wanted = {name: type(value) for name, value in asdict(cls()).items()}
        foreign = f"{path}: not a report of 'pyg-diffusion sample'"
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{foreign} ({error})") from error
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            kind = wanted.get(name)
            number = type(value) is int or (kind is float and type(value) is float)
            good = isinstance(value, dict) if kind is dict else kind is not None and number and 0 <= value < math.inf
            if not good:
                raise ValueError(f"{foreign} ({name!r} is {value!r:.60})")
        return cls(**values)


class Writer(Protocol):
    """What results are written to."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def sample_records(
    generator: ConformerGenerator,
    inputs: list[str],
    n: int,
    per_record: bool,
    out: Writer,
    skip: Callable[[str, str], None],
    say: Callable[[str], None],
    seed: int = 0,
    attempts: int = 10,
    progress: bool = True,
    condition: Mapping[str, float] | None = None,
    guidance: float = 1.0,
    terms: Mapping[str, float] | None = None,
    keep: Chem.Mol | None = None,
    level: str | None = None,
    diversity: float = 0.0,
    oversample: float = OVERSAMPLE,
    finish: Finish | None = None,
    max_isomers: int | None = None,
    write: RecordWriter = sdf_text,
    trace: TrajectoryFile | None = None,
) -> Tally:
    """Sample every molecule of the inputs and write records in input order, chunk by chunk.

    Args:
        n: conformers per molecule, or, with `per_record`, per record the input has of the molecule.
        skip: called with (name, reason) for what yields nothing.
        say: called with remarks.
        condition, guidance: as for `ConformerGenerator.sample`.
        terms: weights in kT of regularizers to steer by (`terms.bind`).
        keep: a SMARTS pattern; the atoms of its first match stay where the input has them.
        level, diversity: as for `ConformerGenerator.sample`.
        oversample: draw so many times as many, and keep those that stand best for all (`chem.similarity.representatives`).
        finish: what is done to the conformers of a molecule before they are written.
        max_isomers: make at most so many stereoisomers of a molecule with unspecified stereo, n conformers of each; if
            None, n conformers of any stereo there.
        write: of the format that `out` is to have (`chem.formats.Format.write`).
        trace: where to write how conformers were drawn.
    """
    entries: Iterable[Entry] = unique_molecules(input_records(inputs, say), skip, say)
    if keep is not None:
        entries = with_kept(entries, keep, skip)
    if per_record:
        entries = list(entries)  # the copies of a molecule are known at the end of the input
    entries = as_drawn(entries, say) if max_isomers is None else enumerated(entries, max_isomers, skip, say)
    if trace is not None:
        entries = trace.checked(entries, lambda e: n * e.copies if per_record else n)
    energy = partial(bind, terms) if terms else None
    tally = Tally(threads=torch.get_num_threads())
    start = time.perf_counter()
    with tqdm(desc="conformers", unit="", disable=not progress, file=sys.stderr, dynamic_ncols=True) as bar:
        draw = partial(
            generator.sample,
            seed=seed,
            max_attempts=attempts,
            progress=bar.update,
            condition=condition,
            guidance=guidance,
            energy=energy,
            level=level,
            diversity=diversity,
            record=None if trace is None else trace.record,
        )
        draw([], [])  # wrong options are no molecule's fault
        for first, chunk in _chunks(entries):
            counts = [n * e.copies if per_record else n for e in chunk]
            bar.total = (bar.total or 0) + sum(math.ceil(oversample * count) for count in counts)
            results = _drawn(draw, chunk, counts, first, oversample, keep is not None)
            for entry, count, result in zip(chunk, counts, results, strict=True):
                tally.add(result, count)
                if trace is not None:
                    trace(entry, result)
                texts = _finished(entry, count, result, finish or Finish(), write, attempts, tally, skip, say)
                for text in texts:
                    out.write(text)
                out.flush()
                tally.molecules += bool(texts)
                tally.conformers += len(texts)
    tally.seconds = time.perf_counter() - start
    return tally


def _drawn(
    draw: Callable[..., list[Conformers]], chunk: list[Entry], counts: list[int], first: int, oversample: float, kept: bool
) -> list[Conformers]:
    """The chunk's conformers. If drawing raises, its halves are drawn apart, down to the molecule that is to blame.

    The noise of each goes by its place among all, so that the others come out the same.
    """
    try:
        return draw(
            [e.molecule for e in chunk],
            [math.ceil(oversample * count) for count in counts],
            first=first,
            fixed=[e.fixed for e in chunk] if kept else None,
            choose=partial(_representatives, chunk, counts),
        )
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if len(chunk) == 1:
            return [Conformers.none(len(chunk[0].molecule.z), counts[0], problem=reason_of(error))]
    half = len(chunk) // 2
    parts = (chunk[:half], counts[:half], first), (chunk[half:], counts[half:], first + half)
    return [made for part in parts for made in _drawn(draw, *part, oversample, kept)]


def _finished(
    entry: Entry,
    count: int,
    result: Conformers,
    finish: Finish,
    write: RecordWriter,
    attempts: int,
    tally: Tally,
    skip: Callable[[str, str], None],
    say: Callable[[str], None],
) -> list[str]:
    """The records of a molecule; what was noted, is missing, or could not be finished is said and counted."""
    name = entry.record.name
    for note in result.notes:
        say(f"{name}: {note}")
    if not len(result.positions):
        tally.refused += 1
        skip(name, result.problem)
        return []
    texts: list[str] = []
    with guarded(name, skip):
        assert entry.record.mol is not None
        mol, moved = with_own_aside(entry.record.mol)
        finished, notes = finish(mol, Acceptance(entry.molecule), result.positions, result.confidence)
        notes.update(f"molecules whose own data field {field!r} is now {field + OWN!r}" for field in moved)
        texts = [_record(mol, pos, properties, write) for pos, properties in finished]
    if not texts:
        return []
    for note, number in notes.items():
        tally.finished[note] = tally.finished.get(note, 0) + number
    if missing := count - len(texts) - notes[PRUNED]:
        say(f"{name}: {missing} of {count} conformers missing after {attempts} attempts each")
    if name != one_line(name):
        say(f"{name!r}: written as {one_line(name)!r}, which an SDF can hold")
    return texts


def _record(mol: Chem.Mol, pos: np.ndarray, properties: Mapping[str, str], write: RecordWriter) -> str:
    """One conformer `[N, 3]` as a record."""
    placed = with_positions(mol, pos[None])
    for name, value in properties.items():
        placed.SetProp(name, value)
    return write(placed, 0)


def _representatives(
    chunk: list[Entry], counts: list[int], k: int, positions: np.ndarray, confidence: np.ndarray | None
) -> list[int]:
    mol = chunk[k].record.mol
    assert mol is not None
    return representatives(mol, positions, counts[k], confidence)


def _chunks(entries: Iterable[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """(index of the first entry, entries), `CHUNK` at a time."""
    first, chunk = 0, []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == CHUNK:
            yield first, chunk
            first, chunk = first + CHUNK, []
    if chunk:
        yield first, chunk
