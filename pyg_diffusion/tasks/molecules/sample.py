"""Whole files through the generator: molecules in, SDF out."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from tqdm import tqdm

from ...chem import Record
from ...chem.core import Cores
from ...chem.finish import LEFT_OUT, Finish
from ...chem.formats import SDF
from ...chem.forms import GIVEN, Forms
from ...chem.heavy import heavy_atoms, identity_smiles
from ...chem.rdkit_log import repeated
from ...chem.table import FOUND, Columns
from ...chem.writing import MoleculeWriter, one_line
from ...deadline import Allowance
from .blocks import BATCHES, Bench, Block, Made, blocks_of, price
from .conformers import Conformers
from .embed import OVERSAMPLE
from .generator import ConformerGenerator
from .inputs import Entry, Fail, as_drawn, enumerated, fitting, in_forms, input_records, unique_molecules
from .places import Lock, with_core, with_kept, with_pose
from .presets import conformers_for
from .sharing import Sharing
from .trajectory import TrajectoryFile

CHUNK = 64  # molecules of a block, at most; results are written after each block


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
        if missing := self.asked - self.conformers - sum(self.finished.get(kind, 0) for kind in LEFT_OUT):
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
    """What results are written to, such as `console.Output`."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of every molecule of a job.

    Attributes:
        n: conformers per molecule, or, with `per_record`, per record the input has of the molecule; None: by rotatable bonds
            (`presets.conformers_for`).
        columns: of tables in the input.
        forms: of its molecules that are made: without salts, tautomers, states of protonation.
        most_atoms: other than hydrogen; a molecule that has more yields nothing.
        time_limit: seconds for a molecule; one that takes longer yields nothing.
        seed, attempts, condition, guidance, level, diversity: as for `ConformerGenerator.sample`.
        terms: weights in kT of regularizers to steer by (`terms.bind`).
        oversample: draw so many times as many, and keep those that stand best for all (`chem.similarity.representatives`).
        keep: a SMARTS pattern; the atoms of its first match stay where the input has them.
        core: atoms in common with one of these templates stay where that has them.
        spread: conformers shall be about so many Å from that of their record, each record being a molecule of its own; None:
            anywhere.
        locks: bonds about which they then have the torsions of that one.
        max_isomers: make at most so many stereoisomers of a molecule with unspecified stereo, n conformers of each; if
            None, n conformers of any stereo there.
        finish: what is done to the conformers of a molecule before they are written.
    """

    n: int | None
    per_record: bool = False
    columns: Columns = FOUND
    forms: Forms = GIVEN
    most_atoms: int = sys.maxsize
    time_limit: float = math.inf
    seed: int = 0
    attempts: int = 10
    condition: Mapping[str, float] | None = None
    guidance: float = 1.0
    terms: Mapping[str, float] | None = None
    level: str | None = None
    diversity: float = 0.0
    oversample: float = OVERSAMPLE
    keep: Chem.Mol | None = None
    core: Cores | None = None
    spread: float | None = None
    locks: Sequence[Lock] = ()
    max_isomers: int | None = None
    finish: Finish = field(default_factory=Finish)

    def count(self, entry: Entry) -> int:
        """Conformers wanted of a molecule."""
        if self.n is None:
            assert entry.record.mol is not None
            return conformers_for(rdMolDescriptors.CalcNumRotatableBonds(heavy_atoms(entry.record.mol)))
        return self.n * entry.copies if self.per_record else self.n

    def allowance(self) -> Allowance:
        """Of time, for molecules of which none has taken any."""
        return Allowance(self.time_limit, f"takes longer than {self.time_limit:g} s (--time-limit)")

    def draws(self, entry: Entry) -> int:
        """Those drawn to choose from."""
        return math.ceil(self.oversample * self.count(entry))

    def entries(self, inputs: list[str], fail: Fail, say: Callable[[str], object]) -> Iterator[Entry]:
        """The molecules of the inputs as they are to be made."""
        return self.entries_of(input_records(inputs, say, self.columns), fail, say)

    def entries_of(self, records: Iterable[Record], fail: Fail, say: Callable[[str], object]) -> Iterator[Entry]:
        """The molecules of records as they are to be made."""
        small = fitting(records, self.most_atoms, fail)
        entries: Iterable[Entry] = unique_molecules(small, fail, say, merged=self.spread is None)
        if self.forms:
            entries = in_forms(entries, self.forms, fail, say, self.allowance())
        if self.keep is not None:
            entries = with_kept(entries, self.keep, fail)
        if self.spread is not None:
            entries = with_pose(entries, self.spread, self.locks, fail)
        if self.per_record:
            entries = list(entries)  # the copies of a molecule are known at the end of the input
        entries = (
            as_drawn(entries, fail, say) if self.max_isomers is None else enumerated(entries, self.max_isomers, fail, say)
        )
        return entries if self.core is None else with_core(entries, self.core, fail, say)


@dataclass
class Sink:
    """Where conformers, remarks and reasons of a job go.

    Attributes:
        skip: called with (name, reason) for what yields nothing.
        say: called with remarks.
        write: of the format that `out` is to have (`chem.formats.Format.texts`).
        trace: where to write how conformers were drawn.
        failed: where to write what yields nothing, as SMILES with its name and the reason behind it.
        tally: sums, so far.
    """

    out: Writer
    skip: Callable[[str, str], object]
    say: Callable[[str], object]
    write: MoleculeWriter = SDF.texts
    trace: TrajectoryFile | None = None
    failed: Writer | None = None
    tally: Tally = field(default_factory=Tally)

    def fail(self, record: Record, reason: str) -> None:
        """Tell, and keep, that a record yields nothing, and why."""
        self.failure(record, reason)()

    def failure(self, record: Record, reason: str) -> Callable[[], None]:
        """What does so when it is called, and holds no molecule until then."""
        line = ""
        if self.failed is not None:
            smiles = record.text or ("*" if record.mol is None else identity_smiles(record.mol))
            line = f"{one_line(smiles)} {one_line(f'{record.name}: {reason}')}\n"
        return partial(self._fail, record.name, reason, line)

    def _fail(self, name: str, reason: str, line: str) -> None:
        self.skip(name, reason)
        if self.failed is not None:
            self.failed.write(line)
            self.failed.flush()

    def take(self, entry: Entry, request: Request, made: Made) -> None:
        """Write a molecule's conformers; what was noted, is missing or cannot be finished is said and counted."""
        self.tally.add(made.result, request.count(entry))
        if self.trace is not None:
            self.trace(entry, made.result)
        for remark in made.remarks:
            self.say(remark)
        self.tally.refused += made.refused
        if made.problem:
            self.fail(entry.record, made.problem)
        for text in made.texts:
            self.out.write(text)
        self.out.flush()
        for note, number in made.notes.items():
            self.tally.finished[note] = self.tally.finished.get(note, 0) + number
        self.tally.molecules += bool(made.texts)
        self.tally.conformers += len(made.texts)


