"""The probability-flow ODE by textbook integrators in t: what the exponential integrator is measured against."""

from functools import partial

from torch import Tensor

from ..spectral import Kernel
from .sampler import Sampler, StepContext


class ProbabilityFlow(Sampler):
    """dS/dt = β (A S + B D(S, t)) by Euler (order 1) or Heun (order 2, two network calls a step).

    Unlike `Exponential` they also approximate the linear part. Karras et al. 2022 for Heun.

    Args:
        order: 1 or 2.

    Raises:
        ValueError: another order.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import Exponential, ProbabilityFlow, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> start = noise()
        >>> made = [s.sample(denoiser, L, time_grid(80), lambda: start) for s in (ProbabilityFlow(2), Exponential(2))]
        >>> torch.allclose(*made, atol=0.01)
        True
    """

    deterministic = True

    def __init__(self, order: int = 2):
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order}")
        self.order, self.calls = order, order

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t, operator = context.sde, context.s, context.t, context.operator

        def scaled(kernel: Kernel, at: Tensor, share: float, plus: float = 0.0) -> Kernel:
            step = share * (s - t) * sde.schedule.rate(at)
            return lambda lam: plus + step * kernel(lam)

        on_x, on_d = sde.flow(t)
        euler = operator.combine((scaled(on_x, t, 1.0, 1.0), x_t), (scaled(on_d, t, 1.0), context.denoised))
        if self.order == 1:
            return euler
        on_x_s, on_d_s = sde.flow(s)
        return operator.combine(
            (scaled(on_x, t, 0.5, 1.0), x_t),
            (scaled(on_d, t, 0.5), context.denoised),
            (scaled(on_x_s, s, 0.5), euler),
            (scaled(on_d_s, s, 0.5), context.denoise(euler, s)),
        )

    def __repr__(self) -> str:
        return f"ProbabilityFlow(order={self.order})"


euler, heun = partial(ProbabilityFlow, 1), partial(ProbabilityFlow, 2)
