"""Times to sample at: as functions of what each needs, and by the names in `registry.GRIDS`, of a `GridRequest`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import minimize
from torch import Tensor

from ..sde import LinearSDE
from ..spectral import LaplacianOperator
from .sampler import Sampler


def time_grid(steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """`steps + 1` times from `start` down to `end`, even in t (so even in log τ under `GeometricTime`).

    Raises:
        ValueError: steps < 1.

    Example:
        >>> from pyg_diffusion.sample import time_grid
        >>> time_grid(4)
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000])
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, got {steps}")
    return torch.linspace(start, end, steps + 1)


def geometric_grid(sde: LinearSDE, steps: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Times even in log τ, whatever the schedule; under `GeometricTime` those of `time_grid`.

    Raises:
        ValueError: steps < 1, or an end where τ = 0.

    Example:
        >>> from pyg_diffusion.sample import geometric_grid
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> sde = LinearSDE(GeometricTime(1e-4, 1.0))
        >>> [round(tau, 6) for tau in sde.schedule.tau(geometric_grid(sde, 4)).tolist()]
        [1.0, 0.1, 0.01, 0.001, 0.0001]
    """
    low, high = (float(sde.schedule.tau(torch.tensor(t, dtype=torch.float64))) for t in (end, start))
    if low <= 0:
        raise ValueError(f"a geometric grid has no end at τ = {low:g}; end where τ > 0")
    share = time_grid(steps, 1.0, 0.0).double()
    return _ends(sde.schedule.t(torch.exp(math.log(low) + share * math.log(high / low))), start, end)


def tau_grid(sde: LinearSDE, steps: int, start: float = 1.0, end: float = 0.0, power: float = 1.0) -> Tensor:
    """Times even in τ^{1/power}: 1 is even in τ; 7 is the choice of Karras et al. 2022 for σ, which is √τ there, so 3.5.

    Raises:
        ValueError: steps < 1 or power <= 0.

    Example:
        >>> from pyg_diffusion.sample import tau_grid
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> sde = LinearSDE(GeometricTime(1e-4, 1.0))
        >>> [round(tau, 2) for tau in sde.schedule.tau(tau_grid(sde, 4)).tolist()]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if power <= 0:
        raise ValueError(f"power must be > 0, got {power}")
    share = time_grid(steps, 1.0, 0.0).double()
    low, high = (sde.schedule.tau(torch.tensor(t, dtype=torch.float64)) ** (1 / power) for t in (end, start))
    return _ends(sde.schedule.t((low + share * (high - low)) ** power), start, end)


def log_snr_grid(sde: LinearSDE, steps: int, lam: float, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Times even in the half log-SNR ℓ = log φ - log σ of the mode λ, found by bisection (ℓ falls with t).

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import log_snr_grid
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> sde = LinearSDE(GeometricTime(1e-4, 1.0))
        >>> grid = log_snr_grid(sde, 5, lam=2.0)
        >>> steps = sde.half_log_snr(grid)(torch.tensor(2.0, dtype=torch.float64)).diff()
        >>> torch.allclose(steps, steps.mean().expand(5))
        True
    """
    wanted_ends = time_grid(steps, 0.0, 1.0).double()
    at = torch.tensor([[lam]], dtype=torch.float64)

    def ell(t: Tensor) -> Tensor:
        return sde.half_log_snr(t.double()[:, None])(at).squeeze(1)

    first, last = ell(torch.tensor([start])), ell(torch.tensor([end]))
    wanted = first + wanted_ends * (last - first)
    low, high = torch.full_like(wanted, end), torch.full_like(wanted, start)
    for _ in range(60):
        middle = (low + high) / 2
        above = ell(middle) > wanted  # too little noise: later
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return _ends((low + high) / 2, start, end)


def optimised_grid(
    sampler: Sampler,
    denoiser: Any,
    operator: LaplacianOperator,
    steps: int,
    noise: Tensor,
    context: Any = None,
    start: float = 1.0,
    end: float = 0.0,
    fine: int = 100,
    trials: int = 40,
) -> Tensor:
    r"""The grid of so many steps that takes a deterministic sampler closest to where many steps take it.

    The density of times is e^{au + bu²} in u ∈ [-1, 1], t = (start + end)/2 + u (start - end)/2; a and b are found by
    Nelder-Mead from the even grid, so the result is never worse than that on the draw it was fitted to.

    Args:
        sampler: deterministic, such as `Exponential` or `DDIM(0)`, and of fixed steps.
        denoiser, operator, context: as for `Sampler.iterate`.
        noise: one white draw to start from, `[num_nodes, C]`, of graphs like those to come.
        fine: steps of the path that counts as exact, even in t.
        trials: grids tried, `steps + 1` network calls each.

    Example:
        >>> from pyg_diffusion.sample import Exponential, optimised_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> grid = optimised_grid(Exponential(2), denoiser, L, 4, noise(), fine=20, trials=5)
        >>> grid.shape, bool((grid.diff() < 0).all())
        (torch.Size([5]), True)
    """

    def run(grid: Tensor) -> Tensor:
        return sampler.sample(denoiser, operator, grid, lambda: noise, context)

    exact = run(time_grid(fine, start, end))
    u = torch.linspace(1, -1, 401, dtype=torch.float64)

    def grid(shape: Sequence[float]) -> Tensor:
        density = torch.exp(shape[0] * u + shape[1] * u**2)
        mass = torch.cat([torch.zeros(1, dtype=torch.float64), ((density[1:] + density[:-1]) / 2).cumsum(0)])
        wanted = time_grid(steps, 0.0, 1.0).double() * mass[-1]
        k = torch.searchsorted(mass, wanted).clamp(1, len(u) - 1)
        at = u[k - 1] + (wanted - mass[k - 1]) / (mass[k] - mass[k - 1]) * (u[k] - u[k - 1])
        return _ends((start + end) / 2 + at * (start - end) / 2, start, end)

    def error(shape: Sequence[float]) -> float:
        return float((run(grid(shape)) - exact).square().mean())

    simplex = [[0.0, 0.0], [0.7, 0.0], [0.0, 0.7]]
    bounds = [(-6, 6)] * 2  # beyond, times would coincide
    options = {"maxfev": trials, "initial_simplex": simplex}
    found = minimize(error, [0.0, 0.0], method="Nelder-Mead", bounds=bounds, options=options)
    return grid(found.x)


def _ends(grid: Tensor, start: float, end: float) -> Tensor:
    grid = grid.clone()
    grid[0], grid[-1] = start, end
    return grid


@dataclass(frozen=True)
class GridRequest:
    """What a grid by name is made for.

    Attributes:
        steps, start, end: so many steps between two times.
        sampler, denoiser: what samples what.
        operator, noise, context: of graphs like those to come, as for `optimised_grid`.

    Example:
        >>> from pyg_diffusion.sample import GRIDS, Exponential, GridRequest
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> asked = GridRequest(2, 1.0, 0.0, Exponential(2), denoiser, L, noise())
        >>> [round(t, 3) for t in GRIDS["geometric"](asked).tolist()]
        [1.0, 0.5, 0.0]
    """

    steps: int
    start: float
    end: float
    sampler: Any
    denoiser: Any
    operator: LaplacianOperator
    noise: Tensor
    context: Any = None


def geometric(asked: GridRequest) -> Tensor:
    """`geometric_grid`."""
    return geometric_grid(asked.denoiser.sde, asked.steps, asked.start, asked.end)


def tau(asked: GridRequest, power: float = 1.0) -> Tensor:
    """`tau_grid`."""
    return tau_grid(asked.denoiser.sde, asked.steps, asked.start, asked.end, power)


def log_snr(asked: GridRequest, lam: float = 2.0) -> Tensor:
    """`log_snr_grid` of one λ for all graphs, so that no graph's times depend on its batch; 2 is the mean λ of a chain."""
    return log_snr_grid(asked.denoiser.sde, asked.steps, lam, asked.start, asked.end)


def optimised(asked: GridRequest, trials: int = 40) -> Tensor:
    """`optimised_grid`."""
    return optimised_grid(
        asked.sampler, asked.denoiser, asked.operator, asked.steps, asked.noise, asked.context, asked.start, asked.end,
        trials=trials,
    )  # fmt: skip
