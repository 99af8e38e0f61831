"""The exponential integrator of the probability-flow ODE, with a step size of its own in every mode."""

from functools import partial

import torch
from torch import Tensor

from ..spectral import Kernel, Term
from .sampler import Sampler, StepContext


class Exponential(Sampler):
    r"""S_s = (σ_s/σ_t) S_t + σ_s ∫ e^ℓ D dℓ over [ℓ_t, ℓ_s], ℓ = log φ - log σ, the linear part exact in every mode.

    D is extrapolated in ℓ by the polynomial through the last `order` estimates, so that with h = ℓ_s - ℓ_t

        order 1:  φ_s (1 - e^{-h}) D
        order 2:  φ_s (1 - e^{-h}) (D + ½ h D'),           D' = (D - D_prev) / h_prev
        order 3:  φ_s [(1 - e^{-h}) D + (h - 1 + e^{-h}) D' + (½ h² - h + 1 - e^{-h}) D'']

    These are the multistep DPM-Solver++ of Lu et al. 2022, with a vector of h in the place of a number. Order 3 starts with
    one single step of second order, which takes one more network call.

    Args:
        order: 1, 2 or 3.

    Raises:
        ValueError: another order.

    Example:
        >>> from pyg_diffusion.sample import Exponential, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> start = noise()
        >>> exact = Exponential(3).sample(denoiser, L, time_grid(80), lambda: start)
        >>> def error(order):
        ...     return float((Exponential(order).sample(denoiser, L, time_grid(10), lambda: start) - exact).norm())
        >>> error(3) < error(2) < error(1)
        True
    """

    deterministic = True

    def __init__(self, order: int = 2):
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, got {order}")
        self.order, self.memory = order, order - 1

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t = context.sde, context.s, context.t

        def gap(later: Tensor, earlier: Tensor) -> Kernel:
            return lambda lam: sde.half_log_snr(later)(lam) - sde.half_log_snr(earlier)(lam)

        h = gap(s, t)

        def on_x(lam: Tensor) -> Tensor:
            return sde.std(s)(lam) / sde.std(t)(lam)

        def on_d(lam: Tensor) -> Tensor:
            return -sde.mean(s)(lam) * torch.expm1(-h(lam))

        def on_slope(lam: Tensor) -> Tensor:
            return sde.mean(s)(lam) * (h(lam) + torch.expm1(-h(lam)))

        def on_bend(lam: Tensor) -> Tensor:
            return sde.mean(s)(lam) * (0.5 * h(lam) ** 2 - h(lam) - torch.expm1(-h(lam)))

        d, previous = context.denoised, context.previous
        terms: list[Term] = [(on_x, x_t), (on_d, d)]
        if self.order == 1 or (self.order == 2 and not previous):
            return context.operator.combine(*terms)
        if not previous:  # order 3: a predicted estimate at s in the place of one before t
            ahead = context.denoise(context.operator.combine(*terms), s) - d
            return context.operator.combine(*terms, (lambda lam: on_slope(lam) / h(lam), ahead))
        t_1, d_1 = previous[0]
        h_1 = gap(t, t_1)
        if self.order == 2:
            return context.operator.combine(*terms, (lambda lam: on_d(lam) * 0.5 * h(lam) / h_1(lam), d - d_1))
        if len(previous) == 1:
            return context.operator.combine(*terms, (lambda lam: on_slope(lam) / h_1(lam), d - d_1))
        # Newton's divided differences: D' = δ₁ + h₁ δ₂, D'' = 2 δ₂ with δ₂ = (δ₁ - δ₁') / (h₁ + h₂)
        t_2, d_2 = previous[1]
        h_2 = gap(t_1, t_2)

        def on_second(lam: Tensor) -> Tensor:
            return (h_1(lam) * on_slope(lam) + 2 * on_bend(lam)) / (h_1(lam) + h_2(lam))

        return context.operator.combine(
            *terms,
            (lambda lam: (on_slope(lam) + on_second(lam)) / h_1(lam), d - d_1),
            (lambda lam: -on_second(lam) / h_2(lam), d_1 - d_2),
        )

    def __repr__(self) -> str:
        return f"Exponential(order={self.order})"


exponential1, exponential2, exponential3 = partial(Exponential, 1), partial(Exponential, 2), partial(Exponential, 3)
