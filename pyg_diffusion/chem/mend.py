"""Mending: the nearest geometry whose lengths, angles, planes and contacts are those of their classes.

    E(x) = Σ_terms max(|v(x) - middle| - .3 half width, 0)² / step² + .02 Σ_atoms |x - x_0|²,   by L-BFGS

over the terms that the gate (`soundness`) looks at, with its bounds. It heals a draw that is broken in a few places of many,
as of chains longer than training has seen; a geometry that its graph does not allow stays unsound.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from .soundness import Soundness

INNER = 0.3  # of the half width of a class is free
RESTRAINT = 0.02  # per Å²
ITERATIONS = 300


def _length(x: Tensor, atoms: Tensor) -> Tensor:
    return (x[atoms[:, 0]] - x[atoms[:, 1]]).square().sum(-1).clamp_min(1e-12).sqrt()


def _angle(u: Tensor, v: Tensor) -> Tensor:
    sine = torch.linalg.cross(u, v).square().sum(-1).clamp_min(1e-12).sqrt()
    return torch.rad2deg(torch.atan2(sine, (u * v).sum(-1)))


def _bend(x: Tensor, atoms: Tensor) -> Tensor:
    return _angle(x[atoms[:, 0]] - x[atoms[:, 1]], x[atoms[:, 2]] - x[atoms[:, 1]])


def _height(x: Tensor, atoms: Tensor) -> Tensor:
    centre, a, b, c = (x[atoms[:, k]] for k in range(4))
    normal = torch.linalg.cross(b - a, c - a)
    return ((centre - a) * normal).sum(-1).abs() / normal.square().sum(-1).clamp_min(1e-12).sqrt()


def _twist(x: Tensor, atoms: Tensor) -> Tensor:
    i, j, a, b, c, d = (x[atoms[:, k]] for k in range(6))
    axis = torch.nn.functional.normalize(j - i, dim=-1, eps=1e-9)
    u, v = (w - (w * axis).sum(-1, keepdim=True) * axis for w in (a - b, c - d))
    return _angle(u, torch.where((u * v).sum(-1, keepdim=True) < 0, -v, v))


MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bond": _length,
    "contact": _length,
    "angle": _bend,
    "height": _height,
    "twist": _twist,
}


def mend(gate: Soundness, pos: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """A geometry near `[N, 3]`, in Å; whether it is sound now is for the gate to say.

    Args:
        fixed: atoms that stay where they are, `[N]`.
    """
    terms = []
    for check in gate.checks:
        if check.family not in MEASURES:
            continue
        low, high = (torch.from_numpy(np.array(bound, dtype=float)) for bound in (check.low, check.high))
        half = INNER * (high - low) / 2
        one_sided = torch.isinf(high)
        inner_high = torch.where(low > 0, (low + high) / 2 + half, INNER * high)
        inner_low = torch.where(one_sided, low + check.step / 2, torch.where(low > 0, (low + high) / 2 - half, low))
        terms.append((MEASURES[check.family], torch.from_numpy(check.atoms), inner_low, inner_high, check.step))
    start = torch.from_numpy(np.array(pos, dtype=float))
    free = torch.ones(len(start), 1, dtype=start.dtype)
    if fixed is not None:
        free[torch.from_numpy(np.asarray(fixed))] = 0.0

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = torch.from_numpy(flat.reshape(-1, 3)).requires_grad_()
        x = start + free * (moved - start)
        total = RESTRAINT * (x - start).square().sum()
        for measure, atoms, low, high, step in terms:
            value = measure(x, atoms)
            total = total + (((low - value).clamp_min(0) + (value - high).clamp_min(0)) / step).square().sum()
        total.backward()
        assert moved.grad is not None
        return float(total.detach()), moved.grad.numpy().ravel()

    found = minimize(energy, start.numpy().ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return (start + free * (torch.from_numpy(found.x.reshape(-1, 3)) - start)).numpy()
