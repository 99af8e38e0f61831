"""The exponential integrator of the probability-flow ODE, with a step size of its own in every mode."""

import torch
from torch import Tensor

from ..spectral import Term
from .sampler import Sampler, StepContext


class Exponential(Sampler):
    """S_s = (σ_s/σ_t) S_t + φ_s (1 - e^{-h}) D̃, with h = ℓ_s - ℓ_t and ℓ = log φ - log σ in every mode.

    Order 1 takes D̃ = D(S_t, t). Order 2 extrapolates with the step before, D̃ = D + (D - D_prev) / (2 r), r = h_prev / h:
    DPM-Solver++(2M) of Lu et al. 2022, with a vector of h in the place of a number.

    Args:
        order: 1 or 2.
    """

    def __init__(self, order: int = 2):
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order}")
        self.order = order

    def step(self, x_t: Tensor, context: StepContext) -> list[Term]:
        sde, s, t = context.sde, context.s, context.t

        def h(lam: Tensor) -> Tensor:
            return sde.half_log_snr(s)(lam) - sde.half_log_snr(t)(lam)

        def on_x(lam: Tensor) -> Tensor:
            return sde.std(s)(lam) / sde.std(t)(lam)

        def on_d(lam: Tensor) -> Tensor:
            return -sde.mean(s)(lam) * torch.expm1(-h(lam))

        if self.order == 1 or context.previous is None:
            return [(on_x, x_t), (on_d, context.denoised)]
        t_before, d_before = context.previous

        def extrapolation(lam: Tensor) -> Tensor:
            return on_d(lam) * 0.5 * h(lam) / (sde.half_log_snr(t)(lam) - sde.half_log_snr(t_before)(lam))

        return [(on_x, x_t), (on_d, context.denoised), (extrapolation, context.denoised - d_before)]

    def __repr__(self) -> str:
        return f"Exponential(order={self.order})"
