"""The unit of work of a sampling job: some molecules that are drawn together, wherever that is, and what comes of them.

What is drawn together may change the last bits of it, and so may the number of threads. So blocks are cut by the input
alone, and a seed gives the same bytes whoever draws them.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rdkit import Chem

from ...chem import with_positions
from ...chem.acceptance import Acceptance
from ...chem.finish import FIELDS, LEFT_OUT, OWN, with_own_aside
from ...chem.rdkit_log import rdkit_counts
from ...chem.records import guarded, reason_of
from ...chem.similarity import representatives
from ...chem.writing import MoleculeWriter, one_line
from ...deadline import Allowance
from ...sample import Recording
from ...terms import bind
from ...weights_io import Card
from .conformers import Conformers
from .generator import ConformerGenerator
from .inputs import Entry
from .places import facts, hold_of

if TYPE_CHECKING:
    from .sample import Request

BATCHES = 4  # of the generator's budget that a block costs, about: half a minute of a core
XTB = 30_000  # what relaxing a conformer by GFN2-xTB costs in the generator's budget: seconds


@dataclass(frozen=True)
class Block:
    """Molecules that follow each other in the input; `first` is the place of the first among all."""

    first: int
    entries: list[Entry]

    def __str__(self) -> str:
        names = self.entries[0].record.name, self.entries[-1].record.name
        return f"molecules {self.first + 1} ({names[0]}) to {self.first + len(self.entries)} ({names[1]})"


def price(entry: Entry, request: Request, cost: Callable[[int], int]) -> int:
    """What a molecule's draws take, as `GraphGenerator.cost` counts."""
    heavy = int((entry.molecule.z > 1).sum())
    xtb = "GFN2-xTB" in (request.finish.relax, request.finish.energies)
    return request.draws(entry) * cost(max(1, heavy)) + (request.count(entry) * XTB if xtb else 0)


def blocks_of(
    entries: Iterable[Entry], first: int, most: int, budget: int, price: Callable[[Entry], int]
) -> Iterator[tuple[Block, int]]:
    """(block, its price), counted from `first`: a block ends with `most` molecules, or when it costs the budget."""
    block, total = Block(first, []), 0
    for entry in entries:
        block.entries.append(entry)
        total += price(entry)
        if len(block.entries) == most or total >= budget:
            yield block, total
            block, total = Block(block.first + len(block.entries), []), 0
    if block.entries:
        yield block, total


@dataclass
class Made:
    """What came of one molecule.

    Attributes:
        result: how it was drawn, without the positions.
        refused: whether nothing could be drawn.
        texts: its conformers, as they are written.
        notes: what finishing left out or could not do.
        remarks: to be told.
        problem: why there are no texts.
    """

    result: Conformers
    refused: bool = False
    texts: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    problem: str = ""


class Drawn(NamedTuple):
    """What came of a block: of each molecule, and what RDKit said meanwhile."""

    made: list[Made]
    heard: Counter[str]


