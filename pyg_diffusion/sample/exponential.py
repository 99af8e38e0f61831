"""The exponential integrator of the probability-flow ODE, with a step size of its own in every mode."""

import torch
from torch import Tensor

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

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t = context.sde, context.s, context.t
        ell_t = context.value(sde.half_log_snr(t))
        h = context.value(sde.half_log_snr(s)) - ell_t
        denoised = context.denoised
        if self.order == 2 and context.previous is not None:
            t_before, d_before = context.previous
            h_before = ell_t - context.value(sde.half_log_snr(t_before))
            denoised = denoised + (denoised - d_before) * (0.5 * h / h_before)
        ratio = context.value(sde.std(s)) / context.value(sde.std(t))
        return ratio * x_t - context.value(sde.mean(s)) * torch.expm1(-h) * denoised

    def __repr__(self) -> str:
        return f"Exponential(order={self.order})"
