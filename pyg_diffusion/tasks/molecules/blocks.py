"""The unit of work of a sampling job: some molecules that are drawn together, wherever that is, and what comes of them.

What is drawn together may change the last bits of it, and so may the number of threads. So blocks are cut by the input
alone, and a seed gives the same bytes whoever draws them.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
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
            places = [Place(entry, block.first + k, self.request) for k, entry in enumerate(block.entries)]
            allowance = self.request.allowance()
            allowance.spent.update({place.number: place.entry.spent for place in places})
            results = drawn_together(partial(self.draw, allowance=allowance), places, progress)
            made = []
            for place, result in zip(places, results, strict=True):
                made.append(made_of(place, result, self.write, partial(allowance, {place.number: 1.0})))
        return Drawn(made, heard)


class Place(NamedTuple):
    """A molecule to be drawn: its place among all of its job, which its noise goes by, and what is asked of it."""

    entry: Entry
    number: int
    request: Request


def drawn_together(
    draw: Callable[..., list[Conformers]], places: list[Place], progress: Callable[[int], object] | None = None
) -> list[Conformers]:
    """Conformers of molecules, of one job or of several that `draw` does alike. If drawing raises, their halves are drawn
    apart, down to the molecule that is to blame; the others come out the same."""
    try:
        return draw(
            [p.entry.molecule for p in places],
            [p.request.draws(p.entry) for p in places],
            first=[p.number for p in places],
            progress=progress,
            fixed=[p.entry.fixed for p in places] if any(p.entry.fixed is not None for p in places) else None,
            around=[p.entry.pose for p in places] if any(p.entry.pose is not None for p in places) else None,
            choose=partial(_representatives, places),
        )
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if len(places) == 1:
            ((entry, _, request),) = places
            return [Conformers.none(len(entry.molecule.z), request.count(entry), problem=reason_of(error))]
    half = len(places) // 2
    return [result for part in (places[:half], places[half:]) for result in drawn_together(draw, part, progress)]


def made_of(
    place: Place,
    result: Conformers,
    write: MoleculeWriter,
    timed: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Made:
    """What was drawn of a molecule finished, in a context that may end it, and put into the words of a format."""
    entry, _, request = place
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
        finished, notes = request.finish(mol, accept, result.positions, result.confidence, hold_of(entry))
        notes.update(f"molecules whose own data field {field!r} is now {field + OWN!r}" for field in moved)
        made.texts = write([_placed(mol, pos, facts(entry, pos) | own) for pos, own in finished])
        if made.texts:
            made.notes = notes
        else:
            made.problem = "; ".join(notes)
    if not made.texts:
        return made
    count = request.count(entry)
    if missing := count - len(made.texts) - sum(made.notes[kind] for kind in LEFT_OUT):
        made.remarks.append(f"{name}: {missing} of {count} conformers missing after {request.attempts} attempts each")
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


def _representatives(places: list[Place], k: int, positions: np.ndarray, confidence: np.ndarray | None) -> list[int]:
    entry, _, request = places[k]
    assert entry.record.mol is not None
    return representatives(entry.record.mol, positions, request.count(entry), confidence)
