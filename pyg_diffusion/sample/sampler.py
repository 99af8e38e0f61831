"""The loop that every sampler shares, in the operator's working coordinates."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser, Parts
from ..sde import LinearSDE
from ..spectral import LaplacianOperator
from .guidance import Steered


@dataclass
class StepContext:
    """What one step s < t may use. Signals are in the operator's working coordinates.

    Attributes:
        operator, sde, s, t: L, the process and the two times; `operator.combine` adds up the terms f_i(L) w_i of a step.
        denoised: D(S_t, t).
        previous: (t, D) of the times before, the latest first, as many as the sampler's `memory`.
        noise: draws white noise, the global translation projected out where the denoiser does so.
        denoise: D(w, t) for a step that needs the network once more.
        parts: of a time φ, σ, and p, the spectrum of the data, which scales errors.

    Example:
        >>> from pyg_diffusion.sample import Sampler, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> class Times(Sampler):
        ...     def step(self, x_t, context):
        ...         print(f"from {float(context.t)} to {float(context.s)}")
        ...         return context.operator.combine((context.sde.mean(context.s), context.denoised))
        >>> made = Times().sample(*gaussian_example()[:2], time_grid(2), gaussian_example()[2])
        from 1.0 to 0.5
        from 0.5 to 0.0
    """

    operator: LaplacianOperator
    sde: LinearSDE
    s: Tensor
    t: Tensor
    denoised: Tensor
    previous: list[tuple[Tensor, Tensor]]
    noise: Callable[[], Tensor]
    denoise: Callable[[Tensor, Tensor], Tensor]
    parts: Callable[[Tensor], Parts]


@dataclass
class Moment:
    """Where a sampler stands: the time t, S_t and D(S_t, t), both in the operator's working coordinates.

    Example:
        >>> from pyg_diffusion.sample import Ancestral, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> [float(moment.t) for moment in Ancestral().iterate(denoiser, L, time_grid(4), noise)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    t: Tensor
    signal: Tensor
    denoised: Tensor


class Sampler(ABC):
    """S_t, D(S_t, t) -> S_s, repeated over a grid of times; the last D is the sample.

    Attributes:
        calls: network calls of one step, that for D(S_t, t) included; the last time takes one more. What a sample took is
            counted (`Counted`): a first step may need more, and guidance doubles it.
        memory: how many earlier estimates a step wants to see.
        adaptive: it chooses its steps itself, and of a grid needs the ends alone.
        deterministic: noise enters at the start alone.

    Raises:
        ValueError: `iterate` and `sample` refuse times that do not decrease, and a negative or infinite temperature.

    Example:
        >>> from pyg_diffusion.sample import Sampler, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> class Mean(Sampler):  # S_s = φ_s D, which forgets S_t
        ...     def step(self, x_t, context):
        ...         return context.operator.combine((context.sde.mean(context.s), context.denoised))
        >>> denoiser, L, noise = gaussian_example()
        >>> Mean().sample(denoiser, L, time_grid(10), noise).shape
        torch.Size([6, 2])
    """

    calls: int = 1
    memory: int = 0
    adaptive: bool = False
    deterministic: bool = False

    @abstractmethod
    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        """S_s from S_t."""

    def between(self, x_t: Tensor, context: StepContext) -> Iterator[Moment]:
        """What the path shows after t, the last at s."""
        x_s = self.step(x_t, context)
        yield Moment(context.s, x_s, context.denoise(x_s, context.s))

    def moments(self, grid: Tensor) -> int | None:
        """How many a path has; None where that shows on the way."""
        return grid.numel()

    @torch.no_grad()
    def iterate(
        self,
        denoiser: Denoiser | Steered,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        temperature: float = 1.0,
    ) -> Iterator[Moment]:
        """The path, time by time; nothing of it is kept.

        Args:
            denoiser: a `Denoiser`, or one that steers it (`guidance`, `inpainting`).
            operator: any backend.
            grid: decreasing times `[steps + 1]`, all > 0 in τ.
            noise: draws white node signals `[num_nodes, C]`.
            context: handed to the network.
            temperature: θ; every draw is scaled by √θ. For Gaussian data that samples the density to the power 1/θ.
        """
        if grid.dim() != 1 or grid.numel() < 1 or not bool((grid.diff() < 0).all()):
            raise ValueError("a time grid must be one decreasing vector")
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature must be finite and >= 0, got {temperature}")

        def draw() -> Tensor:
            return denoiser.project(operator, operator.to_work(noise())) * math.sqrt(temperature)

        def denoise(w: Tensor, t: Tensor) -> Tensor:
            return denoiser.denoise(operator, w, t, context)

        grid = grid.to(operator.device, operator.dtype)
        x = denoiser.start(operator, grid[0], draw)
        moment = Moment(grid[0], x, denoise(x, grid[0]))
        yield moment
        previous: list[tuple[Tensor, Tensor]] = []
        for t, s in pairwise(grid):
            x, d = moment.signal, moment.denoised
            step = StepContext(operator, denoiser.sde, s, t, d, previous, draw, denoise, denoiser.parts)
            for moment in self.between(x, step):
                yield moment
            previous = [(t, d), *previous][: self.memory]

    def sample(
        self,
        denoiser: Denoiser | Steered,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        temperature: float = 1.0,
        watch: Callable[[Moment], object] | None = None,
    ) -> Tensor:
        """Ŝ_0 `[num_nodes, C]`, the last D of `iterate` (see there), by `calls` × steps + 1 network calls.

        Args:
            watch: is shown every moment of the path, such as `trajectory.Recorder`.
        """
        last = None
        for moment in self.iterate(denoiser, operator, grid, noise, context, temperature):
            last = moment.denoised
            if watch is not None:
                watch(moment)
        assert last is not None  # the grid has at least one time
        return operator.from_work(last)
