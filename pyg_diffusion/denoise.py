r"""Network + process = denoiser, and every conversion between parametrisations.

With p(λ) the data's power spectrum, the best *linear* denoiser is a filter (Wiener). The network F only learns the rest:

    D(S_t, t) = c_skip(L) S_t + c_out(L) F(c_in(L) S_t, t)
    c_skip = φ p / (φ² p + σ²),   c_out² = p σ² / (φ² p + σ²),   c_in² = 1 / (φ² p + σ²)

F's target then has unit variance in every mode. The idea is EDM's (Karras et al. 2022), with a filter in place of a number.
A network may predict ε or the score instead, and says so by its attribute `predicts`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .network import EnergyNetwork, Network
from .network import Noisy as Noisy
from .sde import LinearSDE
from .spectral import Kernel, LaplacianOperator
from .spectral.operator import with_channels


class Parts:
    """φ, σ, p, φ²p + σ² and the preconditioning at one process time, each a kernel of L.

    Values are `[num_graphs, M, 1]`, or `[num_graphs, M, C]` where p differs by channel. All kernels asked at the same λ
    share one evaluation of φ, σ and p.
    """

    def __init__(self, sde: LinearSDE, spectrum: Kernel, t: Tensor):
        self._kernels: tuple[Kernel, ...] = (sde.mean(t), sde.std(t), spectrum)
        self._last: tuple[Tensor, list[Tensor]] | None = None

    def _at(self, lam: Tensor) -> list[Tensor]:
        if self._last is None or self._last[0] is not lam:
            self._last = lam, [with_channels(kernel(lam)) for kernel in self._kernels]
        return self._last[1]

    def phi(self, lam: Tensor) -> Tensor:
        """φ."""
        return self._at(lam)[0]

    def sigma(self, lam: Tensor) -> Tensor:
        """σ."""
        return self._at(lam)[1]

    def power(self, lam: Tensor) -> Tensor:
        """p."""
        return self._at(lam)[2]

    def total(self, lam: Tensor) -> Tensor:
        """φ² p + σ², the variance of S_t."""
        phi, sigma, power = self._at(lam)
        return phi**2 * power + sigma**2

    def std(self, lam: Tensor) -> Tensor:
        """√(φ² p + σ²)."""
        return self.total(lam).sqrt()

    def c_skip(self, lam: Tensor) -> Tensor:
        """φ p / (φ² p + σ²)."""
        return self.phi(lam) * self.power(lam) / self.total(lam)

    def c_out(self, lam: Tensor) -> Tensor:
        """σ √(p / (φ² p + σ²))."""
        return self.sigma(lam) * (self.power(lam) / self.total(lam)).sqrt()

    def c_in(self, lam: Tensor) -> Tensor:
        """(φ² p + σ²)^{-1/2}."""
        return self.total(lam).rsqrt()


class Denoiser(nn.Module):
    """D(S_t, t), an estimate of E[S_0 | S_t].

    Args:
        net: keeps the contract of `network.Network`.
        sde: the process.
        spectrum: p(λ), one for all channels or one per channel.
        centered: project the global translation of each graph out of signal, noise and output, as for coordinates.
        autocast: let the network's matrix products run in bf16. Process and operator stay in full precision: bf16 holds a
            coordinate of 5 Å to no better than .02 Å.

    Attributes:
        second: the network of a second stage that completes what this one draws, or None.
        coarse: the denoiser of a coarser resolution, which is drawn before this one, or None.

    Raises:
        TypeError: the network keeps no such contract.
        ValueError: it predicts something else.

    Example:
        >>> import torch
        >>> from pyg_diffusion import Denoiser, GridOperator, LinearSDE
        >>> from pyg_diffusion.sde import GeometricTime
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> from pyg_diffusion.testing import ZeroNet
        >>> sde = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1)
        >>> denoiser = Denoiser(ZeroNet(), sde, PowerSpectrum.harmonic())  # the best linear one
        >>> denoiser(GridOperator((4, 4)), torch.randn(16, 1), torch.tensor([[0.5]])).shape
        torch.Size([16, 1])
    """

    net: Network
    spectrum: Kernel
    second: nn.Module | None
    coarse: "Denoiser | None"

    def __init__(self, net: Network, sde: LinearSDE, spectrum: Kernel, centered: bool = False, autocast: bool = False):
        super().__init__()
        if not isinstance(net, Network):
            raise TypeError(
                f"{type(net).__name__} is no pyg_diffusion.network.Network; derive it from pyg_diffusion.nn.NetworkBase"
            )
        self.net, self.sde, self.spectrum, self.centered, self.autocast = net, sde, spectrum, centered, autocast
        self.second = self.coarse = None
        if self.predicts not in PREDICTIONS:
            raise ValueError(f"a network predicts one of {', '.join(PREDICTIONS)}, not {self.predicts!r}")

    @property
    def predicts(self) -> str:
        """What the network predicts."""
        return self.net.predicts

    def parts(self, t: Tensor) -> Parts:
        """φ, σ, p and the preconditioning at t, `[num_graphs, 1]` or a scalar."""
        return Parts(self.sde, self.spectrum, t)

    def project(self, operator: LaplacianOperator, w: Tensor) -> Tensor:
        """A signal in working coordinates without the global translation, where the denoiser is `centered`."""
        return operator.center(w) if self.centered else w

    def start(self, operator: LaplacianOperator, t: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        """S_t to start sampling from: N(0, φ² p + σ²) in each mode, what Gaussian data becomes; not the stationary law."""
        return operator.combine((self.parts(t).std, noise()))

    def predictions(
        self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, parts: Parts, context: Any = None
    ) -> list[Tensor]:
        """What the network says, stage by stage, in working coordinates."""
        skip, white = (operator.from_work(w) for w in operator.fan_out([parts.c_skip, parts.c_in], w_t))
        log_tau = self.sde.schedule.tau(t).expand(operator.num_graphs, 1).log()
        noisy = Noisy(operator.from_work(w_t), skip, white, parts.c_out, log_tau, parts.sigma)
        with torch.autocast(w_t.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            out = self.net(noisy, operator, context)
        stages = out if isinstance(out, list) else [out]
        return [self.project(operator, operator.to_work(f.to(operator.dtype))) for f in stages]

    def estimate(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, parts: Parts, context: Any = None) -> Tensor:
        """F in working coordinates, whatever the network predicts."""
        out = self.predictions(operator, w_t, t, parts, context)[-1]
        if self.predicts == "F":
            return out
        on_s_t, on_out = _network_from(self.predicts, parts)
        return operator.combine((on_s_t, w_t), (on_out, out))

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        """D in working coordinates: S_t in, Ŝ_0 out."""
        parts, w_t = self.parts(t), self.project(operator, w_t)
        out = self.predictions(operator, w_t, t, parts, context)[-1]
        on_s_t, on_out = denoised_from(self.predicts, parts)
        return operator.combine((on_s_t, w_t), (on_out, out))

    def slope(self, operator: LaplacianOperator, x_t: Tensor, t: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """(E `[num_graphs]`, ∂E/∂S_t `[num_nodes, C]`) for a flat signal `x_t [num_nodes, C]`.

        Raises:
            TypeError: the network is no energy.
        """
        if not isinstance(self.net, EnergyNetwork):
            raise TypeError(f"descending a landscape needs an EnergyNet, got {type(self.net).__name__}")
        log_tau = self.sde.schedule.tau(t).expand(operator.num_graphs, 1).log()
        return self.net.slope(x_t, log_tau, operator, context)

    def forward(self, operator: LaplacianOperator, x_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        """D for a flat signal `x_t [num_nodes, C]`."""
        return operator.from_work(self.denoise(operator, operator.to_work(x_t), t, context))


def network_target(parts: Parts) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with F* = a(L) S_0 + b(L) ε: what F should return, c_out⁻¹ (S_0 - c_skip S_t) at S_t = φ S_0 + σ ε.

    a = σ / √(p (φ²p + σ²)) and b = -φ √p / √(φ²p + σ²), without cancellation.
    """
    return (
        lambda lam: parts.sigma(lam) / parts.power(lam).sqrt() * parts.c_in(lam),
        lambda lam: -parts.phi(lam) * parts.power(lam).sqrt() * parts.c_in(lam),
    )


