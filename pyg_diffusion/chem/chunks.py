"""What a worker does: consecutive records of a file -> the molecules among them, conformers of one molecule together."""

import hashlib
from collections import Counter
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from ..data import Molecule
from .atom_order import canonical, matching
from .ensembles import EnsembleOptions, ensemble
from .features import molecule_from_mol
from .formats import FORMATS, parsed
from .isomers import stereo_groups
from .records import Record, guarded
from .splits import Split

NAMED = 5  # records that a note names


class SkippedRecord(NamedTuple):
    """A record that was left out; `record` counts from 1 in its file."""

    file: str
    record: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: record {self.record} ({self.name}): {self.reason}"


class ChunkWork(NamedTuple):
    """What to do with records: make ensembles of them (or take their own conformers, of this level), hold some out."""

    ensembles: EnsembleOptions | None
    level: str
    split: Split | None


class Chunk(NamedTuple):
    """Consecutive records of one file, unparsed (`formats.raw_records`), and the name of its kind."""

    file: str
    start: int
    kind: str
    records: list


class _Found(NamedTuple):
    """A molecule with its conformers so far, its atoms in canonical order, and whether it is held out."""

    molecule: Molecule
    order: np.ndarray
    held_out: bool


def _add(record: Record, mol: Chem.Mol, found: dict[bytes, _Found], task: ChunkWork, notes: Counter[str]) -> None:
    """The molecule of a usable record: a further conformer, in the atom order of the first, or one of its own."""
    molecule = molecule_from_mol(mol, record.name, conformers=task.ensembles is None)
    if groups := stereo_groups(mol):
        record.notes.append(f"AND or OR stereo groups, taken as drawn: {groups}")
    key, order = canonical(mol, molecule)
    if task.ensembles is None:
        molecule.levels = [task.level] * len(molecule.pos)
    if key in found:
        first = found[key]
        atoms = matching(order, first.order)
        first.molecule.pos += [pos[atoms] for pos in molecule.pos]
        first.molecule.levels += molecule.levels
        return
    held_out = task.split is not None and task.split.holds_out(mol)
    if task.ensembles is not None:
        made = ensemble(mol, task.ensembles, notes)
        molecule.pos, molecule.energies = [c.pos for c in made], [c.energy for c in made]
        molecule.levels = [task.ensembles.level] * len(made)
    found[key] = _Found(molecule, order, held_out)


def parse_chunk(chunk: Chunk, task: ChunkWork) -> tuple[dict, list[Molecule]]:
    """What became of the records, as JSON has it, and the molecules."""
    own = task.ensembles is None
    found: dict[bytes, _Found] = {}
    notes: Counter[str] = Counter()
    skipped: list[SkippedRecord] = []
    named: dict[str, list[str]] = {}
    for k, raw in enumerate(chunk.records, chunk.start):
        record = parsed(FORMATS[chunk.kind], k, raw, own)
        problems = [record.problem or (record.fault if own else "")]
        if record.mol is not None and not problems[0]:
            with guarded(record.name, lambda _, reason: problems.append(reason)):  # noqa: B023  (called at once)
                _add(record, record.mol, found, task, notes)
                for kind in {note.partition(": ")[0]: None for note in record.notes}:
                    notes[kind] += 1
                    named[kind] = [*named.get(kind, []), record.name][:NAMED]
        if problems[-1]:
            skipped.append(SkippedRecord(chunk.file, k + 1, record.name, problems[-1]))
    facts = {
        "records": len(chunk.records),
        "digests": [hashlib.blake2b(key, digest_size=16).hexdigest() for key in found],
        "orders": [one.order.tolist() for one in found.values()],
        "held_out": [one.held_out for one in found.values()],
        "skipped": skipped,
        "notes": +notes,
        "named": named,
    }
    return facts, [one.molecule for one in found.values()]
