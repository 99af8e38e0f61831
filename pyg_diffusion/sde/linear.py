r"""The linear process, solved exactly in time.

    dS = -½ β(t) a(L) S dt + √β(t) g(L) dW,      a(λ) = γ λ + λ₀

Every Laplacian mode is an Ornstein-Uhlenbeck process of its own. With τ = ∫β:

    mean  φ = exp(-½ a τ)        variance  σ² = g² (1 - e^{-aτ}) / a        (a → 0: g² τ)

Everything here is a scalar function of (λ, t); an operator applies it. Written with expm1, so that neither a → 0 nor
τ → 0 nor s → t loses digits.
"""

from typing import Literal

import torch
from torch import Tensor

from ..spectral import Kernel
from .schedule import Schedule


def _one_minus_exp_over(a: Tensor, tau: Tensor) -> Tensor:
    """(1 - e^{-aτ}) / a, with its limit τ at a = 0; value and gradient keep their digits as aτ → 0."""
    x = a * tau
    if not (torch.is_grad_enabled() and x.requires_grad):  # in few passes: on large grids this costs as much as an FFT
        result = x.neg_().expm1_().div_(a).neg_()
        if torch.compiler.is_compiling() or a.device.type != "cpu" or not a.numel() or not bool(a.min() > 0):
            result = torch.where(a == 0, tau, result)  # instead of 0/0
        return result
    small = x.abs() < 1e-2  # below, autograd of the closed form would lose digits like eps/x; the series is exact to x⁷/8!
    series, near_0 = torch.ones_like(x), torch.where(small, x, torch.zeros_like(x))
    for k in range(7, 1, -1):
        series = 1 - series * near_0 / k
    safe_a = torch.where(small, torch.ones_like(x), a.expand_as(x))
    return torch.where(small, tau * series, -torch.expm1(-safe_a * torch.where(small, torch.ones_like(x), tau)) / safe_a)


class LinearSDE:
    r"""φ, σ, transition and posterior of the linear process as kernels of L.

    Args:
        schedule: t -> τ.
        gamma: γ >= 0, how strongly graph neighbours pull (units of 1/signal² under white noise).
        lambda0: λ₀ >= 0, pull to the origin; γ = 0, λ₀ = 1 is the VP process of DDPM.
        noise: "white" (g = 1, stationary law N(0, a⁻¹)) or "matched" (g² = a, stationary law N(0, I), variance
            preserving in every mode). Matched noise would never reach a null mode where λ₀ = 0 and is refused there.

    Times are tensors that broadcast against λ `[num_graphs, M]`, so `[num_graphs, 1]` or a scalar.

    Example:
        >>> import torch
        >>> from pyg_diffusion import GridOperator, LinearSDE
        >>> from pyg_diffusion.sde import GeometricTime
        >>> sde, L = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1), GridOperator((4, 4))
        >>> x, noise, t = torch.randn(16, 2), torch.randn(16, 2), torch.tensor([[0.3]])
        >>> (L.apply(sde.mean(t), x) + L.apply(sde.std(t), noise)).shape  # S_t
        torch.Size([16, 2])
    """

    def __init__(
        self,
        schedule: Schedule,
        gamma: float = 1.0,
        lambda0: float = 0.0,
        noise: Literal["white", "matched"] = "white",
    ):
        if gamma < 0 or lambda0 < 0:
            raise ValueError(f"gamma and lambda0 must be >= 0, got {gamma} and {lambda0}")
        if noise not in ("white", "matched"):
            raise ValueError(f"noise must be 'white' or 'matched', got {noise!r}")
        if noise == "matched" and lambda0 == 0:
            raise ValueError("matched noise with lambda0 = 0 never noises a null mode; take lambda0 > 0")
        self.schedule, self.gamma, self.lambda0, self.noise = schedule, gamma, lambda0, noise

    def drift(self, lam: Tensor) -> Tensor:
        """a(λ) = γλ + λ₀."""
        return self.gamma * lam + self.lambda0

    def diffusion2(self, lam: Tensor) -> Tensor:
        """g²(λ)."""
        return torch.ones_like(lam) if self.noise == "white" else self.drift(lam)

    def _decay(self, lam: Tensor, tau: Tensor) -> Tensor:
        return torch.exp(-0.5 * self.drift(lam) * tau)

    def _spread2(self, lam: Tensor, tau: Tensor) -> Tensor:
        spread = _one_minus_exp_over(self.drift(lam), tau)
        return spread if self.noise == "white" else self.drift(lam) * spread

    def mean(self, t: Tensor) -> Kernel:
        """φ(λ, t)."""
        return lambda lam: self._decay(lam, self.schedule.tau(t))

    def var(self, t: Tensor) -> Kernel:
        """σ²(λ, t)."""
        return lambda lam: self._spread2(lam, self.schedule.tau(t))

    def std(self, t: Tensor) -> Kernel:
        """σ(λ, t)."""
        return lambda lam: self.var(t)(lam).sqrt()

    def half_log_snr(self, t: Tensor) -> Kernel:
        """ℓ(λ, t) = log φ - log σ."""
        return lambda lam: -0.5 * (self.drift(lam) * self.schedule.tau(t) + self.var(t)(lam).log())

    def transition(self, s: Tensor, t: Tensor) -> tuple[Kernel, Kernel]:
        """(F, Q) of S_t | S_s ~ N(F S_s, Q) for s < t, from Δτ = τ_t - τ_s."""
        step = self.schedule.tau(t) - self.schedule.tau(s)
        return (lambda lam: self._decay(lam, step)), (lambda lam: self._spread2(lam, step))

    def posterior(self, s: Tensor, t: Tensor) -> tuple[Kernel, Kernel, Kernel]:
        """(A, B, V) of S_s | S_t, S_0 ~ N(A S_t + B S_0, V) for s < t:

        A = F σ_s²/σ_t²,   B = φ_s Q/σ_t²,   V = σ_s² Q/σ_t².
        """
        f, q = self.transition(s, t)
        var_s, var_t, phi_s = self.var(s), self.var(t), self.mean(s)
        return (
            lambda lam: f(lam) * var_s(lam) / var_t(lam),
            lambda lam: phi_s(lam) * q(lam) / var_t(lam),
            lambda lam: var_s(lam) * q(lam) / var_t(lam),
        )

    def flow(self, t: Tensor) -> tuple[Kernel, Kernel]:
        """(A, B) of the probability-flow ODE dS/dτ = A S + B D(S, t), which has the marginals of the process.

        A = -½ a + ½ g²/σ²,   B = -½ g² φ/σ²   (Song et al. 2021, with the score -Σ⁻¹(S - φD)).
        """
        phi, var = self.mean(t), self.var(t)
        return (
            lambda lam: 0.5 * (self.diffusion2(lam) / var(lam) - self.drift(lam)),
            lambda lam: -0.5 * self.diffusion2(lam) * phi(lam) / var(lam),
        )

    def __repr__(self) -> str:
        return f"LinearSDE({self.schedule}, gamma={self.gamma}, lambda0={self.lambda0}, noise={self.noise!r})"
