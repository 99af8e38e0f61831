r"""The probability-flow ODE by a solver that controls its error.

In u = S / √(φ²p + σ²) the flow's linear part is gone (`likelihood`), and only what the network adds is integrated:

    du/dt = β κ (D - c_skip S),    κ = -½ g² φ / (σ² √(φ²p + σ²))

so Gaussian data with the spectrum p, where D = c_skip S, take no more steps than the solver needs to find that out.
"""

from collections.abc import Iterator
from typing import Any

import torch
from scipy.integrate import RK45
from torch import Tensor

from ..spectral import ExactOperator
from .sampler import Moment, Sampler, StepContext

MOST = 10_000  # network evaluations from one time to the next; a flow that asks for more is not followed to its end


class ODE(Sampler):
    """dS/dt = β (A S + B D(S, t)) in steps chosen by Dormand and Prince's pair of orders 4 and 5 (`scipy.integrate.RK45`).

    Of a grid of times it needs the ends alone. u has variance 1 in every mode, so the tolerance, relative and absolute, is a
    share of what a mode varies by. The graphs of a batch take the same steps, short enough for each of them; so what becomes
    of one depends on the others, within the tolerance.

    Args:
        tolerance: of the error of one step in u, root mean square over the modes and channels of a graph, in (0, 1).

    Raises:
        ValueError: the tolerance is out of range; while sampling, that the flow cannot be followed.

    Example:
        >>> from pyg_diffusion.sample import parse_sampler
        >>> parse_sampler("ode:1e-4")
        ODE(tolerance=0.0001)
    """

    calls = 6  # of a step, accepted or not
    adaptive = True
    deterministic = True

    def __init__(self, tolerance: float = 1e-3):
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
        self.tolerance = tolerance

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        *_, last = self.between(x_t, context)
        return last.signal

    def between(self, x_t: Tensor, context: StepContext) -> Iterator[Moment]:
        """Where each step that the solver takes ends, the last at s."""
        flow = _Flow(x_t, context)
        if not bool(x_t.isfinite().all()):
            raise flow.lost(float(context.t))
        allowed = self.tolerance * flow.share
        solver = RK45(flow, float(context.t), flow.start, float(context.s), rtol=allowed, atol=allowed)
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                raise flow.lost(solver.t)
            yield flow.latest  # the pair's last evaluation of a step that is accepted is at its end

    def moments(self, grid: Tensor) -> int | None:
        return None

    def __repr__(self) -> str:
        return f"ODE(tolerance={self.tolerance})"


class _Flow:
    """du/dt as the solver takes it: a vector of the entries of u that are signal, without padding.

    Attributes:
        start: u at t.
        share: an error of so much, root mean square over all graphs, is at most 1 in any one of them.
    """

    def __init__(self, x_t: Tensor, context: StepContext):
        self.context, self.like = context, x_t
        operator = context.operator
        if isinstance(operator, ExactOperator):
            self.kept, counts = operator.mode_mask, operator.mode_mask.sum(1)
        else:
            self.kept, counts = torch.ones(len(x_t), dtype=torch.bool, device=x_t.device), operator.sizes
        self.share = float((counts[counts > 0].min() / counts.sum()).sqrt())
        self.evaluations = 0
        self.latest = Moment(context.t, x_t, context.denoised)
        parts = context.parts(context.t)
        self.start = self.vector(operator.combine((lambda lam: 1 / parts.std(lam), x_t)))

    def vector(self, u: Tensor) -> Any:
        """Of what `RK45` takes, float64."""
        return u[self.kept].flatten().double().cpu().numpy()

    def signal(self, t: Tensor, y: Any) -> Tensor:
        """S_t from u."""
        u = torch.zeros_like(self.like)
        u[self.kept] = torch.from_numpy(y).to(u).view(-1, u.size(-1))
        return self.context.operator.combine((self.context.parts(t).std, u))

    def lost(self, t: float) -> ValueError:
        return ValueError(
            f"the probability flow cannot be followed beyond t = {t:.3g}, after {self.evaluations} evaluations of the "
            "network: is the tolerance too small, or are the input or the weights not finite?"
        )

    def __call__(self, t: float, y: Any) -> Any:
        sde, operator, time = self.context.sde, self.context.operator, self.context.t.new_tensor(t)
        parts = self.context.parts(time)
        if self.evaluations or t != float(self.context.t):  # there D is known
            x = self.signal(time, y)
            self.latest = Moment(time, x, self.context.denoise(x, time))
        self.evaluations += 1

        def on_d(lam: Tensor) -> Tensor:
            rate = -0.5 * sde.schedule.rate(time) * sde.diffusion2(lam).unsqueeze(-1)
            return rate * parts.phi(lam) / (parts.sigma(lam) ** 2 * parts.std(lam))

        x, d = self.latest.signal, self.latest.denoised
        slope = operator.combine((on_d, d), (lambda lam: -on_d(lam) * parts.c_skip(lam), x))
        if self.evaluations > MOST or not bool(slope.isfinite().all()):
            raise self.lost(t)
        return self.vector(slope)
