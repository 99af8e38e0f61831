"""Whole files through the generator and the metrics: what the command line runs."""

import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol
from warnings import warn

import numpy as np
import torch
from rdkit import Chem
from tqdm import tqdm

from .chem import (
    Record,
    RecordError,
    molecule_from_mol,
    read_records,
    read_sdf,
    stereo_of,
    with_positions,
)
from .chem.acceptance import Acceptance
from .chem.axial import axial_key
from .chem.conformers import coincident
from .chem.finish import OWN, PRUNED, Finish, with_own_aside
from .chem.formats import is_file
from .chem.isomers import most_stereoisomers, stereo_groups, stereoisomers
from .chem.records import guarded, reason_of, with_maps
from .chem.sdf import is_3d
from .chem.similarity import representatives
from .chem.smiles import record_from_line, split_smiles
from .chem.stereo import MIN_VOLUME, signed_volume
from .chem.text import repaired
from .data import Molecule
from .generate import OVERSAMPLE, Conformers, Generator
from .metrics import BASELINES, Comparison, compare, draw_each, evaluate, group_records
from .terms import bind

MESSAGES = 5  # of RDKit that an evaluation passes on, each once
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


@dataclass
class Entry:
    """One molecule to sample: a record, its arrays, how many records of the input were this molecule, and the positions of
    the atoms to keep, NaN at the others."""

    record: Record
    molecule: Molecule
    copies: int = 1
    fixed: np.ndarray | None = None


def input_records(inputs: Iterable[str], say: Callable[[str], object] = warn) -> Iterator[Record]:
    """Records of SMILES or InChI strings, of files, and of stdin for "-"; `say` is told remarks about whole files.

    Raises:
        RecordError: a file is missing, before anything is read, or of no kind that is read.
    """
    inputs = list(inputs)
    for text in inputs:
        if is_file(text) and not Path(text).exists():
            raise RecordError(f"{text}: no such file")  # before any work
    for k, text in enumerate(inputs):
        if text == "-" or is_file(text):
            yield from read_records(text, need_3d=False, say=say)
        else:
            record = record_from_line(k, split_smiles(repaired(text)))
            if record.mol is None and re.search(r"\.[a-z]\w*$", text):
                record.problem += "; nor is there such a file"
            yield record


def unique_molecules(
    records: Iterable[Record], skip: Callable[[str, str], None], say: Callable[[str], None]
) -> Iterator[Entry]:
    """Usable molecules, each once per name: further conformers of one molecule, whatever their atom order, raise `copies` of
    its entry."""
    seen: dict[tuple[str, str], Entry] = {}
    repeated = 0
    for record in records:
        if record.mol is None:
            skip(record.name, record.problem)
            continue
        entry = None
        with guarded(record.name, skip):
            entry = Entry(record, molecule_from_mol(record.mol, record.name, conformers=False))
            key = (record.own_name, f"{entry.molecule.smiles} {axial_key(record.mol)} {stereo_groups(record.mol)}")
        if entry is None:
            continue
        for note in record.notes:
            say(f"{record.name}: {note}")
        if key in seen:
            seen[key].copies += 1
            repeated += 1
            continue
        seen[key] = entry
        yield entry
    if repeated:
        say(f"{repeated} records repeat a molecule already named; each molecule is sampled once")


def _with_kept(entries: Iterable[Entry], keep: Chem.Mol, skip: Callable[[str, str], None]) -> Iterator[Entry]:
    """The entries that have the pattern and coordinates, with the matched atoms fixed."""
    for entry in entries:
        mol = entry.record.mol
        assert mol is not None
        match = list(mol.GetSubstructMatch(keep))
        if reason := _nothing_to_keep(mol, match) or entry.record.fault:
            skip(entry.record.name, reason)
            continue
        entry.fixed = np.full((mol.GetNumAtoms(), 3), np.nan)
        entry.fixed[match] = mol.GetConformer().GetPositions()[match]
        yield entry


