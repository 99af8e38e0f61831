r"""Likelihoods: exact along the probability-flow ODE, and the variational bound mode by mode.

In u = S / √(φ²p + σ²) the flow's linear part is gone, only the network is left:

    du/dτ = k F,    k = -½ g² φ c_out / (σ² √(φ²p + σ²)) = -½ g² (φ/σ) √p / (φ²p + σ²),    F = F(u, t)

because the linear denoiser transports Gaussian data by exactly that scaling. So

    log q_{t_0}(S) = log N(u_T; 0, 1) - ½ Σ log(φ²p + σ²)(t_0) + ∫ tr(k ∂F/∂u) dτ

and Gaussian data with the spectrum p (F = 0) has no integration error at all.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser, Parts
from ..spectral import ExactOperator, Kernel, LaplacianOperator


def _rate(denoiser: Denoiser, parts: Parts) -> Kernel:
    """The kernel k."""

    def rate(lam: Tensor) -> Tensor:
        numerator = denoiser.sde.diffusion2(lam).unsqueeze(-1) * parts.phi(lam) * parts.power(lam).sqrt()
        return -0.5 * numerator / (parts.sigma(lam) * parts.total(lam))

    return rate


def _free_modes(denoiser: Denoiser, operator: ExactOperator, channels: int) -> Tensor:
    """1 on every mode that is signal, 0 on padding and on a projected translation, `[num_graphs, M, C]`."""
    ones = operator.mode_mask.unsqueeze(-1).expand(-1, -1, channels).to(operator.dtype)
    return denoiser.project(operator, ones)


def _probes(operator: LaplacianOperator, shape: torch.Size, count: int, seed: int) -> Tensor:
    """v with E vvᵀ = 1 in working coordinates, `[count, *shape]`: random signs, or, of an exact backend with count = 0, the
    unit vectors of all modes, for every graph at once, whose sum is the trace itself."""
    generator = torch.Generator(operator.device).manual_seed(seed)
    if count:
        signs = torch.randint(0, 2, (count, *shape), generator=generator, device=operator.device)
        probe: Tensor = (signs.to(operator.dtype) * 2 - 1) / count**0.5
        return probe
    graphs, m, c = shape
    eye = torch.eye(m * c, dtype=operator.dtype, device=operator.device)
    return eye.view(m * c, 1, m, c).expand(-1, graphs, -1, -1)


def _log_determinant(denoiser: Denoiser, operator: LaplacianOperator, parts: Parts, channels: int, signs: Tensor) -> Tensor:
    """log det(φ²p + σ²) over the free modes and all channels, `[num_graphs]`; of sparse backends an estimate by probes."""

    def log_total(lam: Tensor) -> Tensor:
        return parts.total(lam).log()

    if isinstance(operator, ExactOperator):
        return (operator.response(log_total) * _free_modes(denoiser, operator, channels)).sum((1, 2))
    free = [denoiser.project(operator, v) for v in signs]
    parts_of = [operator.inner(v, operator.combine((log_total, v))) for v in free]
    return torch.stack(parts_of).sum(0)


def _velocity(
    denoiser: Denoiser, operator: LaplacianOperator, u: Tensor, t: Tensor, signs: Tensor, context: Any
) -> tuple[Tensor, Tensor]:
    """(du/dt, its divergence `[num_graphs]` by the probes)."""
    parts, speed = denoiser.parts(t), denoiser.sde.schedule.rate(t)
    rate = _rate(denoiser, parts)
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        f = denoiser.estimate(operator, operator.combine((parts.std, u)), t, parts, context)
        divergence = u.new_zeros(operator.num_graphs)
        for sign in signs if f.requires_grad else ():
            v = denoiser.project(operator, sign)
            (pulled,) = torch.autograd.grad(f, u, operator.combine((rate, v)), retain_graph=True, allow_unused=True)
            if pulled is not None:
                divergence = divergence + operator.inner(pulled, v)
    moved = denoiser.project(operator, operator.combine((rate, f.detach())))
    return speed * moved, (speed * divergence).detach()


def _heun(velocity: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], u: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """(u at the last time, the integral of the divergence on the way)."""
    v, div = velocity(u, grid[0])
    integral = torch.zeros_like(div)
    for k in range(len(grid) - 1):
        h = grid[k + 1] - grid[k]
        predicted, div_predicted = velocity(u + h * v, grid[k + 1])
        u = u + 0.5 * h * (v + predicted)
        integral = integral + 0.5 * h * (div + div_predicted)
        if k + 2 < len(grid):
            v, div = velocity(u, grid[k + 1])
    return u, integral


def log_likelihood(
    denoiser: Denoiser,
    operator: LaplacianOperator,
    x: Tensor,
    steps: int = 100,
    start: float = 0.0,
    end: float = 1.0,
    probes: int = 0,
    seed: int = 0,
    context: Any = None,
) -> Tensor:
    """log q_{t_0}(x) of each graph in nats, a density over its free modes and channels (C(N - 1) numbers if centered).

    q_{t_0} is the model's law at t_0 = `start`, the data blurred by σ(t_0); x is taken as a sample of it. Heun steps.

    Args:
        operator: any backend; one without an eigenbasis estimates its determinants by probes, too.
        x: `[num_nodes, C]`.
        steps: Heun steps, even in t, two network calls each.
        probes: Rademacher vectors of Hutchinson's trace estimator, the same for all steps; 0 takes the exact trace, one
            derivative per mode and channel, for small graphs on an exact backend.

    Returns:
        `[num_graphs]`, differentiable in nothing.

    Raises:
        ValueError: steps < 1, probes < 0, start >= end, or no probes on a backend without an eigenbasis.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import log_likelihood
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> x = torch.ones(6, 2)
        >>> std = L.response(denoiser.parts(torch.tensor(0.0)).std)  # Gaussian data: the density is known
        >>> exact = torch.distributions.Normal(0.0, std).log_prob(L.to_modes(x)).sum((1, 2))
        >>> torch.allclose(log_likelihood(denoiser, L, x, steps=10), exact)
        True
    """
    if steps < 1 or probes < 0 or not start < end:
        raise ValueError(f"need steps >= 1, probes >= 0 and start < end, got {steps}, {probes}, {start}, {end}")
    if not probes and not isinstance(operator, ExactOperator):
        raise ValueError(f"the exact trace needs an exact backend (dense, grid), give probes >= 1 with {operator!r}")
    s = denoiser.project(operator, operator.to_work(x))
    signs = _probes(operator, s.shape, probes, seed)

    def velocity(u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return _velocity(denoiser, operator, u, t, signs, context)

    grid = torch.linspace(start, end, steps + 1, dtype=torch.float64).to(operator.device, operator.dtype)
    with torch.no_grad():
        parts = denoiser.parts(grid[0])
        u, integral = _heun(velocity, operator.combine((lambda lam: parts.total(lam).rsqrt(), s)), grid)
        free = (operator.sizes - int(denoiser.centered)).clamp_min(0) * x.size(1)
        normal = -0.5 * (operator.square_sum(u) + math.log(2 * math.pi) * free)
        return normal - 0.5 * _log_determinant(denoiser, operator, parts, x.size(1), signs) + integral


def _at_the_ends(operator: ExactOperator, s_0: Tensor, first: Parts, last: Parts) -> Tensor:
    """Prior and reconstruction of every mode, `[num_graphs, M, C]`."""
    phi, sigma, total = (operator.response(k) for k in (last.phi, last.sigma, last.total))
    prior = 0.5 * (((phi * s_0) ** 2 + sigma**2) / total - 1 + (total / sigma**2).log())
    spread = operator.response(lambda lam: (first.sigma(lam) / first.phi(lam)).log())
    return prior + spread + 0.5 * math.log(2 * math.pi * math.e)


def negative_elbo(
    denoiser: Denoiser,
    operator: ExactOperator,
    x: Tensor,
    steps: int = 200,
    start: float = 0.0,
    end: float = 1.0,
    seed: int = 0,
    context: Any = None,
) -> Tensor:
    """Upper bound on -log p(x) in nats, mode by mode and summed over channels, `[num_graphs, M]` (Kingma et al. 2021).

    Prior + diffusion + reconstruction of every mode:

        KL(N(φ_T x, σ_T²) | N(0, φ_T² p + σ_T²)) + ½ ∫ |d SNR/dt| E|x - D(S_t, t)|² dt + ½ log(2πe σ²/φ²)(t_0)

    with SNR = φ²/σ². The integral is a sum over intervals of t, the SNR's change times the error at its middle in t, one
    draw of noise each: unbiased in the noise. Where σ(t_0) is small beside the data it is -log p of an exact denoiser.

    Args:
        operator: an exact backend.
        x: `[num_nodes, C]`.
        steps: intervals, even in t, one network call each.

    Raises:
        TypeError: a backend without an eigenbasis.
        ValueError: steps < 1 or start >= end.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import log_likelihood, negative_elbo
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> x = torch.ones(6, 2)
        >>> bound = negative_elbo(denoiser, L, x).sum(1)
        >>> bool((bound + log_likelihood(denoiser, L, x)).abs() < 3.0)  # nats, of 12 numbers
        True
    """
    if not isinstance(operator, ExactOperator):
        raise TypeError(f"the bound by modes needs an exact backend (dense, grid), got {operator!r}")
    if steps < 1 or not start < end:
        raise ValueError(f"need steps >= 1 and start < end, got {steps}, {start}, {end}")
    generator = torch.Generator(x.device).manual_seed(seed)
    with torch.no_grad():
        s_0 = denoiser.project(operator, operator.to_work(x))
        free = _free_modes(denoiser, operator, x.size(1))
        grid = torch.linspace(start, end, 2 * steps + 1, dtype=torch.float64).to(operator.device, operator.dtype)

        def snr(t: Tensor) -> Tensor:
            parts = denoiser.parts(t)
            return operator.response(lambda lam: (parts.phi(lam) / parts.sigma(lam)) ** 2)

        bound = _at_the_ends(operator, s_0, denoiser.parts(grid[0]), denoiser.parts(grid[-1]))
        for k in range(steps):
            t, parts = grid[2 * k + 1], denoiser.parts(grid[2 * k + 1])
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            noise = denoiser.project(operator, operator.to_work(noise))
            d = denoiser.denoise(operator, operator.combine((parts.phi, s_0), (parts.sigma, noise)), t, context)
            bound = bound + 0.5 * (snr(grid[2 * k]) - snr(grid[2 * k + 2])) * (s_0 - d) ** 2
        return (bound * free).sum(2)
