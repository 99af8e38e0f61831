"""Who draws the blocks of a sampling job: this process, several, or a cluster."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from ...workers import Crew, Foreman
from ...workers.processes import Processes
from .blocks import Bench, BenchElsewhere, Block, Drawn

PAYS = 120_000  # of the generator's budget in all; what takes less, ten seconds of a core, is done before workers have begun
GB = 1_000_000_000
PROCESS = 0.65 * GB  # libraries and weights: resident size of a process before it draws, rounded up
PAIR = 2_000  # bytes for each pair of atoms in a batch: growth of the peak over batches of 20,000 to 180,000 pairs


@dataclass
class Sharing:
    """How a job is shared out.

    Attributes:
        elsewhere: gives a worker its bench; None: all is drawn here.
        workers: how many; None: as many as there is room for, where it pays.
        most: more have no room.
        crew: of `workers.ENGINES`, called with `elsewhere`.
        cluster: whether it has more than this machine: then what is more than a block is drawn there.
        threads: that drew, in all.
    """

    elsewhere: BenchElsewhere | None = None
    workers: int | None = None
    most: float = math.inf
    crew: Callable[[BenchElsewhere], Crew[Any]] = Processes
    cluster: bool = False
    threads: int = field(init=False, default_factory=torch.get_num_threads)

    def __call__(
        self, bench: Bench, blocks: Iterator[tuple[Block, int]], told: Callable[[int], object]
    ) -> Iterator[tuple[Block, Drawn]]:
        """(block, what came of it) in order; `told` how many conformers are finished.

        An input of one block is drawn here, on all threads; all else on one thread each, however many workers there are.
        """
        head, price = [], 0
        for block, its in blocks:
            head.append(block)
            price += its
            if len(head) > 1 and price >= PAYS:
                break
        rest = (block for block, _ in blocks)
        if len(head) < 2 and all(block.first == 0 for block in head):
            yield from ((block, bench(block, told)) for block in head)
            return
        few = self.workers == 1 or (self.workers is None and (price < PAYS or bench.device != "cpu")) or self.most < 2
        if self.elsewhere is None or (few and not self.cluster):
            self.threads = 1 if bench.device == "cpu" else self.threads
            with _threads(self.threads):
                yield from ((block, bench(block, told)) for block in chain(head, rest))
            return
        with closing(self.crew(self.elsewhere)) as crew:
            self.threads = int(min(self.workers or crew.size, self.most))
            for block, drawn in Foreman(crew, self.threads, chain(head, rest)):
                told(sum(map(bench.request.draws, block.entries)))
                yield block, drawn


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def largest(memory: float | None = None) -> int:
    """Atoms other than hydrogen of the largest molecule that so many bytes have room for; those of the machine if None.
    Linux gives more than there is and kills who takes it, so what is larger must not be begun.

    Example:
        >>> from pyg_diffusion.tasks.molecules.sharing import largest
        >>> largest(8e9)
        1917
    """
    if memory is None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf
    return sys.maxsize if memory == math.inf else math.isqrt(int(max(0, memory - PROCESS) // PAIR))


def room(memory: float, pairs: int, gpu: bool) -> tuple[int, int]:
    """(padded pairs of a batch, workers) that so many bytes have room for: batches first, of `pairs` if that fits, or on a
    GPU of as many as do, then workers; one process reads and writes, and draws where there is no other. With less than a
    process takes, (0, 0).

    Example:
        >>> from pyg_diffusion.tasks.molecules.sharing import room
        >>> room(4e9, 60_000, False), room(0.7e9, 60_000, False)
        ((60000, 4), (25000, 1))
    """
    left = memory - PROCESS
    if left < PAIR:
        return 0, 0
    fits = int(left // PAIR)
    pairs = fits if gpu else min(fits, pairs)
    return pairs, max(1, int(left // (PROCESS + pairs * PAIR)))
