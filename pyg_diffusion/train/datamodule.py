"""What training needs of a kind of data, and batches as a pure function of (seed, step): what exact resuming needs."""

import signal
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from ..denoise import Denoiser
from ..posterior import Origins
from ..spectral import LaplacianOperator, PowerSpectrum
from .recipe import DataSection, RecipeError


class Draws:
    """Random numbers for one batch that may be spread over several processes.

    All numbers of all processes are drawn everywhere, and each takes its own: how many processes share a batch changes
    nothing.

    Args:
        generator: in the same state on every process.
        graphs, nodes: how many this process has.
        before, total: (graphs, nodes) of the processes before this one, and of all; None if it is alone.
    """

    def __init__(
        self,
        generator: torch.Generator,
        graphs: int,
        nodes: int,
        before: tuple[int, int] = (0, 0),
        total: tuple[int, int] | None = None,
    ):
        self.generator, self.graphs, self.nodes = generator, graphs, nodes
        self.before, self.total = before, total or (graphs, nodes)

    def _cut(self, draw: Callable[..., Tensor], level: int, count: int, width: int) -> Tensor:
        every = draw(self.total[level], width, generator=self.generator, device=self.generator.device)
        return every[self.before[level] : self.before[level] + count]

    def graph_normal(self, width: int) -> Tensor:
        """N(0, 1), `[graphs, width]`."""
        return self._cut(torch.randn, 0, self.graphs, width)

    def graph_uniform(self, width: int) -> Tensor:
        """U(0, 1), `[graphs, width]`."""
        return self._cut(torch.rand, 0, self.graphs, width)

    def node_normal(self, width: int) -> Tensor:
        """N(0, 1), `[nodes, width]`."""
        return self._cut(torch.randn, 1, self.nodes, width)


class SizedBatches(Sampler[list[int]]):
    """Endless shuffled batches of graphs of like size, starting at any step.

    Every epoch is shuffled anew by (seed, epoch); pools of `pool` batches are sorted by size, so that padding wastes little
    and batches still differ from epoch to epoch. Under DDP rank r of w takes the r-th of w parts of every batch.

    Args:
        sizes: nodes of each entry.
        batch_size, max_pairs: a batch ends at this many entries, or padded node pairs (None: however many).
        start: called when iteration begins, gives the step to begin with.
    """

    pool = 50

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        max_pairs: int | None,
        seed: int,
        start: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.sizes, self.batch_size, self.max_pairs, self.seed = sizes, batch_size, max_pairs, seed
        self.start, self.rank, self.world = start, rank, world

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """All batches of one epoch, the same on every rank; each has an entry for every rank."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.sizes))
        batches = []
        for chunk in np.array_split(order, max(1, round(len(order) / (self.pool * self.batch_size)))):
            chunk = chunk[np.argsort(self.sizes[chunk], kind="stable")]
            cut: list[int] = []
            for k in chunk:  # ascending, so the newest entry is the largest
                pairs = (len(cut) + 1) * int(self.sizes[k]) ** 2
                if cut and (len(cut) == self.batch_size or (self.max_pairs is not None and pairs > self.max_pairs)):
                    batches.append(np.array(cut))
                    cut = []
                cut.append(int(k))
            if cut:
                batches.append(np.array(cut))
        batches = [batches[k] for k in rng.permutation(len(batches))]
        return [np.resize(batch, max(len(batch), self.world)) for batch in batches]

    def __iter__(self) -> Iterator[list[int]]:
        skip, epoch = self.start(), 0
        while True:
            batches = self.epoch(epoch)
            for batch in batches[skip:]:
                yield np.array_split(batch, self.world)[self.rank].tolist()
            skip = max(0, skip - len(batches))
            epoch += 1


def leave_signals(worker: int) -> None:
    """A loader's worker lives until its process ends it: that one answers Ctrl-C and SIGTERM, and saves first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class SignalDataModule(L.LightningDataModule):
    """Signals to train and to validate on.

    Attributes:
        train, val: data sets of PyG `Data`.
        centered: whether the global translation is no part of the signal.
        max_pairs: a batch holds no more than this many padded pairs of nodes; None: however many.
        sources: names of what the signals are from, for the card.
        coarse: the trained denoiser of the resolution above this one, or None.
    """

    train: Dataset
    val: Dataset
    centered: bool
    max_pairs: int | None = None
    coarse: Denoiser | None = None

    def __init__(self, config: DataSection, seed: int):
        super().__init__()
        self.config, self.seed = config, seed
        self.sources = [config.kind]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: the averaged copy of a model trains on no signals of its own."""
        return self

    def levels(self) -> set[str]:
        """Levels of theory in the data, where they have any."""
        return set()

    @abstractmethod
    def sizes(self, items: Dataset) -> np.ndarray:
        """Nodes of each item."""

    @abstractmethod
    def spectrum(self) -> PowerSpectrum:
        """p(λ) of the training signals."""

    def conditions(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the named quantities over the training data, `[len(names)]` each.

        Raises:
            RecipeError: there are none.
        """
        raise RecipeError(f"model.conditions: {self.config.kind} have none")

    def withheld(self, draws: Draws, columns: int, share: float) -> Tensor:
        """Which conditions of a batch are withheld, each in a share of graphs, `[graphs, columns]`."""
        return draws.graph_uniform(columns) < share

    @abstractmethod
    def model_facts(self) -> dict[str, Any]:
        """Arguments of the network that follow from the data."""

    @abstractmethod
    def card_facts(self) -> dict[str, Any]:
        """Fields of the weights' `Card` that follow from the data."""

    @abstractmethod
    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        """(L, S_0, what the network is told) of a batch, transformed at random where the data has symmetries.

        `condition [num_graphs, K]` of the last holds what the model is conditioned on, if anything.
        """

    def candidates(self, operator: LaplacianOperator, x_0: Tensor, told: Batch) -> Origins | None:
        """The clean signals that S_t may have come from, for exact targets; None where x_0 alone is known."""
        return None

    def _loader(self, items: Dataset, batches) -> DataLoader:
        workers = self.config.workers
        options = {"persistent_workers": True, "worker_init_fn": leave_signals} if workers else {}
        return DataLoader(items, batch_sampler=batches, num_workers=workers, **options)

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        assert trainer is not None
        batches = SizedBatches(
            self.sizes(self.train),
            self.config.batch_size,
            self.max_pairs,
            self.seed,
            lambda: trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
        )
        return self._loader(self.train, batches)

    def val_dataloader(self) -> DataLoader:
        batches = SizedBatches(self.sizes(self.val), self.config.batch_size, self.max_pairs, 0).epoch(0)
        return self._loader(self.val, [b.tolist() for b in batches])
