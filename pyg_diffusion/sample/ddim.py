"""DDIM(η), from deterministic (η = 0) to ancestral (η = 1)."""

from torch import Tensor

from .sampler import Sampler, StepContext


class DDIM(Sampler):
    """S_s = φ_s D + √(σ_s² - η²V) ε̂ + η √V z, with V the posterior variance and ε̂ = (S_t - φ_t D)/σ_t.

    Song, Meng and Ermon 2021, in every mode. η = 1 equals `Ancestral` in law, η = 0 the first-order exponential integrator.

    Args:
        eta: share of the posterior's standard deviation that is drawn anew, in [0, 1].
    """

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta = eta

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t = context.sde, context.s, context.t
        eps = (x_t - context.value(sde.mean(t)) * context.denoised) / context.value(sde.std(t))
        drawn = self.eta**2 * context.value(sde.posterior(s, t)[2])
        kept = (context.value(sde.var(s)) - drawn).clamp_min(0).sqrt()
        x_s = context.value(sde.mean(s)) * context.denoised + kept * eps
        return x_s + drawn.sqrt() * context.noise() if self.eta else x_s

    def __repr__(self) -> str:
        return f"DDIM(eta={self.eta})"
