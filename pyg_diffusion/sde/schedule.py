"""Schedules: the process time τ(t) = ∫₀ᵗ β as a function of t in [0, 1]. They know no graph and no network."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """τ = β t."""

    beta: float = 1.0

    def tau(self, t: Tensor) -> Tensor:
        return self.beta * t

    def t(self, tau: Tensor) -> Tensor:
        return tau / self.beta

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.beta)


@dataclass(frozen=True)
class LinearRate(Schedule):
    """β(t) = β₀ + (β₁ - β₀) t, τ = β₀ t + ½ (β₁ - β₀) t² (Song et al. 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def tau(self, t: Tensor) -> Tensor:
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def t(self, tau: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        return 2 * tau / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * tau))

    def rate(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t


@dataclass(frozen=True)
class GeometricTime(Schedule):
    """τ = τ₀ (τ₁/τ₀)ᵗ: equal steps of t are equal factors of τ. τ(0) = τ₀ > 0."""

    tau_min: float = 2e-4
    tau_max: float = 40.0

    def __post_init__(self) -> None:
        if not 0 < self.tau_min < self.tau_max:
            raise ValueError(f"GeometricTime needs 0 < tau_min < tau_max, got {self.tau_min} and {self.tau_max}")

    def tau(self, t: Tensor) -> Tensor:
        return self.tau_min * torch.exp(t * math.log(self.tau_max / self.tau_min))

    def t(self, tau: Tensor) -> Tensor:
        return torch.log(tau / self.tau_min) / math.log(self.tau_max / self.tau_min)

    def rate(self, t: Tensor) -> Tensor:
        return self.tau(t) * math.log(self.tau_max / self.tau_min)
