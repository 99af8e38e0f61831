"""DDIM(η), from deterministic (η = 0) to ancestral (η = 1)."""

from torch import Tensor

from .sampler import Sampler, StepContext


class DDIM(Sampler):
    """S_s = φ_s D + √(σ_s² - η²V) ε̂ + η √V z, with V the posterior variance and ε̂ = (S_t - φ_t D)/σ_t.

    With A the posterior's weight of S_t, σ_s² - V = A² σ_t², which does not cancel where a step forgets a mode (V → σ_s²).
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
        on_x, _, variance = (context.value(kernel) for kernel in sde.posterior(s, t))
        drawn = self.eta**2 * variance
        kept = ((1 - self.eta**2) * context.value(sde.var(s)) + self.eta**2 * on_x**2 * context.value(sde.var(t))).sqrt()
        x_s = context.value(sde.mean(s)) * context.denoised + kept * eps
        return x_s + drawn.sqrt() * context.noise() if self.eta else x_s

    def __repr__(self) -> str:
        return f"DDIM(eta={self.eta})"
