"""Ancestral sampling: the exact posterior with D in the place of S_0."""

from torch import Tensor

from .sampler import Sampler, StepContext


class Ancestral(Sampler):
    """S_s ~ N(F σ_s²/σ_t² S_t + φ_s Q/σ_t² D, σ_s² Q/σ_t²) in every mode (Ho et al. 2020, per mode).

    Example:
        >>> from pyg_diffusion.sample import Ancestral, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()  # fields on a path of 6 nodes
        >>> Ancestral().sample(denoiser, L, time_grid(10), noise).shape
        torch.Size([6, 2])
    """

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        on_x, on_d, variance = context.sde.posterior(context.s, context.t)
        terms = (on_x, x_t), (on_d, context.denoised), (lambda lam: variance(lam).sqrt(), context.noise())
        return context.operator.combine(*terms)

    def __repr__(self) -> str:
        return "Ancestral()"
