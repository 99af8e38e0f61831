"""DDIM(η), from deterministic (η = 0) to ancestral (η = 1)."""

from torch import Tensor

from ..spectral import Term
from .sampler import Sampler, StepContext


class DDIM(Sampler):
    """S_s = φ_s D + √(σ_s² - η²V) ε̂ + η √V z, with V the posterior variance and ε̂ = (S_t - φ_t D)/σ_t.

    With A the posterior's weight of S_t, σ_s² - V = A² σ_t², which does not cancel where a step forgets a mode (V → σ_s²).
    Song, Meng and Ermon 2021, in every mode. η = 1 equals `Ancestral` in law, η = 0 the first-order exponential integrator.

    Args:
        eta: share of the posterior's standard deviation that is drawn anew, in [0, 1].

    Raises:
        ValueError: eta outside of [0, 1].

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import DDIM, Exponential, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> start = noise()
        >>> made = [s.sample(denoiser, L, time_grid(10), lambda: start) for s in (DDIM(0.0), Exponential(1))]
        >>> torch.allclose(*made)
        True
    """

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta, self.deterministic = eta, eta == 0

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t = context.sde, context.s, context.t
        on_x, _, variance = sde.posterior(s, t)

        def on_eps(lam: Tensor) -> Tensor:
            return ((1 - self.eta**2) * sde.var(s)(lam) + self.eta**2 * on_x(lam) ** 2 * sde.var(t)(lam)).sqrt()

        def eps_over_x(lam: Tensor) -> Tensor:
            return on_eps(lam) / sde.std(t)(lam)

        def on_denoised(lam: Tensor) -> Tensor:
            return sde.mean(s)(lam) - eps_over_x(lam) * sde.mean(t)(lam)

        terms: list[Term] = [(eps_over_x, x_t), (on_denoised, context.denoised)]
        if self.eta:
            terms.append((lambda lam: self.eta * variance(lam).sqrt(), context.noise()))
        return context.operator.combine(*terms)

    def __repr__(self) -> str:
        return f"DDIM(eta={self.eta})"
