"""Who works at what: blocks are given out as workers become free, and come back in the order of the input."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

AHEAD = 3  # blocks under way or done before their turn, for each worker: bounds the memory
DEATHS = 3  # of workers at one block, or of workers that were about to begin, after which it is no accident

W = TypeVar("W")  # a worker
B = TypeVar("B")  # a block


class WorkersLost(RuntimeError):
    """Workers die at what they are given, or before they begin."""


@dataclass(frozen=True)
class Ready:
    """A worker has loaded what it needs."""


@dataclass(frozen=True)
class Finished:
    """What a worker made of its block."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """A worker's function raised this; the worker is as good as before."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """There is no such worker any more."""

    how: str


Report = Ready | Finished | Failed | Died


class Crew(Protocol[W]):
    """Workers of one kind."""

    @property
    def size(self) -> int:
        """The most workers that there is room for."""
        ...

    def hire(self) -> None:
        """Begin to start a worker, which will report that it is ready, or died."""
        ...

    def give(self, worker: W, block: Any) -> None:
        """Have a worker that does nothing work at a block; one that has just died will be reported."""
        ...

    def reports(self, wait: bool) -> list[tuple[W, Report]]:
        """What workers report; waits for the first report, or does not."""
        ...

    def close(self) -> None:
        """End all workers at once, whatever they are at."""
        ...


@dataclass
class _Task(Generic[B]):
    number: int
    block: B
    deaths: int = 0


class Foreman(Generic[W, B]):
    """Works through blocks with a crew. A block whose worker dies is given to another; each result is given out once.

    Args:
        crew: who works.
        workers: most of them at one time; as many are hired as there are blocks for.
        blocks: the work; taken one by one, a few ahead of what is given out.

    Example:
        >>> from operator import neg
        >>> from pyg_diffusion.workers import Finished, Foreman, Ready
        >>> class Here:  # a crew of one, who is this process
        ...     size, said = 1, []
        ...     hire = lambda self: self.said.append(("me", Ready()))
        ...     give = lambda self, worker, block: self.said.append((worker, Finished(neg(block))))
        ...     reports = lambda self, wait: [self.said.pop() for _ in list(self.said)]
        ...     close = lambda self: None
        >>> list(Foreman(Here(), 1, [3, 1, 2]))
        [(3, -3), (1, -1), (2, -2)]
    """

    def __init__(self, crew: Crew[W], workers: int, blocks: Iterable[B]):
        self.crew, self.workers = crew, workers
        self._input = enumerate(blocks)
        self._whole = False  # nothing is left of the input
        self._waiting: deque[_Task[B]] = deque()
        self._free: list[W] = []
        self._busy: dict[W, _Task[B]] = {}
        self._starting = self._stillborn = 0
        self._done: dict[int, tuple[B, Any]] = {}
        self._next = 0

    def __iter__(self) -> Iterator[tuple[B, Any]]:
        """(block, what came of it), in order.

        Raises:
            WorkersLost: they die again and again.
            Exception: whatever the function of a block raised, when it is its turn.
        """
        while True:
            self._give_out()
            while self._next in self._done:
                block, result = self._done.pop(self._next)
                self._next += 1
                if isinstance(result, Exception):
                    raise result
                yield block, result
            if self._whole and not (self._waiting or self._busy or self._done):
                return
            ahead = self._take()
            for worker, report in self.crew.reports(wait=not ahead):
                self._hear(worker, report)

    def _take(self) -> bool:
        """Have one more block wait, if there is room and one is left."""
        under_way = len(self._waiting) + len(self._busy) + len(self._done)
        if self._whole or len(self._waiting) >= self.workers or under_way >= AHEAD * self.workers:
            return False
        found = next(self._input, None)
        self._whole = found is None
        if found is not None:
            self._waiting.append(_Task(*found))
        return True

    def _give_out(self) -> None:
        while self._waiting and self._free:
            worker, task = self._free.pop(), self._waiting.popleft()
            self._busy[worker] = task
            self.crew.give(worker, task.block)
        while len(self._waiting) > self._starting and len(self._busy) + self._starting < self.workers:
            self._starting += 1
            self.crew.hire()

    def _hear(self, worker: W, report: Report) -> None:
        if isinstance(report, Ready):
            self._starting -= 1
            self._stillborn = 0
            self._free.append(worker)
        elif isinstance(report, Died):
            self._bury(worker, report.how)
        else:
            task = self._busy.pop(worker)
            self._done[task.number] = (task.block, report.result if isinstance(report, Finished) else report.error)
            self._free.append(worker)

    def _bury(self, worker: W, how: str) -> None:
        if worker in self._busy:
            task = self._busy.pop(worker)
            task.deaths += 1
            if task.deaths == DEATHS:
                raise WorkersLost(f"{DEATHS} workers died at {task.block} ({how}); is there too little memory?")
            self._waiting.appendleft(task)
        elif worker in self._free:
            self._free.remove(worker)
        else:
            self._starting -= 1
            self._stillborn += 1
            if self._stillborn == DEATHS:
                raise WorkersLost(f"{DEATHS} workers died before they began ({how})")