PREDICTIONS = ("F", "eps", "score")


def prediction_target(predicts: str, parts: Parts) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with a(L) S_0 + b(L) ε = what a network that predicts "F", "eps" or "score" should return."""
    if predicts == "F":
        return network_target(parts)
    if predicts == "eps":
        return torch.zeros_like, torch.ones_like
    return torch.zeros_like, lambda lam: -1 / parts.sigma(lam)


def gain(quantity: str, parts: Parts) -> Kernel:
    """|∂q/∂D| at given S_t, for q of "x0", "F", "eps", "score": 1, 1/c_out, φ/σ, φ/σ². Errors of one are errors of all."""
    return {
        "x0": torch.ones_like,
        "F": lambda lam: 1 / parts.c_out(lam),
        "eps": lambda lam: parts.phi(lam) / parts.sigma(lam),
        "score": lambda lam: parts.phi(lam) / parts.sigma(lam) ** 2,
    }[quantity]


def _inverse_phi(phi: Tensor) -> Tensor:
    """1/φ, and 0 where φ underflows: nothing of S_0 is left in S_t, whose estimate is then the mean, 0."""
    gone = phi < torch.finfo(phi.dtype).tiny
    return torch.where(gone, 0.0, 1 / torch.where(gone, 1.0, phi))


def denoised_from(predicts: str, parts: Parts) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with D = a(L) S_t + b(L) out."""
    if predicts == "F":
        return parts.c_skip, parts.c_out
    power, sign = (1, -1.0) if predicts == "eps" else (2, 1.0)
    return (
        lambda lam: _inverse_phi(parts.phi(lam)),
        lambda lam: sign * parts.sigma(lam) ** power * _inverse_phi(parts.phi(lam)),
    )


