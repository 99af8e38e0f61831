"""Kernels: scalar functions of an eigenvalue."""

import torch
from torch import Tensor, nn

from .operator import Kernel


def heat(s: float | Tensor) -> Kernel:
    """exp(-s λ), the heat kernel at diffusion time s.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import heat
        >>> heat(0.5)(torch.tensor([0.0, 2.0]))
        tensor([1.0000, 0.3679])
    """
    return lambda lam: torch.exp(-s * lam)


def _put_null_first(log_lambda: list[Tensor], log_power: list[Tensor], lowest: Tensor, null: Tensor) -> None:
    """Put a knot for null modes, of mean power `null`, before knots that hold from the lowest λ > 0 on."""
    edge = (lowest.log() - 1e-3).minimum(log_lambda[0] - 1e-3)
    log_lambda[:0] = [edge - 1, edge]
    log_power[:0] = [null.clamp_min(1e-12).log(), log_power[0]]


class PowerSpectrum(nn.Module):
    """p(λ) = E|Ŝ₀(λ)|² of a data set, piecewise linear in log λ -> log p between fitted knots.

    Below the first knot p grows like 1/λ (a free chain: larger molecules have lower modes than any seen) until λ has
    fallen to `floor` times its value there, a hundredth, then stays constant, so that p(0), the relative position of
    fragments, is finite. Above the last knot p stays constant.

    Args:
        log_lambda: knots log λ_k, increasing, `[K]`.
        log_power: log p(λ_k), `[K]` for all channels alike, or `[K, C]`.
        floor: see above; 1 for no growth at all, where the null mode was seen.

    Raises:
        ValueError: fewer than 2 knots, knots that do not increase, powers of another shape.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> p = PowerSpectrum.harmonic()  # 1/λ on [1e-3, 10]
        >>> p(torch.tensor([0.0, 0.1, 2.0, 10.0, 20.0])).round(decimals=3)
        tensor([1.0000e+05, 1.0000e+01, 5.0000e-01, 1.0000e-01, 1.0000e-01])
    """

    FLOOR = 1e-2

    def __init__(self, log_lambda: Tensor, log_power: Tensor, floor: float = FLOOR):
        super().__init__()
        self.floor = floor
        if log_lambda.dim() != 1 or log_power.dim() not in (1, 2) or not len(log_lambda) == len(log_power) >= 2:
            raise ValueError("PowerSpectrum needs knots [K] and powers [K] or [K, C], with K >= 2")
        if not bool((log_lambda.diff() > 0).all()):
            raise ValueError("PowerSpectrum needs strictly increasing knots")
        self.log_lambda: Tensor
        self.log_power: Tensor
        self.register_buffer("log_lambda", log_lambda.float())
        self.register_buffer("log_power", log_power.float())

    @classmethod
    def harmonic(cls, gamma: float = 1.0, low: float = 1e-3, high: float = 10.0) -> "PowerSpectrum":
        """p = 1/(γλ) on [low, high]: the stationary law of the white harmonic process."""
        knots = torch.tensor([low, high]).log()
        return cls(knots, -knots - torch.tensor(gamma).log())

    @classmethod
    def fit_modes(cls, eigenvalues: Tensor, power: Tensor, knots: int = 24) -> "PowerSpectrum":
        """Mean power of the modes of one graph, in bins even in √λ (a frequency); null modes have a knot of their own.

        Args:
            eigenvalues: λ >= 0 of all modes, `[n]`.
            power: E|Ŝ|² of each as estimated from many signals, `[n, C]`.
            knots: largest number of bins.
        """
        null = eigenvalues <= 1e-9 * eigenvalues.max()
        power = power.double().clamp_min(
            1e-8 * float(power.mean())
        )  # a mode that the data lacks has a logarithm none the less
        if bool(null.all()):
            return cls(torch.tensor([-1.0, 0.0]), power.mean(0).log().expand(2, -1), floor=1.0)
        x, y = eigenvalues[~null].double(), power[~null]
        k = (knots * (x / x.max()).sqrt()).long().clamp_max(knots - 1)
        bins = [k == b for b in k.unique()]
        log_lambda = [x[b].log().mean() for b in bins]
        log_power = [y[b].mean(0).log() for b in bins]
        if bool(null.any()):
            _put_null_first(log_lambda, log_power, x.min(), power[null].mean(0))
        if len(log_lambda) == 1:
            log_lambda, log_power = [log_lambda[0] - 1, log_lambda[0]], log_power * 2
        return cls(torch.stack(log_lambda), torch.stack(log_power), floor=1.0)

    @classmethod
    def fit(cls, eigenvalues: Tensor, power: Tensor, knots: int = 12, null: Tensor | None = None) -> "PowerSpectrum":
        """Mean power in bins of λ holding equally many modes.

        Args:
            eigenvalues: λ > 0 of observed modes, `[n]`.
            power: |Ŝ|² of the same modes, averaged over channels `[n]`, or per channel `[n, C]`.
            knots: largest number of bins.
            null: mean power of null modes, a number or `[C]`, where they were seen and are signal.
        """
        if eigenvalues.numel() < 2 or not bool((eigenvalues > 0).all()):
            raise ValueError("fitting a power spectrum needs at least 2 modes, all with λ > 0")
        order = eigenvalues.argsort()
        lam, power = eigenvalues[order].double(), power[order].double()
        bins: list[tuple[Tensor, Tensor]] = []
        for x, y in zip(lam.log().tensor_split(knots), power.tensor_split(knots), strict=True):
            if bins and x.numel() and x.mean() - bins[-1][0].mean() <= 1e-3:  # a degenerate eigenvalue is one knot
                before = bins.pop()
                x, y = torch.cat([before[0], x]), torch.cat([before[1], y])
            if x.numel():
                bins.append((x, y))
        log_lambda, log_power = [x.mean() for x, _ in bins], [y.mean(0).clamp_min(1e-12).log() for _, y in bins]
        if len(bins) < 2:  # one single eigenvalue in the data: a flat spectrum
            log_lambda, log_power = [log_lambda[0] - 1e-2, log_lambda[0] + 1e-2], log_power * 2
        if null is not None:
            _put_null_first(log_lambda, log_power, lam[0], null.double())
        return cls(torch.stack(log_lambda), torch.stack(log_power), cls.FLOOR if null is None else 1.0)

    def forward(self, lam: Tensor) -> Tensor:
        knots, values = self.log_lambda.to(lam.dtype), self.log_power.to(lam.dtype)
        x = lam.clamp_min(float(self.log_lambda[0].exp()) * self.floor).log()
        inside = x.clamp(knots[0], knots[-1])
        right = torch.searchsorted(knots, inside.detach().contiguous()).clamp(1, knots.numel() - 1)
        weight = (inside - knots[right - 1]) / (knots[right] - knots[right - 1])
        rise = (knots[0] - x).clamp_min(0)
        if values.dim() == 2:
            weight, rise = weight.unsqueeze(-1), rise.unsqueeze(-1)
        return (values[right - 1] * (1 - weight) + values[right] * weight + rise).exp()
