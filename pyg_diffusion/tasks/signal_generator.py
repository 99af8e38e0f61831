"""SignalGenerator: signals on given graphs from noise, whatever their task."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ..denoise import Denoiser
from ..generate import UNSTEERED, DrawsSignals, Energy, GraphGenerator, Job, Steering
from ..sample import Exponential, Recording, Trajectory
from ..weights_io import Card

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
        evaluations: network evaluations that every signal of the latest `sample` took.
        trajectories: of the signals of the latest `sample`, where it was told to record them.
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

    def default_sampler(self) -> DrawsSignals:
        return Exponential(2)

    @abstractmethod
    def graph(self) -> Data:
        """The graph that all training signals share.

        Raises:
            ValueError: there is no such graph.
        """

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
        asked = self.conditions(condition, len(graphs))
        if steering.guidance != 1 and asked is None:
            raise ValueError("guidance needs a condition to follow")
        jobs = []
        for k, graph in enumerate(graphs):
            if asked is not None:
                graph = copy(graph)
                graph.condition = asked[k : k + 1]
            jobs.append(Job(data=graph, key=(k,)))
        self.draw_all(jobs, self.channels, seed, steering, progress, record)
        self.evaluations = max((job.evaluations for job in jobs), default=0)
        self.trajectories = [job.trajectory for job in jobs if job.trajectory is not None]
        return [torch.from_numpy(job.signal) for job in jobs if job.signal is not None]
