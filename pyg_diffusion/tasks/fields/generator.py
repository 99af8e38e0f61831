"""FieldGenerator: weights + process + sampler, from noise to fields on a grid."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ...data.field_file import grid_of
from ...denoise import Denoiser
from ...generate import DrawsSignals, Energy, GraphGenerator, Job, Steering
from ...sample import Exponential, Recording, Trajectory
from ...weights_io import Card


class FieldGenerator(GraphGenerator[Job]):
    """Samples fields on the grid that the weights were trained on.

    Args:
        denoiser, card, sampler, steps, device, compile, grid, temperature: as for `GraphGenerator`; 50 steps by
            `Exponential(2)`: there ancestral sampling loses a quarter of the variance of a Gaussian field, taking D for S_0
            over long steps, the exponential integrator 2 %.
        max_nodes: a batch holds no more than this many nodes; bounds the memory.

    Attributes:
        evaluations: network evaluations that every field of the latest `sample` took.
        trajectories: of the fields of the latest `sample`, where it was told to record them.

    Example:
        >>> from pyg_diffusion import FieldGenerator
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> from pyg_diffusion.weights_io import Card, build_denoiser
        >>> card = Card(
        ...     process={"gamma": 1.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0},
        ...     model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 2, "positions": 2},
        ...     bf16=False,
        ...     data={"kind": "fields", "shape": [8, 8], "kinds": "cycle", "spacing": 1.0, "channels": 2},
        ... )
        >>> untrained = build_denoiser(card, PowerSpectrum.harmonic(1.0))  # `from_pretrained` gives a trained one
        >>> FieldGenerator(untrained, card, steps=5, device="cpu").sample(3, seed=1).shape
        torch.Size([3, 64, 2])
    """

    makes = "fields"
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

    def sample(
        self,
        n: int,
        seed: int = 0,
        condition: Mapping[str, float] | None = None,
        guidance: float = 1.0,
        energy: Energy | None = None,
        energy_limit: float = 0.5,
        fixed: np.ndarray | Tensor | None = None,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> Tensor:
        """n fields `[n, N, C]` on the CPU. The noise of a field depends on (seed, its number) alone, not on the batching.

        Args:
            condition: quantities that the fields should have, by name; what the model was trained with.
            guidance: w of classifier-free guidance.
            energy: called with (L, batch), gives a function E of a signal, per graph or summed (`sample.EnergyGuided`).
            energy_limit: largest change of a node by the energy per evaluation.
            fixed: a field `[N, C]` or `[*shape, C]` of known values, NaN at nodes to generate (`sample.Inpainted`).
            progress: called with the number of fields finished.
            record: keep how they were drawn, in `trajectories`.

        Raises:
            ValueError: an argument is out of range, the model was not conditioned on what is asked, or there is no room for
                so many trajectories.
            RuntimeError: not even one field fits into the memory, or what is to be kept cannot be.
        """
        if n < 1 or seed < 0:
            raise ValueError(f"need n >= 1 and seed >= 0, got {n} and {seed}")
        grid, channels = grid_of(self.card.data), int(self.card.data["channels"])
        nodes = int(grid.num_nodes or 0)
        if fixed is not None:
            known = torch.as_tensor(np.asarray(fixed), dtype=torch.float32)
            if known.numel() != nodes * channels or known.size(-1) != channels:
                raise ValueError(f"fixed must be [{nodes}, {channels}] (NaN where free), got {list(known.shape)}")
            grid.fixed = known.reshape(nodes, channels)
        asked = self.conditions(condition, 1)
        if guidance != 1 and asked is None:
            raise ValueError("guidance needs a condition to follow")
        if asked is not None:
            grid.condition = asked
        jobs = [Job(data=grid, key=(k,)) for k in range(n)]
        self.draw_all(jobs, channels, seed, Steering(guidance, energy, energy_limit), progress, record)
        self.evaluations = max(job.evaluations for job in jobs)
        self.trajectories = [job.trajectory for job in jobs if job.trajectory is not None]
        return torch.from_numpy(np.stack([job.signal for job in jobs if job.signal is not None]))
