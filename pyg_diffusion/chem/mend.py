"""Mending: the nearest geometry whose lengths, angles, planes and contacts are those of their classes.

    E(x) = Σ_terms max(|v(x) - middle| - .15 half width, 0)² / step² + .02 Σ_atoms |x - x_0|²,   by damped Gauss-Newton steps

over the terms that the gate (`soundness`) looks at, with its bounds. What has only an upper bound and keeps it, such as a
height above a plane, may stay as it was: the atoms of a cage cannot be flat, and would draw it together. Mending heals a
draw that is broken in a few places of many, as of chains longer than training has seen; a geometry that its graph does not
allow stays unsound.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve
from scipy.sparse import csr_array, identity
from scipy.sparse.linalg import spsolve
from torch import Tensor

from .soundness import Check, Soundness

INNER = 0.15  # of the way from the middle of a class to its bounds is free
RESTRAINT = 0.02  # per Å²
DAMPING = 0.05  # per Å²
ROUNDS, STRIDE = 25, 0.3  # Å that a coordinate moves at most in one round
SETTLED = 0.03  # Å; the largest move of the last round
REACH = 0.5  # Å
DENSE = 150  # atoms; beyond, matrices are sparse

# Values of terms, [A], of the positions of their atoms, [A, a, 3].


def _length(x: Tensor) -> Tensor:
    return (x[:, 0] - x[:, 1]).square().sum(-1).clamp_min(1e-12).sqrt()


def _between(u: Tensor, v: Tensor) -> Tensor:
    sine = torch.linalg.cross(u, v).square().sum(-1).clamp_min(1e-12).sqrt()
    return torch.rad2deg(torch.atan2(sine, (u * v).sum(-1)))


def _angle(x: Tensor) -> Tensor:
    return _between(x[:, 0] - x[:, 1], x[:, 2] - x[:, 1])


def _height(x: Tensor) -> Tensor:
    centre, a, b, c = x.unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    return ((centre - a) * normal).sum(-1).abs() / normal.square().sum(-1).clamp_min(1e-12).sqrt()


def _twist(x: Tensor) -> Tensor:
    i, j, a, b, c, d = x.unbind(1)
    axis = torch.nn.functional.normalize(j - i, dim=-1, eps=1e-9)
    u, v = (w - (w * axis).sum(-1, keepdim=True) * axis for w in (a - b, c - d))
    return _between(u, torch.where((u * v).sum(-1, keepdim=True) < 0, -v, v))


MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "bond": _length,
    "contact": _length,
    "angle": _angle,
    "height": _height,
    "twist": _twist,
}


class _Aim(NamedTuple):
    """A check, and where its values should come to lie, `[K, T]`."""

    check: Check
    low: np.ndarray
    high: np.ndarray


class _Rows(NamedTuple):
    """Terms that are beyond their aim: of which geometry, their atoms, by how much, in steps, and its derivative."""

    member: np.ndarray  # [A]
    atoms: np.ndarray  # [A, a]
    off: np.ndarray  # [A]
    slope: np.ndarray  # [A, a, 3]


def mend(gate: Soundness, pos: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """Geometries near `[K, N, 3]`, in Å; whether they are sound now is for the gate to say.

    Args:
        fixed: atoms that stay where they are, `[N]`.
    """
    start = np.array(pos, dtype=float)
    x, moving = start.copy(), np.arange(len(start))
    free = np.repeat(1.0 - (np.zeros(start.shape[1]) if fixed is None else np.asarray(fixed, float)), 3)
    aims = [_aim(check, start) for check in gate.checks if check.family in MEASURES]
    for _ in range(ROUNDS):
        rows = [_rows(aim, x, moving) for aim in aims]
        steps = [_step(k, rows, x[m] - start[m], free) for k, m in enumerate(moving)]
        largest = np.array([np.abs(step).max(initial=0.0) for step in steps])
        for m, step, most in zip(moving, steps, largest, strict=True):
            x[m] += step * min(1.0, STRIDE / max(most, 1e-9))
        moving = moving[largest > SETTLED]
        if not len(moving):
            break
    return x


def _aim(check: Check, start: np.ndarray) -> _Aim:
    low, high, middle = check.low, check.high, check.middle
    shape = len(start), len(low)
    if check.family == "contact":
        return _Aim(check, np.broadcast_to(low + check.step / 2, shape), np.broadcast_to(high, shape))
    inner_low = np.where(low > 0, middle - INNER * (middle - low), low)
    inner_high = np.where(low > 0, middle + INNER * (high - middle), INNER * high)
    values = check.measure(start)
    unharmed = (low == 0) & (values <= high)
    return _Aim(check, np.broadcast_to(inner_low, shape), np.where(unharmed, np.maximum(values, inner_high), inner_high))


def _rows(aim: _Aim, x: np.ndarray, moving: np.ndarray) -> _Rows:
    """All terms, but of contacts those that a step may bring beyond: what is inside holds its place."""
    low, high, values = aim.low[moving], aim.high[moving], aim.check.measure(x[moving])
    off = np.minimum(values - low, 0.0) + np.maximum(values - high, 0.0)
    member, term = np.nonzero(values < low + REACH if aim.check.family == "contact" else np.isfinite(values))
    atoms = aim.check.atoms[term]
    points = torch.from_numpy(x[moving[member][:, None], atoms]).requires_grad_()
    (slope,) = torch.autograd.grad(MEASURES[aim.check.family](points).sum(), points)
    return _Rows(member, atoms, off[member, term] / aim.check.step, slope.numpy() / aim.check.step)


def _step(k: int, rows: list[_Rows], moved: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The damped Gauss-Newton step of geometry k, `[N, 3]`."""
    data, columns, counts, off = [], [], [], []
    for row in rows:
        own = row.member == k
        data.append(row.slope[own].reshape(-1))
        columns.append((3 * row.atoms[own][:, :, None] + np.arange(3)).reshape(-1))
        counts.append(np.full(int(own.sum()), 3 * row.atoms.shape[1]))
        off.append(row.off[own])
    size = moved.size
    residual = np.concatenate([*off, np.zeros(0)])
    gradient = RESTRAINT * moved.reshape(-1)
    hold = RESTRAINT + DAMPING
    pointer = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    column = np.concatenate(columns)
    jacobian = csr_array((np.concatenate(data) * free[column], column, pointer), shape=(len(residual), size))
    gradient = jacobian.T @ residual + free * gradient
    matrix = jacobian.T @ jacobian
    if size > 3 * DENSE:
        return -spsolve((matrix + hold * identity(size)).tocsc(), gradient).reshape(moved.shape)
    dense = matrix.toarray()
    dense[np.diag_indices(size)] += hold
    return -solve(dense, gradient, assume_a="pos").reshape(moved.shape)
