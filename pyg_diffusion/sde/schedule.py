"""Schedules: the process time τ(t) = ∫₀ᵗ β as a function of t in [0, 1]. They know no graph and no network.

The process is the same whatever the schedule: φ and σ are functions of τ. A schedule decides where time is spent, that is
which τ come often where t is drawn or gridded evenly. By name, with `make_schedule`, each spans τ(0) = tau_min to
τ(1) = tau_max:

    geometric   τ = τ₀ (τ₁/τ₀)ᵗ
    linear      β from 1e-4 to .02, times a number (Ho et al. 2020): τ is quadratic in t
    constant    β constant: τ is linear in t
    cosine      e^{-τ} = cos² of an angle linear in t (Nichol and Dhariwal 2021), for a process with λ₀ = 1 and γ = 0
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from ..registry import Registry, own


class Schedule(ABC):
    """t -> τ(t), increasing on [0, 1]."""

    @abstractmethod
    def tau(self, t: Tensor) -> Tensor:
        """Process time τ(t)."""

    @abstractmethod
    def t(self, tau: Tensor) -> Tensor:
        """The inverse of `tau`."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """β(t) = dτ/dt."""


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """τ = τ₀ + β t."""

    beta: float = 1.0
    tau_min: float = 0.0

    def tau(self, t: Tensor) -> Tensor:
        return self.tau_min + self.beta * t

    def t(self, tau: Tensor) -> Tensor:
        return (tau - self.tau_min) / self.beta

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.beta)


@dataclass(frozen=True)
class LinearRate(Schedule):
    """β(t) = β₀ + (β₁ - β₀) t, τ = τ₀ + β₀ t + ½ (β₁ - β₀) t² (Song et al. 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    tau_min: float = 0.0

    def tau(self, t: Tensor) -> Tensor:
        return self.tau_min + self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def t(self, tau: Tensor) -> Tensor:
        past, slope = (tau - self.tau_min).clamp_min(0), self.beta_max - self.beta_min
        return 2 * past / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * past))

    def rate(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t


@dataclass(frozen=True)
class GeometricTime(Schedule):
    """τ = τ₀ (τ₁/τ₀)ᵗ: equal steps of t are equal factors of τ. τ(0) = τ₀ > 0."""

    tau_min: float = 2e-4
    tau_max: float = 40.0

    def __post_init__(self) -> None:
        _ordered(self)

    def tau(self, t: Tensor) -> Tensor:
        return self.tau_min * torch.exp(t * math.log(self.tau_max / self.tau_min))

    def t(self, tau: Tensor) -> Tensor:
        return torch.log(tau / self.tau_min) / math.log(self.tau_max / self.tau_min)

    def rate(self, t: Tensor) -> Tensor:
        return self.tau(t) * math.log(self.tau_max / self.tau_min)


@dataclass(frozen=True)
class CosineTime(Schedule):
    """e^{-τ} = cos² θ, θ linear in t. Near its end τ runs away: beyond τ = 30 single precision tells no times apart."""

    tau_min: float = 2e-4
    tau_max: float = 40.0

    def __post_init__(self) -> None:
        _ordered(self)

    def _ends(self) -> tuple[float, float, float, float]:
        """θ and its complement ψ, whose digits are those that count where τ is large, at both ends."""
        theta = [math.asin(math.sqrt(-math.expm1(-tau))) for tau in (self.tau_min, self.tau_max)]
        psi = [math.asin(math.exp(-0.5 * tau)) for tau in (self.tau_min, self.tau_max)]
        return theta[0], theta[1], psi[0], psi[1]

    def tau(self, t: Tensor) -> Tensor:
        a, b, c, d = self._ends()
        theta, psi = a * (1 - t) + b * t, c * (1 - t) + d * t
        return torch.where(theta < 0.7, -torch.log1p(-torch.sin(theta).square().clamp_max(0.9)), -2 * torch.log(psi.sin()))

    def t(self, tau: Tensor) -> Tensor:
        a, b, c, d = self._ends()
        early = (torch.asin((-torch.expm1(-tau)).clamp(0, 1).sqrt()) - a) / (b - a)
        late = (c - torch.asin(torch.exp(-0.5 * tau).clamp_max(1))) / (c - d)
        return torch.where(tau < 0.5, early, late)

    def rate(self, t: Tensor) -> Tensor:
        a, b, c, d = self._ends()
        return 2 * (b - a) / torch.tan(c * (1 - t) + d * t)


@dataclass(frozen=True)
class TabulatedTime(Schedule):
    """log τ between knots that stand evenly in t.

    Args:
        knots: τ at t = 0, ..., 1; at least 2, positive and increasing.
    """

    knots: Sequence[float] = field(repr=False)

    def __post_init__(self) -> None:
        knots = self.knots
        if len(knots) < 2 or not all(math.isfinite(tau) and tau > 0 for tau in knots):
            raise ValueError(f"a schedule needs at least 2 values of τ, finite and > 0, got {list(knots)!s:.60}")
        for k, (one, other) in enumerate(pairwise(knots)):
            if other <= one:
                t, after = k / (len(knots) - 1), (k + 1) / (len(knots) - 1)
                ends = f"τ = {one:.4g} at t = {t:.3f} and {other:.4g} at {after:.3f}"
                raise ValueError(f"a schedule must increase, and this has {ends}")

    def _logs(self, like: Tensor) -> Tensor:
        return torch.tensor(self.knots, dtype=torch.float64, device=like.device).log()

    def _piece(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log τ, its slope by t, and the number of the piece, in double precision."""
        logs, pieces = self._logs(t), len(self.knots) - 1
        k = (t.detach() * pieces).long().clamp(0, pieces - 1)
        slope = (logs[k + 1] - logs[k]) * pieces
        return logs[k] + slope * (t.double() - k.double() / pieces), slope, k

    def tau(self, t: Tensor) -> Tensor:
        return self._piece(t)[0].exp().to(t.dtype)

    def t(self, tau: Tensor) -> Tensor:
        logs, pieces = self._logs(tau), len(self.knots) - 1
        wanted = tau.double().log()
        k = (torch.searchsorted(logs, wanted.detach().contiguous(), right=True) - 1).clamp(0, pieces - 1)
        return ((k + (wanted - logs[k]) / (logs[k + 1] - logs[k])) / pieces).to(tau.dtype)

    def rate(self, t: Tensor) -> Tensor:
        log_tau, slope, _ = self._piece(t)
        return (log_tau.exp() * slope).to(t.dtype)


def _ordered(schedule: GeometricTime | CosineTime) -> None:
    if not 0 < schedule.tau_min < schedule.tau_max:
        name = type(schedule).__name__
        raise ValueError(f"{name} needs 0 < tau_min < tau_max, got {schedule.tau_min} and {schedule.tau_max}")


def linear(tau_min: float, tau_max: float) -> LinearRate:
    """β from 1e-4 to .02 as in DDPM, times what it takes to come from tau_min to tau_max."""
    unit = (tau_max - tau_min) / (0.5 * (1e-4 + 0.02))
    return LinearRate(1e-4 * unit, 0.02 * unit, tau_min)


def constant(tau_min: float, tau_max: float) -> ConstantRate:
    """The rate that comes from tau_min to tau_max."""
    return ConstantRate(tau_max - tau_min, tau_min)


_HERE = "pyg_diffusion.sde.schedule"
SCHEDULES: Registry[Callable[[float, float], Schedule]] = Registry(
    "schedules",
    {
        "geometric": f"{_HERE}:GeometricTime",
        "linear": f"{_HERE}:linear",
        "constant": f"{_HERE}:constant",
        "cosine": f"{_HERE}:CosineTime",
    },
)
KNOTS = 257  # of a function of one's own: weights keep its values, so that loading them runs no code


def make_schedule(name: str, tau_min: float, tau_max: float) -> Schedule:
    """The schedule of a name in `SCHEDULES`, or of a function of one's own, `module:function`, from tau_min to tau_max.

    The function is called as `function(t, tau_min, tau_max)` with t `[257]` in [0, 1], double precision, and gives τ there;
    between these log τ is linear.

    Raises:
        ValueError: no such schedule or function, or one that does not increase from tau_min to tau_max; in one sentence.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sde import make_schedule
        >>> make_schedule("constant", 1.0, 3.0).tau(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1., 2., 3.])
    """
    if not 0 < tau_min < tau_max:
        raise ValueError(f"a schedule needs 0 < tau_min < tau_max, got {tau_min} and {tau_max}")
    if name in SCHEDULES:
        return SCHEDULES[name](tau_min, tau_max)
    function = own(SCHEDULES, name)
    t = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    try:
        tau = torch.as_tensor(function(t, tau_min, tau_max), dtype=torch.float64)
    except Exception as error:  # whatever a function of someone's raises
        raise ValueError(f"{name}(t, tau_min, tau_max) fails: {type(error).__name__}: {error}") from error
    if tau.shape != t.shape:
        raise ValueError(f"{name} must give τ at every t, {list(t.shape)}, and gives {list(tau.shape)}")
    try:
        schedule = TabulatedTime(tau.tolist())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    for wanted, got in ((tau_min, schedule.knots[0]), (tau_max, schedule.knots[-1])):
        if not math.isclose(wanted, got, rel_tol=1e-6):
            raise ValueError(
                f"{name} must go from τ = {tau_min:g} to {tau_max:g}, and has {got:g} in the place of {wanted:g}"
            )
    return schedule