class Bench:
    """Where blocks are drawn, and their conformers finished and put into the words of a format.

    Args:
        write: of the format (`chem.formats.Format.texts`).
        record: keep how each conformer was drawn.
    """

    def __init__(
        self, generator: ConformerGenerator, request: Request, write: MoleculeWriter, record: Recording | None = None
    ):
        self.request, self.write, self.device = request, write, generator.device
        self.draw = partial(
            generator.sample,
            seed=request.seed,
            max_attempts=request.attempts,
            condition=request.condition,
            guidance=request.guidance,
            energy=partial(bind, request.terms) if request.terms else None,
            level=request.level,
            diversity=request.diversity,
            record=record,
        )

    def __call__(self, block: Block, progress: Callable[[int], object] | None = None) -> Drawn:
        with rdkit_counts() as heard:
            allowance = self.request.allowance()
            allowance.spent.update({k: entry.spent for k, entry in enumerate(block.entries, block.first)})
            results = self._drawn(block.entries, block.first, progress, allowance)
            pairs = zip(block.entries, results, strict=True)
            made = [self._made(*pair, partial(allowance, {k: 1.0})) for k, pair in enumerate(pairs, block.first)]
        return Drawn(made, heard)

    def _drawn(
        self, entries: list[Entry], first: int, progress: Callable[[int], object] | None, allowance: Allowance
    ) -> list[Conformers]:
        """The entries' conformers. If drawing raises, their halves are drawn apart, down to the molecule that is to blame.

        The noise of each goes by its place among all, so that the others come out the same.
        """
        request = self.request
        try:
            return self.draw(
                [e.molecule for e in entries],
                list(map(request.draws, entries)),
                first=first,
                progress=progress,
                allowance=allowance,
                fixed=[e.fixed for e in entries] if any(e.fixed is not None for e in entries) else None,
                around=[e.pose for e in entries] if any(e.pose is not None for e in entries) else None,
                choose=partial(_representatives, entries, list(map(request.count, entries))),
            )
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if len(entries) == 1:
                atoms, wanted = len(entries[0].molecule.z), request.count(entries[0])
                return [Conformers.none(atoms, wanted, problem=reason_of(error))]
        half = len(entries) // 2
        parts = (entries[:half], first), (entries[half:], first + half)
        return [result for part, start in parts for result in self._drawn(part, start, progress, allowance)]

    def _made(self, entry: Entry, result: Conformers, timed: Callable[[], AbstractContextManager[None]]) -> Made:
        name, mol = entry.record.name, entry.record.mol
        assert mol is not None
        none = Conformers.none(len(entry.molecule.z), 0)
        made = Made(replace(result, positions=none.positions, confidence=None))
        made.remarks = [f"{name}: {note}" for note in result.notes]
        if not len(result.positions):
            made.refused, made.problem = True, result.problem
            return made
        with guarded(name, lambda _, reason: setattr(made, "problem", reason)), timed():
            mol, moved = with_own_aside(mol, (*FIELDS, *facts(entry, result.positions[0])))
            accept = Acceptance(entry.molecule)
            finished, notes = self.request.finish(mol, accept, result.positions, result.confidence, hold_of(entry))
            notes.update(f"molecules whose own data field {field!r} is now {field + OWN!r}" for field in moved)
            made.texts = self.write([_placed(mol, pos, facts(entry, pos) | own) for pos, own in finished])
            if made.texts:
                made.notes = notes
            else:
                made.problem = "; ".join(notes)
        if not made.texts:
            return made
        count = self.request.count(entry)
        if missing := count - len(made.texts) - sum(made.notes[kind] for kind in LEFT_OUT):
            tried = self.request.attempts
            made.remarks.append(f"{name}: {missing} of {count} conformers missing after {tried} attempts each")
        if name != one_line(name):
            made.remarks.append(f"{name!r}: written as {one_line(name)!r}, which an SDF can hold")
        return made


@dataclass(frozen=True)
class BenchElsewhere:
    """All that a worker needs, to be pickled: called there, it makes the bench, which then draws on one thread.

    Attributes:
        weights: a `Denoiser`, packed while it is on no device and not compiled.
        options: of the `ConformerGenerator`.
    """

    weights: bytes = field(repr=False)
    card: Card
    options: dict[str, Any]
    request: Request
    write: MoleculeWriter

    def __call__(self) -> Bench:
        torch.set_num_threads(1)
        generator = ConformerGenerator(pickle.loads(self.weights), self.card, **self.options)
        return Bench(generator, self.request, self.write)


def _placed(mol: Chem.Mol, pos: np.ndarray, properties: Mapping[str, str]) -> Chem.Mol:
    """One conformer `[N, 3]` as a molecule of its own, with its properties."""
    placed = with_positions(mol, pos[None])
    for name, value in properties.items():
        placed.SetProp(name, value)
    return placed


def _representatives(
    entries: list[Entry], counts: list[int], k: int, positions: np.ndarray, confidence: np.ndarray | None
) -> list[int]:
    mol = entries[k].record.mol
    assert mol is not None
    return representatives(mol, positions, counts[k], confidence)
