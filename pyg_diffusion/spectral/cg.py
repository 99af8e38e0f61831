"""Conjugate gradients for many symmetric systems at once."""

from collections.abc import Callable

import torch
from torch import Tensor


class ConvergenceError(RuntimeError):
    """A linear system that was not solved, and what might help."""


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    per_graph: Callable[[Tensor], Tensor],
    on_nodes: Callable[[Tensor], Tensor],
    tol: float,
    max_iterations: int,
) -> Tensor:
    """y with A y = b for a symmetric positive semi-definite A and b in its range (Hestenes and Stiefel 1952).

    Every graph and channel is a system of its own and stops when ‖b - A y‖ <= tol ‖b‖.

    Args:
        product: y -> A y, `[num_nodes, C]`.
        b: `[num_nodes, C]`.
        per_graph: sums over the nodes of each graph, `[num_nodes, C] -> [num_graphs, C]`.
        on_nodes: the way back, `[num_graphs, C] -> [num_nodes, C]`.

    Raises:
        ConvergenceError: no convergence.
    """
    tiny = torch.finfo(b.dtype).tiny
    y, r = torch.zeros_like(b), b.clone()
    p, rr = r.clone(), per_graph(r.square())
    target = rr
    for _ in range(max_iterations):
        active = ~(rr <= tol**2 * target)  # so that NaN is not taken for solved
        if not bool(active.any()):
            return y
        ap = product(p)
        step = torch.where(active, rr / per_graph(p * ap).clamp_min(tiny), 0.0)
        y += on_nodes(step) * p
        r -= on_nodes(step) * ap
        rr, before = per_graph(r.square()), rr
        p = r + on_nodes(torch.where(active, rr / before.clamp_min(tiny), 0.0)) * p
    worst = float((rr / target.clamp_min(tiny)).max().sqrt())
    raise ConvergenceError(
        f"conjugate gradients: residual {worst:.1e} > {tol:.1e} after {max_iterations} iterations; "
        "use float64, a larger tol, or a better conditioned system (λ₀ > 0)"
    )
