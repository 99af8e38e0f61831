"""How sure the model is of a sample: how far denoising moves it, once noise has been put on it again.

    c(x) = exp 1/|T| Σ_τ log r_τ(x),    r_τ² = 1/H Σ_i |R D(φ x + σ ε, τ)_i - x_i|²

over the H atoms that count, R the rotation that superimposes the estimate on x; in the signal's unit, small where the model
agrees with itself. D(S_t) returns to a sample of the model if the noise levels T leave its torsions standing and the model
knows one place for them; T spans the levels at which they begin to give way. A rank, no calibrated error.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..spectral import LaplacianOperator
from .guidance import Steered

TAUS = (0.15, 0.4)  # chosen on molecules, gyration radii of 2 to 5 Å


def superimposed(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Squared distance of every node of x to that of y, `[B, N]`, after the best rotation and translation of x.

    Args:
        x, y: `[B, N, 3]`.
        weight: of each node in the superposition (Kabsch 1976), `[B, N]`, 0 in the padding. A graph without any gives 0.
    """
    share = (weight / weight.sum(1, keepdim=True).clamp_min(1e-12)).unsqueeze(-1)
    x, y = x - (share * x).sum(1, keepdim=True), y - (share * y).sum(1, keepdim=True)
    u, _, vt = torch.linalg.svd((share * x).mT @ y)
    handed = torch.ones_like(u[:, 0])
    handed[:, 2] = torch.linalg.det(u @ vt).sign()  # a rotation, no reflection
    apart: Tensor = x @ (u * handed[:, None]) @ vt - y
    return apart.square().sum(-1)


@torch.no_grad()
def uncertainty(
    denoiser: Denoiser | Steered,
    operator: LaplacianOperator,
    x: Tensor,
    context: Any,
    noise: Callable[[], Tensor],
    weight: Tensor,
    taus: Sequence[float] = TAUS,
) -> Tensor:
    """c, `[num_graphs]`; `len(taus)` network evaluations. A graph of one node gives 0.

    Args:
        x: samples, `[num_nodes, 3]`.
        context: what the network is told.
        noise: draws white node signals `[num_nodes, 3]`.
        weight: of each node, `[num_nodes]`.
    """
    packed, weight = operator.pack(x), operator.pack(weight)
    count = weight.sum(1).clamp_min(1e-12)
    x_0 = denoiser.project(operator, operator.to_work(x))
    log_move = torch.zeros_like(count)
    for tau in taus:
        t = denoiser.sde.schedule.t(torch.full((operator.num_graphs, 1), tau, device=x.device, dtype=x.dtype))
        parts = denoiser.parts(t)
        x_t = operator.combine((parts.phi, x_0), (parts.sigma, denoiser.project(operator, operator.to_work(noise()))))
        estimate = operator.from_work(denoiser.denoise(operator, x_t, t, context))
        square = (weight * superimposed(operator.pack(estimate), packed, weight)).sum(1) / count
        log_move += 0.5 * square.clamp_min(1e-24).log() / len(taus)
    return log_move.exp() * (operator.sizes > 1)
