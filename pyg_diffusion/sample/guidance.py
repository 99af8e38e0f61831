"""Denoisers that steer: towards a condition, or down an energy. A sampler takes them as it takes any denoiser."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser, Parts
from ..network import Network
from ..sde import LinearSDE
from ..spectral import LaplacianOperator


class Steered:
    """A denoiser whose estimate is changed; process, preconditioning, projection and start are its own.

    Example:
        >>> from pyg_diffusion.sample import Steered
        >>> from pyg_diffusion.testing import gaussian_example
        >>> class Halved(Steered):
        ...     def denoise(self, operator, w_t, t, context=None):
        ...         return 0.5 * self.denoiser.denoise(operator, w_t, t, context)
        >>> denoiser, L, noise = gaussian_example()
        >>> Halved(denoiser).sde is denoiser.sde
        True
    """

    def __init__(self, denoiser: "Denoiser | Steered"):
        self.denoiser = denoiser

    @property
    def sde(self) -> LinearSDE:
        return self.denoiser.sde

    @property
    def net(self) -> Network:
        return self.denoiser.net

    @property
    def centered(self) -> bool:
        return self.denoiser.centered

    def parts(self, t: Tensor) -> Parts:
        return self.denoiser.parts(t)

    def project(self, operator: LaplacianOperator, w: Tensor) -> Tensor:
        return self.denoiser.project(operator, w)

    def start(self, operator: LaplacianOperator, t: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        return self.denoiser.start(operator, t, noise)

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        return self.denoiser.denoise(operator, w_t, t, context)

    def slope(self, operator: LaplacianOperator, x_t: Tensor, t: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        return self.denoiser.slope(operator, x_t, t, context)


class ClassifierFree(Steered):
    """D = D_∅ + w (D_c - D_∅), Ho and Salimans 2022: w = 0 ignores the condition, 1 obeys it, more exaggerates it.

    Two network calls, or one where w is 0 or 1.

    Args:
        denoiser: trained with its condition dropped now and then.
        weight: w.
        unconditional: the context without the condition; the sampler's `context` has it.

    Example:
        >>> from pyg_diffusion.sample import Ancestral, ClassifierFree, Counted, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> counted = Counted(denoiser)
        >>> guided = ClassifierFree(counted, 2.0, unconditional=None)
        >>> made = Ancestral().sample(guided, L, time_grid(4), noise, context=None)
        >>> counted.evaluations
        10
    """

    def __init__(self, denoiser: Denoiser | Steered, weight: float, unconditional: Any):
        super().__init__(denoiser)
        self.weight, self.unconditional = weight, unconditional

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        if self.weight == 1:
            return self.denoiser.denoise(operator, w_t, t, context)
        free = self.denoiser.denoise(operator, w_t, t, self.unconditional)
        if self.weight == 0:
            return free
        return torch.lerp(free, self.denoiser.denoise(operator, w_t, t, context), self.weight)


class EnergyGuided(Steered):
    r"""Samples near p(S_0) e^{-E(S_0)} for a differentiable E: D ← D - Cov ∇E(D), with Cov = c_out²(L).

    The score of e^{-E(D(S_t))} adds -(σ²/φ) ∂D/∂S_t ∇E to D, and (σ²/φ) ∂D/∂S_t = Cov(S_0 | S_t), for which stands that of
    Gaussian data with the spectrum p. So no gradient runs through the network, and no step is larger than what is still
    unknown of S_0. First order in E: exact for linear E on Gaussian data.

    Args:
        denoiser: any.
        energy: E of a flat signal in the data's units, `[num_nodes, C] -> [num_graphs]` or a scalar sum, in units of kT.
        limit: largest change of a node per call, in the data's units, which keeps steep penalties stable.

    Raises:
        ValueError: limit <= 0; while sampling: a gradient that is not finite.

    Example:
        >>> from pyg_diffusion.sample import EnergyGuided, Exponential, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> start = noise()
        >>> def wish(x):  # large values
        ...     return -2.0 * x.sum()
        >>> plain, guided = (
        ...     Exponential(2).sample(d, L, time_grid(20), lambda: start) for d in (denoiser, EnergyGuided(denoiser, wish))
        ... )
        >>> bool((guided > plain).all())
        True
    """

    def __init__(self, denoiser: Denoiser | Steered, energy: Callable[[Tensor], Tensor], limit: float = float("inf")):
        super().__init__(denoiser)
        if limit <= 0:
            raise ValueError(f"limit must be > 0, got {limit}")
        self.energy, self.limit = energy, limit

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        d = self.denoiser.denoise(operator, w_t, t, context)
        with torch.enable_grad():
            x = operator.from_work(d.detach()).requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(x).sum(), x)
        if not bool(torch.isfinite(gradient).all()):
            raise ValueError("the energy's gradient is not finite")
        c_out = self.parts(t).c_out
        move = operator.combine((lambda lam: c_out(lam) ** 2, operator.to_work(gradient)))
        if self.limit < float("inf"):
            nodes = operator.from_work(move)
            length = nodes.norm(dim=1, keepdim=True)
            move = operator.to_work(nodes * (self.limit / length.clamp_min(self.limit)))
        return d - self.project(operator, move)
