"""Predictor-corrector sampling: Langevin steps at every time, preconditioned by Σ_t."""

from torch import Tensor

from .registry import sampler
from .sampler import Sampler, StepContext


class PredictorCorrector(Sampler):
    r"""A predictor's step, then Langevin steps on the marginal at the new time (Song et al. 2021), the same in all modes:

        S ← S + ½ δ Σ_t ∇log q_t(S) + √δ Σ_t^{1/2} z = (1 - ½ δ) S + ½ δ φ D(S, t) + √δ σ z

    A finite δ leaves a bias: for Gaussian data of variance v = φ²p + σ² the steps settle at v / (1 - ¼ δ σ²/v).

    Args:
        predictor: any other sampler.
        corrections: Langevin steps per time, one network call each.
        size: δ, in (0, 2].

    Raises:
        ValueError: no corrections, or a size outside of (0, 2].

    Example:
        >>> from pyg_diffusion.sample import Exponential, PredictorCorrector, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> sampler = PredictorCorrector(Exponential(2), corrections=2)
        >>> sampler.calls, sampler.sample(denoiser, L, time_grid(10), noise).shape
        (3, torch.Size([6, 2]))
    """

    def __init__(self, predictor: Sampler, corrections: int = 1, size: float = 0.2):
        if corrections < 1:
            raise ValueError(f"corrections must be at least 1, got {corrections}")
        if not 0 < size <= 2:
            raise ValueError(f"size must lie in (0, 2], got {size}")
        self.predictor, self.corrections, self.size = predictor, corrections, size
        self.calls, self.memory = predictor.calls + corrections, predictor.memory

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, size = context.sde, context.s, self.size
        x = self.predictor.step(x_t, context)
        for _ in range(self.corrections):
            x = context.operator.combine(
                (lambda lam: (1 - 0.5 * size) + 0 * lam, x),
                (lambda lam: 0.5 * size * sde.mean(s)(lam), context.denoise(x, s)),
                (lambda lam: size**0.5 * sde.std(s)(lam), context.noise()),
            )
        return x

    def __repr__(self) -> str:
        return f"PredictorCorrector({self.predictor}, corrections={self.corrections}, size={self.size})"


def by_name(predictor: str = "ancestral", corrections: int = 1, size: float = 0.2) -> PredictorCorrector:
    """With the predictor of a name in `SAMPLERS`."""
    return PredictorCorrector(sampler(predictor), corrections, size)