class Ahead:
    """What there is to tell of an input that is read ahead of what is drawn, told when all before it is: a job that is cut
    reads on behind what it has written, and tells the rest then.

    Args:
        sink: where it goes.
    """

    def __init__(self, sink: Sink):
        self.sink, self.read, self.drawn = sink, 0, 0
        self.waiting: deque[tuple[int, Callable[[], object]]] = deque()

    def fail(self, record: Record, reason: str) -> None:
        """As of the sink."""
        self._tell(self.sink.failure(record, reason))

    def remark(self, text: str) -> None:
        """A remark."""
        self._tell(partial(self.sink.say, text))

    def _tell(self, tell: Callable[[], object]) -> None:
        if self.read > self.drawn:
            self.waiting.append((self.read, tell))
        else:
            tell()

    def counted(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries of which it is told."""
        for entry in entries:
            self.read += 1
            yield entry

    def tell(self, drawn: float) -> None:
        """So many entries are drawn: tell what came before the last of them."""
        while self.waiting and self.waiting[0][0] < drawn:
            self.waiting.popleft()[1]()

    def skip(self, entries: Iterator[Entry], number: int) -> None:
        """Pass over so many entries, of which an earlier job told."""
        self.drawn = -1
        for _ in islice(entries, number):
            pass
        self.waiting.clear()
        self.drawn = number


def sample_records(
    generator: ConformerGenerator,
    inputs: list[str],
    request: Request,
    sink: Sink,
    progress: bool = True,
    done: int = 0,
    settle: Callable[[int], object] = lambda done: None,
    sharing: Sharing | None = None,
) -> Tally:
    """Sample every molecule of the inputs and write records in input order, block by block.

    Args:
        done: so many molecules, of which an earlier job gave an account, are passed over.
        settle: called with how many are done after each block.
        sharing: who draws; this process if None.
    """
    sharing = sharing or Sharing()
    ahead = Ahead(sink)
    entries = ahead.counted(request.entries(inputs, ahead.fail, ahead.remark))
    if sink.trace is not None:
        entries = sink.trace.checked(entries, request.count)
    if done:
        ahead.skip(entries, done)
    bench = Bench(generator, request, sink.write, None if sink.trace is None else sink.trace.record)
    bench.draw([], [])  # wrong options are no molecule's fault
    priced = partial(price, request=request, cost=generator.cost)
    blocks = blocks_of(entries, done, CHUNK, BATCHES * generator.budget, priced)
    start = time.perf_counter()
    try:
        with tqdm(desc="conformers", unit="", disable=not progress, file=sys.stderr, dynamic_ncols=True) as bar:
            for block, drawn in sharing(bench, _announced(blocks, request, bar), bar.update):
                upto = block.first + len(block.entries)
                ahead.tell(upto)
                repeated(drawn.heard)
                sink.tally.threads = sharing.threads
                for entry, made in zip(block.entries, drawn.made, strict=True):
                    sink.take(entry, request, made)
                sink.tally.seconds += time.perf_counter() - start
                start = time.perf_counter()
                settle(upto)
                ahead.drawn = upto
    finally:
        ahead.tell(math.inf)
    return sink.tally


def _announced(blocks: Iterator[tuple[Block, int]], request: Request, bar: tqdm) -> Iterator[tuple[Block, int]]:
    for block, its in blocks:
        bar.total = (bar.total or 0) + sum(map(request.draws, block.entries))
        yield block, its
