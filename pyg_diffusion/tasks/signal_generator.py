"""SignalGenerator: signals on given graphs from noise, whatever their task."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from ..data import laplacian_operator
from ..denoise import Denoiser
from ..generate import UNSTEERED, DrawsSignals, Energy, GraphGenerator, Job, Steering
from ..sample import Exponential, Recording, Trajectory
from ..spectral import LaplacianOperator
from ..spectral.clusters import Clusters
from ..weights_io import Card, spectrum_of
from .resolution import Details

Asked = Mapping[str, float] | Sequence[Mapping[str, float]]
Fixed = np.ndarray | Tensor


class SignalGenerator(GraphGenerator[Job]):
    """Samples signals on the graph that weights were trained on, or on graphs that are given.

    Args:
        denoiser, card, sampler, steps, device, compile, grid, temperature: as for `GraphGenerator`; 50 steps by
            `Exponential(2)`: there ancestral sampling loses a quarter of the variance of a Gaussian field, taking D for S_0
            over long steps, the exponential integrator 2 %.
        max_nodes: a batch holds no more than this many nodes; bounds the memory.

    Attributes:
        evaluations: network evaluations that every signal of the latest `sample` took, of all resolutions.
        trajectories: of the signals of the latest `sample`, where it was told to record them.
        coarser: of the resolution above this one, which is drawn first; None where there is none (`resolution`).
    """

    evaluations: int = 0

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        sampler: DrawsSignals | None = None,
        steps: int | None = None,
        device: str | None = None,
        max_nodes: int = 65_536,
        compile: bool = False,
        grid: str | None = None,
        temperature: float | None = None,
    ):
        super().__init__(denoiser, card, sampler, steps, device, max_nodes, compile, grid, temperature)
        self.trajectories: list[Trajectory] = []
        self.coarser: SignalGenerator | None = None
        if denoiser.coarse is not None:
            above = Card.model_validate(card.coarse["card"])
            self.coarser = type(self)(denoiser.coarse, above, sampler, steps, device, max_nodes, compile, grid, temperature)

    def default_sampler(self) -> DrawsSignals:
        return Exponential(2)

    @abstractmethod
    def graph(self) -> Data:
        """The graph that all training signals share.

        Raises:
            ValueError: there is no such graph.
        """

    def single(self) -> LaplacianOperator:
        """L of that graph, as the process has it."""
        return laplacian_operator(self.graph())

    @abstractmethod
    def clusters(self) -> Clusters:
        """Of that graph, which are the nodes of the resolution above."""

    def as_shown(self, means: Tensor) -> Tensor:
        """Signals of the resolution above, `[S, K, C]`, as this one's process sees them."""
        return means

    @cached_property
    def details(self) -> Details:
        """What this resolution adds to the one above."""
        power = spectrum_of(self.card.coarse["power"])
        return Details(self.single(), self.clusters(), power)

    @property
    def channels(self) -> int:
        """C."""
        return int(self.card.data["channels"])

    def sample(
        self,
        n: int,
        seed: int = 0,
        condition: Asked | None = None,
        guidance: float = 1.0,
        energy: Energy | None = None,
        energy_limit: float = 0.5,
        fixed: Fixed | None = None,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> Tensor:
        """n signals `[n, N, C]` on the CPU. The noise of one depends on (seed, its number) alone, not on the batching.

        Args:
            condition: quantities that the signals should have, by name, what the model was trained with; or one such mapping
                for each.
            guidance: w of classifier-free guidance.
            energy: called with (L, batch), gives a function E of a signal, per graph or summed (`sample.EnergyGuided`).
            energy_limit: largest change of a node by the energy per evaluation.
            fixed: a signal `[N, C]`, of fields also `[*shape, C]`, of known values, NaN at those to generate
                (`sample.Inpainted`).
            progress: called with the number of signals finished.
            record: keep how they were drawn, in `trajectories`.

        Raises:
            ValueError: an argument is out of range, the model was not conditioned on what is asked, or there is no room for
                so many trajectories.
            RuntimeError: not even one signal fits into the memory, or what is to be kept cannot be.
        """
        if n < 1:
            raise ValueError(f"need n >= 1, got {n}")
        graph = self.graph()
        if fixed is not None:
            known, nodes = torch.as_tensor(np.asarray(fixed), dtype=torch.float32), int(graph.num_nodes or 0)
            if known.numel() != nodes * self.channels or known.size(-1) != self.channels:
                raise ValueError(f"fixed must be [{nodes}, {self.channels}] (NaN where free), got {list(known.shape)}")
            graph.fixed = known.reshape(nodes, self.channels)
        steering = Steering(guidance, energy, energy_limit)
        return torch.stack(self.sample_on([graph] * n, seed, condition, steering, progress, record))

    def sample_on(
        self,
        graphs: Sequence[Data],
        seed: int = 0,
        condition: Asked | None = None,
        steering: Steering = UNSTEERED,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> list[Tensor]:
        """A signal `[N, C]` of each graph, on the CPU; errors and the rest as of `sample`.

        Args:
            graphs: of all of them, or of none, `fixed [N, C]` holds known values, NaN where free.
        """
        if seed < 0:
            raise ValueError(f"need seed >= 0, got {seed}")
        if self.coarser is not None and graphs:
            return self._finer(graphs, seed, condition, steering, progress, record)
        return self._drawn(graphs, seed, condition, steering, progress, record)

    def _finer(
        self,
        graphs: Sequence[Data],
        seed: int,
        condition: Asked | None,
        steering: Steering,
        progress: Callable[[int], object] | None,
        record: Recording | None,
    ) -> list[Tensor]:
        """`sample_on` where a coarser resolution is drawn first. It alone is guided to what is asked, since it decides."""
        assert self.coarser is not None
        if any(graph.get("fixed") is not None for graph in graphs):
            raise ValueError("weights of several resolutions keep no known values; take weights of one (data.coarse)")
        above = self.coarser.sample_on([self.coarser.graph()] * len(graphs), seed, condition, steering)
        base = self.details.base(self.as_shown(torch.stack(above)))
        told, finer = self.details.told(base), []
        for k, graph in enumerate(graphs):
            graph = copy(graph)
            graph.node_condition, graph.base = told[k], base[k]
            finer.append(graph)
        energy = None if steering.energy is None else _on_whole(steering.energy)
        made = self._drawn(finer, seed, condition, replace(steering, guidance=1.0, energy=energy), progress, record)
        self.evaluations += self.coarser.evaluations
        self.trajectories = [
            replace(path, signal=path.signal + b, denoised=path.denoised + b)
            for path, b in zip(self.trajectories, base, strict=False)
        ]
        return [b + d for b, d in zip(base, self.details.of(torch.stack(made)), strict=True)]

    def _drawn(
        self,
        graphs: Sequence[Data],
        seed: int,
        condition: Asked | None,
        steering: Steering,
        progress: Callable[[int], object] | None,
        record: Recording | None,
    ) -> list[Tensor]:
        asked, own = self.conditions(condition, len(graphs)), self.card.data.get("coarsen", 1)
        if steering.guidance != 1 and asked is None:
            raise ValueError("guidance needs a condition to follow")
        jobs = []
        for k, graph in enumerate(graphs):
            if asked is not None:
                graph = copy(graph)
                graph.condition = asked[k : k + 1]
            jobs.append(Job(data=graph, key=(k,) if own == 1 else (k, own)))  # resolutions have noise of their own
        self.draw_all(jobs, self.channels, seed, steering, progress, record)
        self.evaluations = max((job.evaluations for job in jobs), default=0)
        self.trajectories = [job.trajectory for job in jobs if job.trajectory is not None]
        return [torch.from_numpy(job.signal) for job in jobs if job.signal is not None]


def _on_whole(energy: Energy) -> Energy:
    """An energy of whole signals as one of details."""

    def bound(operator: LaplacianOperator, batch: Batch) -> Callable[[Tensor], Tensor]:
        whole = energy(operator, batch)
        return lambda x: whole(x + batch.base)

    return bound