def _nothing_to_keep(mol: Chem.Mol, match: list[int]) -> str:
    """Why the matched atoms have no coordinates to keep, "" where they have."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        return "has no 3D coordinates to keep atoms of"
    if not match:
        return "has no atoms that match what to keep"
    positions = mol.GetConformer().GetPositions()
    if not np.isfinite(positions[match]).all():
        return "has atoms to keep whose coordinates are no finite numbers"
    if len(positions) > 1 and not np.ptp(positions, axis=0).any():
        return "has no coordinates to keep: all its atoms lie in one place"
    if pair := coincident(positions[match]):
        one, other = (f"{mol.GetAtomWithIdx(match[k]).GetSymbol()}{match[k] + 1}" for k in pair)
        return f"has no coordinates to keep: its atoms {one} and {other} lie in one place"
    return ""


def _settled(mol: Chem.Mol, isomer: Chem.Mol) -> bool:
    """Whether coordinates say what is left open in 3D: the side of a nitrogen with a hydrogen, which turns over.

    What is open beside it is so on purpose, by a wavy or crossed bond.
    """
    was, now = stereo_of(mol), stereo_of(isomer)
    new = now.tetra[~np.isin(now.tetra[:, 0], was.tetra[:, 0])]
    if len(now.ez) > len(was.ez) or any(mol.GetAtomWithIdx(int(k)).GetAtomicNum() != 7 for k in new[:, 0]):
        return False
    return bool((np.abs(signed_volume(new, mol.GetConformer().GetPositions())) > MIN_VOLUME).all())


def _as_drawn(entries: Iterable[Entry], say: Callable[[str], None]) -> Iterator[Entry]:
    """The entries, those named that stand for more than the one stereoisomer that is made of them."""
    for entry in entries:
        assert entry.record.mol is not None
        if groups := stereo_groups(entry.record.mol):
            say(f"{entry.record.name}: {groups}: made as drawn; --stereo enumerate makes both hands")
        yield entry


def _enumerated(
    entries: Iterable[Entry], limit: int, skip: Callable[[str, str], None], say: Callable[[str], None]
) -> Iterator[Entry]:
    """The entries, those with unspecified stereo as their stereoisomers "NAME isomer 1", ..., `limit` of each at most.

    One with 3D coordinates is left as it is unless they leave a centre flat.
    """
    molecules = made = 0
    for entry in entries:
        record = entry.record
        assert record.mol is not None
        isomers: list[Chem.Mol] = []
        with guarded(record.name, skip):
            isomers = stereoisomers(record.mol, limit + 1)
            settled = is_3d(record.mol) and not record.fault and not stereo_groups(record.mol)
            if len(isomers) == 1 or (settled and _settled(record.mol, isomers[0])):
                isomers = [record.mol]
        if len(isomers) == 1:
            yield entry
        if len(isomers) < 2:
            continue
        if len(isomers) > limit:
            most = most_stereoisomers(record.mol)
            say(f"{record.name}: up to {most} stereoisomers; {limit} of them are made (--max-isomers)")
        molecules += 1
        for k, mol in enumerate(isomers[:limit], 1):
            made += 1
            name = f"{record.name} isomer {k}"
            mol.SetProp("_Name", name)
            molecule = molecule_from_mol(mol, name, conformers=False)
            yield replace(entry, record=replace(record, name=name, mol=mol), molecule=molecule)
    if molecules:
        say(f"{molecules} molecules with unspecified stereo were made as {made} stereoisomers")


def one_line(text: str) -> str:
    """A name that an SDF can hold: without line breaks and without the end of a record or of a molecule."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).replace("$$$$", "$$$ $").replace("M  END", "M END")


def sdf_text(mol: Chem.Mol, conformer: int) -> str:
    """One SDF record with the molecule's name, properties and atom maps. What would end the record early is broken up."""
    mol = Chem.Mol(with_maps(mol))
    if mol.HasProp("_Name"):
        mol.SetProp("_Name", one_line(mol.GetProp("_Name")))
    for name in mol.GetPropNames():
        if "$$$$" in (value := str(mol.GetPropsAsDict()[name])):
            mol.SetProp(name, value.replace("$$$$", "$$$ $"))
    try:
        return Chem.SDWriter.GetText(mol, confId=conformer)
    except ValueError:  # no Kekulé structure, as for some metal complexes
        return Chem.SDWriter.GetText(mol, confId=conformer, kekulize=False)


