"""The loop that every sampler shares, in the operator's working coordinates."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..sde import LinearSDE
from ..spectral import LaplacianOperator, Term


def time_grid(steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """`steps + 1` times from `start` down to `end`, even in t (so even in log τ under `GeometricTime`)."""
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, got {steps}")
    return torch.linspace(start, end, steps + 1)


@dataclass
class StepContext:
    """What one step s < t may use. Signals are in the operator's working coordinates.

    Attributes:
        sde, s, t: the process and the two times.
        denoised: D(S_t, t).
        previous: (t of the step before, its D), or None on the first step.
        noise: draws white noise, the global translation projected out where the denoiser does so.
    """

    sde: LinearSDE
    s: Tensor
    t: Tensor
    denoised: Tensor
    previous: tuple[Tensor, Tensor] | None
    noise: Callable[[], Tensor]


class Sampler(ABC):
    """S_t, D(S_t, t) -> S_s, repeated over a grid of times; the last D is returned."""

    @abstractmethod
    def step(self, x_t: Tensor, context: StepContext) -> list[Term]:
        """S_s = Σ_i f_i(L) w_i as its terms (f_i, w_i); the operator adds them up in one pass."""

    def initial(self, denoiser, t: Tensor, noise: Tensor) -> list[Term]:
        """N(0, φ_T² p + σ_T²) in each mode: what the data becomes at T, not the stationary law."""
        return [(denoiser.parts(t).std, noise)]

    @torch.no_grad()
    def sample(
        self,
        denoiser,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Run the grid; `len(grid)` network calls, the last one at the last time.

        Args:
            denoiser: anything with `denoise(operator, w_t, t, context)`, `parts(t)`, `project(operator, w)` and `sde`.
            operator: any backend.
            grid: decreasing times `[steps + 1]`, all > 0 in τ.
            noise: draws white node signals `[num_nodes, C]`.
            context: handed to the network.
            on_step: called with (step, D in working coordinates), for trajectories and progress.

        Returns:
            Ŝ_0, `[num_nodes, C]`.
        """
        if grid.dim() != 1 or grid.numel() < 1 or not bool((grid.diff() < 0).all()):
            raise ValueError("a time grid must be one decreasing vector")

        def draw() -> Tensor:
            return denoiser.project(operator, operator.to_work(noise()))

        grid = grid.to(operator.device, operator.dtype)
        x = operator.combine(*self.initial(denoiser, grid[0], draw()))
        previous = None
        for k, t in enumerate(grid):
            denoised = denoiser.denoise(operator, x, t, context)
            if on_step is not None:
                on_step(k, denoised)
            if k + 1 < len(grid):
                x = operator.combine(*self.step(x, StepContext(denoiser.sde, grid[k + 1], t, denoised, previous, draw)))
            previous = (t, denoised)
        return operator.from_work(denoised)
