"""Where requests wait, are drawn together, and are answered.

One thread does all the work, so that memory is bounded, and RDKit and torch see no other.
"""

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from rdkit import Chem

from ..chem.heavy import identity_smiles
from ..chem.rdkit_log import rdkit_counts
from ..chem.writing import MoleculeWriter
from ..console import say
from ..deadline import deadline
from ..tasks.molecules.blocks import Place, drawn_together, made_of, price
from ..tasks.molecules.generator import ConformerGenerator
from .ask import Ask, Refused, entries_of
from .counts import Counts
from .limits import Limits

GRACE = 10.0  # seconds that a server that is to end waits for clients to fetch what is done


class Alike(NamedTuple):
    """What requests that are drawn together have in common."""

    seed: int
    attempts: int
    level: str | None
    confidence: bool


class Busy(Exception):
    """The queue is full (429), or the server ends (503)."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


@dataclass(eq=False)
class Job:
    """One request on its way.

    Attributes:
        places: its molecules that are still to be drawn.
        molecules: name, SMILES and conformers (SDF and data fields) of those that are done.
        skipped: (name, reason) of what yields nothing.
        status: of the answer, as HTTP has it; 0 until there is one.
        problem: why it is no 200.
        ended: set with the status.
    """

    ask: Ask
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    arrived: float = field(default_factory=time.monotonic)
    places: deque[Place] | None = None
    key: Alike | None = None
    total: int = 0
    molecules: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    status: int = 0
    problem: str = ""
    fetched: bool = False
    finished: float = 0.0
    ended: Future[None] = field(default_factory=Future)

    @property
    def sdf(self) -> str:
        """All conformers."""
        return "".join(conformer["sdf"] for molecule in self.molecules for conformer in molecule["conformers"])

    @property
    def size(self) -> int:
        """Characters of its conformers."""
        return sum(len(conformer["sdf"]) for molecule in self.molecules for conformer in molecule["conformers"])

    def state(self) -> dict[str, Any]:
        """How far it has come, for clients."""
        names = {0: "waiting" if self.places is None else "running", 200: "done", 499: "cancelled"}
        found: dict[str, Any] = {"id": self.id, "state": names.get(self.status, "failed"), "molecules": self.total}
        found |= {"done": len(self.molecules) + len(self.skipped) if self.places is not None else 0}
        found |= {"conformers": sum(len(molecule["conformers"]) for molecule in self.molecules)}
        return found | ({"problem": self.problem} if self.problem else {})


class Desk:
    """Takes requests and works on them, several at once where the network can draw them together.

    The noise of a conformer depends on the seed, the place of its molecule in its request and its own number, so a request
    gives the same conformers whatever is drawn beside it, but for rounding, which sampling makes thousandths of an Å.

    Args:
        generators: by whether confidences are wanted.
        limits: what it takes on.
        counts: where it counts what it does.
    """

    def __init__(self, generators: dict[bool, ConformerGenerator], limits: Limits, counts: Counts):
        self.generators, self.limits, self.counts = generators, limits, counts
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.draining = False
        self._waiting: deque[Job] = deque()
        self._errands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._awake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="desk", daemon=True)
        self._thread.start()

    # What others call, from any thread

    def submit(self, ask: Ask) -> Job:
        """Take a request. Raises `Busy` where it is not taken."""
        with self._awake:
            if self.draining:
                raise Busy(503, "the server is about to end and takes nothing new; try again in a minute")
            if len(self._waiting) >= self.limits.queue:
                raise Busy(429, f"{self.limits.queue} requests are waiting; try again in a few seconds")
            job = Job(ask)
            self.jobs[job.id] = job
            self._waiting.append(job)
            self._awake.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Give up a job that nobody waits for."""
        with self._awake:
            if not job.status:
                self._end(job, 499, "cancelled")

    def errand(self, work: Callable[[], Any]) -> "Future[Any]":
        """Have the thread do something between two batches."""
        future: Future[Any] = Future()
        with self._awake:
            self._errands.append((work, future))
            self._awake.notify()
        return future

    def drain(self) -> None:
        """Take nothing new from now on."""
        with self._awake:
            self.draining = True

    @property
    def idle(self) -> bool:
        """Whether all is done and fetched, or was done long enough ago."""
        with self._awake:
            since = time.monotonic() - GRACE
            unfetched = any(job.status == 200 and not job.fetched and job.finished > since for job in self.jobs.values())
            return not self._waiting and not self._errands and not unfetched

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return len(self._waiting)

    def close(self) -> None:
        """End the thread after the batch at hand."""
        with self._awake:
            self._closed = True
            self._awake.notify()

    # The thread

    def _work(self) -> None:
        while True:
            with self._awake:
                self._awake.wait_for(lambda: self._closed or self._errands or self._waiting)
                if self._closed:
                    return
                errand = self._errands.popleft() if self._errands else None
                unread = [job for job in self._waiting if job.places is None]
            if errand is not None:
                _do(*errand)
            for job in unread:
                self._guarded([job], partial(self._read, job))
            if batch := self._batch():
                self._guarded([job for job, _ in batch], partial(self._draw, batch))

    def _guarded(self, jobs: list[Job], work: Callable[[], None]) -> None:
        """Whatever goes wrong ends these jobs alone, with a sentence."""
        try:
            work()
        except Refused as error:
            self._fail(jobs, 422, str(error))
        except MemoryError:
            self._fail(jobs, 503, "there was not enough memory; ask for less at once")
        except Exception as error:  # a fault of ours: said in the log, and the server goes on
            say(f"{type(error).__name__}: {error}")
            self._fail(jobs, 500, "an error in the server; its log has more")

    def _fail(self, jobs: list[Job], status: int, problem: str) -> None:
        with self._awake:
            for job in {job.id: job for job in jobs}.values():
                if not job.status:
                    self._end(job, status, problem)

    def _read(self, job: Job) -> None:
        """Make entries of what was sent."""
        request, confidence = job.ask.request()
        levels = self.generators[confidence].levels
        if request.level is not None and request.level not in levels:
            raise Refused(f"there is no level {request.level!r}; there are {', '.join(levels)}")
        skip = lambda name, reason: job.skipped.append((name, reason))  # noqa: E731
        entries = entries_of(job.ask, request, self.limits, skip, job.remarks.append)
        job.key = Alike(request.seed, request.attempts, request.level, confidence)
        job.total = len(entries) + len(job.skipped)
        job.places = deque(Place(entry, number, request) for number, entry in enumerate(entries))

    def _batch(self) -> list[tuple[Job, Place]]:
        """What is drawn next: molecules of the job that waits longest, and of others that are drawn alike, one of each in
        turn, as many as the network takes at once."""
        now = time.monotonic()
        with self._awake:
            for job in list(self._waiting):
                if now - job.arrived > self.limits.seconds and not job.status:
                    self._end(job, 503, f"not done in {self.limits.seconds:g} seconds, and given up; ask for less, or later")
            ready = [job for job in self._waiting if job.places]
            if not ready:
                return []
            first, batch, spent = ready[0], [], 0
            assert first.key is not None
            generator = self.generators[first.key.confidence]
            alike = [job for job in ready if job.key == first.key]
            while spent < generator.budget and any(job.places for job in alike):
                for job in alike:
                    if job.places and spent < generator.budget:
                        place = job.places.popleft()
                        spent += price(place.entry, place.request, generator.cost)
                        batch.append((job, place))
            for job in {job.id: job for job, _ in batch}.values():  # those that had a turn stand behind the others
                self._waiting.remove(job)
                self._waiting.append(job)
        return batch

    def _draw(self, batch: list[tuple[Job, Place]]) -> None:
        alike = batch[0][0].key
        assert alike is not None
        generator = self.generators[alike.confidence]
        draw = partial(generator.sample, seed=alike.seed, max_attempts=alike.attempts, level=alike.level)
        started = time.monotonic()
        with rdkit_counts():
            results = drawn_together(draw, [place for _, place in batch])
            self.counts.batch(len({job.id for job, _ in batch}), len(batch), time.monotonic() - started)
            for (job, place), result in zip(batch, results, strict=True):
                if not job.status:
                    self._finish(job, place, result)
        with self._awake:
            for job in {job.id: job for job, _ in batch}.values():
                if not job.places and not job.status:
                    self._answer(job)

    def _finish(self, job: Job, place: Place, result: Any) -> None:
        left = job.arrived + self.limits.seconds - time.monotonic()
        fields: list[dict[str, str]] = []
        made = made_of(place, result, _noting(fields), partial(deadline, left, "the time of its request was over"))
        job.remarks += made.remarks
        if made.problem:
            job.skipped.append((place.entry.record.name, made.problem))
            return
        mol = place.entry.record.mol
        job.molecules.append(
            {
                "name": place.entry.record.name,
                "smiles": identity_smiles(mol) if mol is not None else "",
                "conformers": [{"sdf": text, "fields": its} for text, its in zip(made.texts, fields, strict=True)],
            }
        )
        self.counts.conformers.inc(len(made.texts))

    def _answer(self, job: Job) -> None:
        if job.molecules:
            self._end(job, 200, "")
        elif time.monotonic() - job.arrived > self.limits.seconds:
            self._end(job, 503, f"not done in {self.limits.seconds:g} seconds, and given up; ask for less, or later")
        else:
            self._end(job, 422, "; ".join(f"{name}: {reason}" for name, reason in job.skipped[:5]))

    def _end(self, job: Job, status: int, problem: str) -> None:
        """With the lock held: the job is done, whatever came of it; the oldest results go where there are too many."""
        job.status, job.problem, job.finished = status, problem, time.monotonic()
        if job in self._waiting:
            self._waiting.remove(job)
        job.places = deque()
        if status != 200:
            job.molecules = []
        self.counts.seconds.observe(job.finished - job.arrived)
        done = [other for other in self.jobs.values() if other.status]
        size = sum(other.size for other in done)
        for other in done:
            if len(done) <= self.limits.kept and size <= self.limits.kept_bytes:
                break
            if other is not job:
                done, size = [one for one in done if one is not other], size - other.size
                del self.jobs[other.id]
        job.ended.set_result(None)


def _do(work: Callable[[], Any], future: "Future[Any]") -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _noting(fields: list[dict[str, str]]) -> MoleculeWriter:
    """Writes SDF, and keeps the data fields beside it."""
    from ..chem.formats import SDF

    def write(mols: Sequence[Chem.Mol]) -> list[str]:
        fields.extend({name: str(v) for name, v in mol.GetPropsAsDict(autoConvertStrings=False).items()} for mol in mols)
        return SDF.texts(mols)

    return write