def sample_records(
    generator: Generator,
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
) -> Tally:
    """Sample every molecule of the inputs and write SDF records in input order, chunk by chunk.

    Args:
        n: conformers per molecule, or, with `per_record`, per record the input has of the molecule.
        skip: called with (name, reason) for what yields nothing.
        say: called with remarks.
        condition, guidance: as for `Generator.sample`.
        terms: weights in kT of regularizers to steer by (`terms.bind`).
        keep: a SMARTS pattern; the atoms of its first match stay where the input has them.
        level, diversity: as for `Generator.sample`.
        oversample: draw so many times as many, and keep those that stand best for all (`chem.similarity.representatives`).
        finish: what is done to the conformers of a molecule before they are written.
        max_isomers: make at most so many stereoisomers of a molecule with unspecified stereo, n conformers of each; if
            None, n conformers of any stereo there.
    """
    finish = finish or Finish()
    entries: Iterable[Entry] = unique_molecules(input_records(inputs, say), skip, say)
    if keep is not None:
        entries = _with_kept(entries, keep, skip)
    if per_record:
        entries = list(entries)  # the copies of a molecule are known at the end of the input
    entries = _as_drawn(entries, say) if max_isomers is None else _enumerated(entries, max_isomers, skip, say)
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
        )
        draw([], [])  # wrong options are no molecule's fault
        for first, chunk in _chunks(entries):
            counts = [n * e.copies if per_record else n for e in chunk]
            bar.total = (bar.total or 0) + sum(math.ceil(oversample * count) for count in counts)
            results = _drawn(draw, chunk, counts, first, oversample, keep is not None)
            for entry, count, result in zip(chunk, counts, results, strict=True):
                tally.asked += count
                tally.drawn += result.asked
                tally.right_at_once += result.right_at_once
                tally.sound_at_once += result.sound_at_once
                tally.redrawn_unsound += result.redrawn
                tally.mended += result.mended
                tally.evaluations += result.evaluations
                for note in result.notes:
                    say(f"{entry.record.name}: {note}")
                if not len(result.positions):
                    tally.refused += 1
                    skip(entry.record.name, result.problem)
                    continue
                texts: list[str] = []
                with guarded(entry.record.name, skip):
                    texts, notes = _finished(entry, finish, result)
                if not texts:
                    continue
                for note, number in notes.items():
                    tally.finished[note] = tally.finished.get(note, 0) + number
                if missing := count - len(texts) - notes[PRUNED]:
                    say(f"{entry.record.name}: {missing} of {count} conformers missing after {attempts} attempts each")
                if (name := entry.record.name) != one_line(name):
                    say(f"{name!r}: written as {one_line(name)!r}, which an SDF can hold")
                for text in texts:
                    out.write(text)
                out.flush()
                tally.molecules += 1
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
            return [Conformers(np.zeros((0, len(chunk[0].molecule.z), 3)), counts[0], problem=reason_of(error))]
    half = len(chunk) // 2
    parts = (chunk[:half], counts[:half], first), (chunk[half:], counts[half:], first + half)
    return [made for part in parts for made in _drawn(draw, *part, oversample, kept)]


def _finished(entry: Entry, finish: Finish, result: Conformers) -> tuple[list[str], Counter[str]]:
    """The SDF records of a molecule, and how many conformers could not be finished or were left out."""
    assert entry.record.mol is not None
    mol, moved = with_own_aside(entry.record.mol)
    finished, notes = finish(mol, Acceptance(entry.molecule), result.positions, result.confidence)
    notes.update(f"molecules whose own data field {name!r} is now {name + OWN!r}" for name in moved)
    texts = []
    for pos, properties in finished:
        placed = with_positions(mol, pos[None])
        for name, value in properties.items():
            placed.SetProp(name, value)
        texts.append(sdf_text(placed, 0))
    return texts, notes


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


