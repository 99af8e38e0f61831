"""Descent of a sequence of energy landscapes, from the smoothest to the sharpest."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..spectral import Kernel, LaplacianOperator
from .guidance import Steered
from .sampler import Moment


def _ratio(above: Kernel, below: Kernel) -> Kernel:
    return lambda lam: above(lam) / below(lam)


@dataclass
class Foothold:
    """Where the descent stands after one step at time t: S_t `[num_nodes, C]`; E and whether it moved, `[num_graphs]`."""

    t: Tensor
    signal: Tensor
    energy: Tensor
    accepted: Tensor


class LandscapeDescent:
    r"""Gradient descent on E(·, t) for one time after the other, each step accepted or rejected graph by graph:

        S ← S - η σ ∂E/∂S  where that does not raise E;    S_s = φ_s/φ_t S_t on to the next time;    Ŝ_0 = S/φ at the last

    in every mode. η, one number per graph, grows where a step was accepted and shrinks where not; η = 1 jumps to the minimum
    of the exact energy, whose Hessian is σ⁻¹. Energies are compared at one time only (Du, Mao and Tenenbaum 2024).

    Args:
        steps: per landscape, one network call each and one more per landscape.
        size: η at the start.
        grow, shrink: factors of η.

    Raises:
        ValueError: steps < 1, size <= 0, grow < 1 or shrink outside of (0, 1).

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.datasets import matrix_data
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import EnergyNet, MatrixNet
        >>> from pyg_diffusion.sample import LandscapeDescent, time_grid
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> sde = LinearSDE(GeometricTime(1e-3, 3.0), gamma=0.0, lambda0=1.0, noise="matched")
        >>> denoiser = Denoiser(EnergyNet(MatrixNet(depth=1)), sde, torch.ones_like)
        >>> data = matrix_data(torch.eye(3), inverse=False)
        >>> descent = LandscapeDescent(steps=2)
        >>> descent.sample(denoiser, laplacian_operator(data), time_grid(3), lambda: torch.randn(9, 1), data.matrix).shape
        torch.Size([9, 1])
    """

    adaptive = False
    deterministic = False  # its path turns where a step is rejected, so that no grid is fitted to it

    def __init__(self, steps: int = 4, size: float = 1.0, grow: float = 1.5, shrink: float = 0.5):
        if steps < 1:
            raise ValueError(f"a landscape takes at least 1 step, got {steps}")
        if size <= 0 or grow < 1 or not 0 < shrink < 1:
            raise ValueError(f"need size > 0, grow >= 1 and 0 < shrink < 1, got {size}, {grow} and {shrink}")
        self.steps, self.size, self.grow, self.shrink = steps, size, grow, shrink

    @torch.no_grad()
    def iterate(
        self,
        denoiser: Denoiser | Steered,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
    ) -> Iterator[Foothold]:
        """The path, step by step. Arguments as for `sample`.

        Raises:
            TypeError: the denoiser's network is no energy.
            ValueError: the energy is not finite where a landscape is entered.
        """
        sde = denoiser.sde
        if grid.dim() != 1 or grid.numel() < 1 or not bool((grid.diff() < 0).all()):
            raise ValueError("a time grid must be one decreasing vector")
        grid = grid.to(operator.device, operator.dtype)
        context = denoiser.net.encode(context, operator)

        def project(x: Tensor) -> Tensor:
            return operator.from_work(denoiser.project(operator, operator.to_work(x))) if denoiser.centered else x

        x = operator.from_work(denoiser.start(operator, grid[0], lambda: operator.to_work(project(noise()))))
        size = torch.full((operator.num_graphs, 1), self.size, dtype=operator.dtype, device=operator.device)
        for k, t in enumerate(grid):
            if k:
                x = operator.apply(_ratio(sde.mean(t), sde.mean(grid[k - 1])), x)
            energy, gradient = denoiser.slope(operator, x, t, context)
            if not bool(torch.isfinite(energy).all()):
                raise ValueError("the energy is not finite: is the input, or are the weights?")
            for _ in range(self.steps):
                trial = x - operator.on_nodes(size) * operator.apply(sde.std(t), project(gradient))
                trial_energy, trial_gradient = denoiser.slope(operator, trial, t, context)
                accepted = trial_energy <= energy  # False for NaN
                here = operator.on_nodes(accepted)[:, None]
                x, gradient = trial.where(here, x), trial_gradient.where(here, gradient)
                energy = trial_energy.where(accepted, energy)
                size = size * torch.where(accepted, self.grow, self.shrink)[:, None]
                yield Foothold(t, x, energy, accepted)

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
        """Ŝ_0 `[num_nodes, C]`.

        Args:
            denoiser: a `Denoiser` of an `EnergyNet`.
            operator: any backend.
            grid: decreasing times, one per landscape, all > 0 in τ.
            noise: draws white node signals `[num_nodes, C]`.
            context: handed to the network.
            temperature: θ; the start is scaled by √θ.
            watch: is shown every step, with S/φ for D.
        """
        for last in self.iterate(denoiser, operator, grid, lambda: noise() * math.sqrt(temperature), context):
            if watch is not None:
                out = operator.solve(denoiser.sde.mean(last.t), last.signal)
                watch(Moment(last.t, operator.to_work(last.signal), operator.to_work(out)))
        return operator.solve(denoiser.sde.mean(last.t), last.signal)

    def moments(self, grid: Tensor) -> int | None:
        """Steps of a path."""
        return grid.numel() * self.steps

    def __repr__(self) -> str:
        return f"LandscapeDescent(steps={self.steps}, size={self.size}, grow={self.grow}, shrink={self.shrink})"
