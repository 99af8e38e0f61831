"""The loop that every sampler shares, in mode space."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..sde import LinearSDE
from ..spectral import ExactOperator


def time_grid(steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """`steps + 1` times from `start` down to `end`, even in t (so even in log τ under `GeometricTime`)."""
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, got {steps}")
    return torch.linspace(start, end, steps + 1)


@dataclass
class StepContext:
    """What one step s < t may use. All values are kernel values or modes on the operator's eigenvalues.

    Attributes:
        sde, eigenvalues, s, t: the process, λ `[num_graphs, M]`, and the two times.
        denoised: D(S_t, t), modes `[num_graphs, M, C]`.
        previous: (t of the step before, its D), or None on the first step.
        noise: draws white noise shaped as `denoised`, the global translation projected out where the denoiser does so.
    """

    sde: LinearSDE
    eigenvalues: Tensor
    s: Tensor
    t: Tensor
    denoised: Tensor
    previous: tuple[Tensor, Tensor] | None
    noise: Callable[[], Tensor]

    def value(self, kernel) -> Tensor:
        """Kernel values with a channel axis, `[num_graphs, M, 1]`."""
        return kernel(self.eigenvalues).unsqueeze(-1)


class Sampler(ABC):
    """S_t, D(S_t, t) -> S_s, repeated over a grid of times; the last D is returned."""

    @abstractmethod
    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        """S_s from S_t, modes `[num_graphs, M, C]`."""

    def initial(self, denoiser, operator: ExactOperator, t: Tensor, noise: Tensor) -> Tensor:
        """N(0, φ_T² p + σ_T²) in each mode: what the data becomes at T, not the stationary law."""
        return denoiser.parts(operator, t).total.sqrt() * noise

    @torch.no_grad()
    def sample(
        self,
        denoiser,
        operator: ExactOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Run the grid; `len(grid)` network calls, the last one at the last time.

        Args:
            denoiser: anything with `modes(operator, s_t, t, context)`, `parts(operator, t)`, `project(modes)` and `sde`.
            grid: decreasing times `[steps + 1]`, all > 0 in τ.
            noise: draws white node signals `[num_nodes, C]`.
            context: handed to the network.
            on_step: called with (step, D as modes), for trajectories and progress.

        Returns:
            Ŝ_0, `[num_nodes, C]`.
        """
        if grid.dim() != 1 or grid.numel() < 1 or not bool((grid.diff() < 0).all()):
            raise ValueError("a time grid must be one decreasing vector")

        def draw() -> Tensor:
            return denoiser.project(operator.to_modes(noise()))

        grid = grid.to(operator.eigenvalues)
        x = self.initial(denoiser, operator, grid[0], draw())
        previous = None
        for k, t in enumerate(grid):
            denoised = denoiser.modes(operator, x, t, context)
            if on_step is not None:
                on_step(k, denoised)
            if k + 1 < len(grid):
                x = self.step(x, StepContext(denoiser.sde, operator.eigenvalues, grid[k + 1], t, denoised, previous, draw))
            previous = (t, denoised)
        return operator.from_modes(denoised)