def _remarked(records: Iterable[Record], what: str, say: Callable[[str], None]) -> Iterator[Record]:
    """The records; at their end `say` is told what was done to them or is wrong with their coordinates, each kind once."""
    named: dict[str, list[str]] = {}
    for record in records:
        kinds = (
            [note.partition(": ")[0] for note in record.notes] if not record.fault else ["coordinates not of the molecule"]
        )
        for kind in dict.fromkeys(kinds):
            named.setdefault(kind, []).append(
                f"{record.name}, record {record.index + 1}{': ' * bool(record.fault)}{record.fault}"
            )
        yield record
    for kind, names in named.items():
        say(f"{what} records, {kind}: {len(names)}, the first {names[0]}")


def evaluate_files(
    generated: str,
    reference: str,
    skip: Callable[[str, str], None],
    say: Callable[[str], None],
    *,
    report: str | None = None,
    baselines: Sequence[str] = (),
    openconf_python: str | None = None,
    deltas: Iterable[float] = (0.1, 0.5),
    checked: int = 50,
    xtb: bool = False,
    workers: int | None = None,
    seed: int = 0,
) -> tuple[Comparison, dict]:
    """Score generated SDF against reference SDF, twice as many conformers expected as there are references.

    Args:
        skip: called with (name, reason) for records that could not be used.
        say: called with remarks.
        report: the report of the sampling job, whose cost goes into the table.
        baselines: names of `metrics.BASELINES` to run beside it; what one of them cannot do is its failure.
        openconf_python: the interpreter that has openconf, which needs an environment of its own.
        checked: at most this many conformers of each method go to PoseBusters and the MMFF94s strain.
        xtb: the strain with GFN2-xTB as well; needs tblite.

    Returns:
        The table, and everything as a JSON-able dictionary (what `plot` reads).
    """
    workers = workers or os.cpu_count() or 1
    strain = ("MMFF94s", "GFN2-xTB") if xtb else ("MMFF94s",)
    with ExitStack() as stack:
        # entered first: a baseline that cannot be run is said before any work
        draws = {name: stack.enter_context(BASELINES[name].open(openconf_python)) for name in baselines}
        ensembles, unusable = group_records(_remarked(read_sdf(reference, say=say), "reference", say))
        for row in unusable:
            skip(f"{row.name} (reference, record {row.index + 1})", row.reason)
        if not ensembles:
            raise RecordError(f"{reference}: no usable reference conformer")
        score = partial(evaluate, ensembles, workers=workers, checked=checked, strain=strain, seed=seed)
        ours = score(_remarked(read_sdf(generated, say=say), "generated", say))
        for row in ours.unmatched:
            skip(f"{row.name} (generated, record {row.index + 1})", row.reason)
        for molecule in ours.molecules:
            if molecule.problem:
                skip(molecule.name, molecule.problem)
        results, extra = {"pyg_diffusion": ours}, {"pyg_diffusion": Tally.load(report).measures()} if report else {}
        for name, draw in draws.items():
            label = BASELINES[name].label
            bar = tqdm(ensembles, desc=label, unit="", file=sys.stderr, dynamic_ncols=True)
            made = draw_each(draw, bar, [2 * e.size for e in ensembles], seed)
            for failed, reason in made.problems:
                say(f"{label}: {failed}: {reason}")
            results[label], extra[label] = score(made.records), made.cost()
    messages: Counter[str] = Counter()
    for result in results.values():
        for molecule in result.molecules:
            messages.update(molecule.messages)
    for text, count in messages.most_common(MESSAGES):
        say(f"RDKit, {count} times: {text}")
    if len(messages) > MESSAGES:
        say(f"RDKit: {len(messages) - MESSAGES} other messages")
    comparison = compare(results, tuple(deltas), extra=extra)
    molecules = {
        method: [{"name": m.name, "smiles": m.smiles, "recall": _finite(m.recall_minima)} for m in result.molecules]
        for method, result in results.items()
    }
    return comparison, {**comparison.as_dict(), "per_molecule": molecules}


def _finite(values: Iterable[float]) -> list[float | None]:
    """For JSON, which knows no infinity."""
    return [round(float(v), 4) if v < float("inf") else None for v in values]