def _network_from(predicts: str, parts: Parts) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with F = a(L) S_t + b(L) out for "eps" and "score": (D - c_skip S_t)/c_out without cancellation."""
    power, sign = (0, -1.0) if predicts == "eps" else (1, 1.0)

    def scale(lam: Tensor) -> Tensor:
        return _inverse_phi(parts.phi(lam)) * parts.power(lam).rsqrt()

    return (
        lambda lam: scale(lam) * parts.sigma(lam) * parts.c_in(lam),
        lambda lam: sign * scale(lam) * parts.sigma(lam) ** power * parts.std(lam),
    )


def eps_from_x0(sde: LinearSDE, t: Tensor) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with ε = a(L) S_t + b(L) S_0: a = 1/σ, b = -φ/σ."""
    return (lambda lam: 1 / sde.std(t)(lam)), (lambda lam: -sde.mean(t)(lam) / sde.std(t)(lam))


def x0_from_eps(sde: LinearSDE, t: Tensor) -> tuple[Kernel, Kernel]:
    """Kernels (a, b) with S_0 = a(L) S_t + b(L) ε: a = 1/φ, b = -σ/φ.

    Where φ is small the error is of order eps/φ. Where φ underflows nothing of S_0 is left in S_t, and both are 0.
    """

    def inverse(lam: Tensor) -> Tensor:
        return _inverse_phi(sde.mean(t)(lam))

    return inverse, (lambda lam: -sde.std(t)(lam) * inverse(lam))


def score_from_eps(operator: LaplacianOperator, sde: LinearSDE, eps: Tensor, t: Tensor) -> Tensor:
    """s = -Σ^{-1/2} ε."""
    return -operator.solve(sde.std(t), eps)


def score_from_x0(operator: LaplacianOperator, sde: LinearSDE, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    """s = -Σ⁻¹ (S_t - φ S_0)."""
    return -operator.solve(sde.var(t), x_t - operator.apply(sde.mean(t), x_0))
