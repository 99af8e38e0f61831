r"""Network + process = denoiser, and every conversion between parametrisations.

With p(λ) the data's power spectrum, the best *linear* denoiser is a filter (Wiener). The network F only learns the rest:

    D(S_t, t) = c_skip(L) S_t + c_out(L) F(c_in(L) S_t, t)
    c_skip = φ p / (φ² p + σ²),   c_out² = p σ² / (φ² p + σ²),   c_in² = 1 / (φ² p + σ²)

F's target then has unit variance in every mode. The idea is EDM's (Karras et al. 2022), with a filter in place of a number.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .sde import LinearSDE
from .spectral import ExactOperator, Kernel, LaplacianOperator


class Parts(NamedTuple):
    """Kernel values of one process time, `[num_graphs, M, 1]`, or `[num_graphs, M, C]` where p differs by channel."""

    phi: Tensor
    sigma: Tensor
    power: Tensor
    total: Tensor  # φ² p + σ²

    @property
    def c_skip(self) -> Tensor:
        return self.phi * self.power / self.total

    @property
    def c_out(self) -> Tensor:
        return self.sigma * (self.power / self.total).sqrt()

    @property
    def c_in(self) -> Tensor:
        return self.total.rsqrt()


@dataclass
class Noisy:
    """What a network may read of a noisy signal. Signals are PyG-flat `[num_nodes, C]`.

    Attributes:
        signal: S_t itself, in the data's units.
        skip: c_skip(L) S_t, the best linear estimate of S_0, in the data's units.
        white: c_in(L) S_t, unit variance in every mode.
        c_out: kernel values `[num_graphs, M, 1 or C]`: D = skip + c_out(L) F, for networks that look at their own estimate.
        log_tau: log τ(t), `[num_graphs, 1]`, the time a network is conditioned on.
    """

    signal: Tensor
    skip: Tensor
    white: Tensor
    c_out: Tensor
    log_tau: Tensor


class Denoiser(nn.Module):
    """D(S_t, t), an estimate of E[S_0 | S_t].

    Args:
        net: called as `net(noisy, operator, context)`, returns F `[num_nodes, C]` (or a list whose last entry is F; the
            earlier ones are intermediate estimates that training supervises as well).
        sde: the process.
        spectrum: p(λ), one for all channels or one per channel.
        centered: project the global translation (mode 0 of each graph) out of signal, noise and output, as for coordinates.
        autocast: let the network's matrix products run in bf16. Process and operator stay in full precision: bf16 holds a
            coordinate of 5 Å to no better than .02 Å.
    """

    def __init__(self, net: nn.Module, sde: LinearSDE, spectrum: nn.Module, centered: bool = False, autocast: bool = False):
        super().__init__()
        self.net, self.sde, self.spectrum, self.centered, self.autocast = net, sde, spectrum, centered, autocast

    def parts(self, operator: ExactOperator, t: Tensor) -> Parts:
        """φ, σ, p and φ²p + σ² on the operator's eigenvalues."""
        phi, sigma = operator.response(self.sde.mean(t)), operator.response(self.sde.std(t))
        power = operator.response(self.spectrum)
        return Parts(phi, sigma, power, phi**2 * power + sigma**2)

    def project(self, modes: Tensor) -> Tensor:
        """Modes `[num_graphs, M, C]` without the global translation, where the denoiser is `centered`."""
        if not self.centered:
            return modes
        return torch.cat([torch.zeros_like(modes[:, :1]), modes[:, 1:]], dim=1)

    def noisy(self, operator: ExactOperator, s_t: Tensor, t: Tensor, parts: Parts) -> Noisy:
        """The views of modes `s_t [num_graphs, M, C]` that a network reads."""
        signal = operator.from_modes(s_t)
        skip = operator.from_modes(parts.c_skip * s_t)
        white = operator.from_modes(parts.c_in * s_t)
        log_tau = self.sde.schedule.tau(t).expand(operator.num_graphs, 1).log()
        return Noisy(signal, skip, white, parts.c_out, log_tau)

    def estimates(self, operator: ExactOperator, s_t: Tensor, t: Tensor, parts: Parts, context=None) -> list[Tensor]:
        """F of every stage of the network, in mode space, `[num_graphs, M, C]` each."""
        noisy = self.noisy(operator, s_t, t, parts)
        with torch.autocast(s_t.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            out = self.net(noisy, operator, context)
        return [self.project(operator.to_modes(f)) for f in (out if isinstance(out, list) else [out])]

    def modes(self, operator: ExactOperator, s_t: Tensor, t: Tensor, context=None) -> Tensor:
        """D in mode space: modes of S_t in, modes of Ŝ_0 out, both `[num_graphs, M, C]`."""
        parts, s_t = self.parts(operator, t), self.project(s_t)
        f = self.estimates(operator, s_t, t, parts, context)[-1]
        return parts.c_skip * s_t + parts.c_out * f

    def forward(self, operator: ExactOperator, x_t: Tensor, t: Tensor, context=None) -> Tensor:
        """D for a flat signal `x_t [num_nodes, C]`."""
        return operator.from_modes(self.modes(operator, operator.to_modes(x_t), t, context))


def network_target(parts: Parts, s_0: Tensor, eps: Tensor) -> Tensor:
    """What F should return: c_out⁻¹ (S_0 - c_skip S_t) for S_t = φ S_0 + σ ε, without cancellation.

    Modes `[num_graphs, M, C]`; equals (σ S_0/√p - φ √p ε) / √(φ²p + σ²).
    """
    root = parts.power.sqrt()
    return (parts.sigma / root * s_0 - parts.phi * root * eps) * parts.c_in


def eps_from_x0(sde: LinearSDE, t: Tensor) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with ε = a(L) S_t + b(L) S_0: a = 1/σ, b = -φ/σ."""
    return (lambda lam: 1 / sde.std(t)(lam)), (lambda lam: -sde.mean(t)(lam) / sde.std(t)(lam))


def x0_from_eps(sde: LinearSDE, t: Tensor) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with S_0 = a(L) S_t + b(L) ε: a = 1/φ, b = -σ/φ.

    Where φ is small the error is of order eps/φ. Where φ underflows nothing of S_0 is left in S_t, and both are 0.
    """

    def inverse(lam: Tensor) -> Tensor:
        phi = sde.mean(t)(lam)
        gone = phi < torch.finfo(phi.dtype).tiny
        return torch.where(gone, 0.0, 1 / torch.where(gone, 1.0, phi))

    return inverse, (lambda lam: -sde.std(t)(lam) * inverse(lam))


def score_from_eps(operator: LaplacianOperator, sde: LinearSDE, eps: Tensor, t: Tensor) -> Tensor:
    """s = -Σ^{-1/2} ε."""
    return -operator.solve(sde.std(t), eps)


def score_from_x0(operator: LaplacianOperator, sde: LinearSDE, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    """s = -Σ⁻¹ (S_t - φ S_0)."""
    return -operator.solve(sde.var(t), x_t - operator.apply(sde.mean(t), x_0))
