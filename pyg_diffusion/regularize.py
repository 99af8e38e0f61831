r"""Regularizers: energies of flat signals, one value per graph, differentiable and without state.

A term is called as `term(operator, x, ...)` with `x [num_nodes, C]` and returns `[num_graphs]`. It serves as a training
penalty on the denoiser's estimate, and, with what it needs bound, as the energy of `sample.EnergyGuided`:

    energy = combine((2.0, partial(smoothness, operator)), (0.1, partial(direction_alignment, operator, directions=n)))

Molecules are held by distances: bonds (1,2), angles (1,3) and clashes (van der Waals) are all lower and upper bounds on the
distances of pairs, made once per batch by `bond_bounds`, `angle_bounds` and `clash_bounds` and paid for by `violation`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .spectral import Kernel, LaplacianOperator

Penalty = Callable[[Tensor], Tensor]  # a signal [num_nodes, C] -> [num_graphs]

# Ideal angle at an atom in radians by its class of hybridization, in the order of `schema.HYBRIDIZATIONS`, then "other":
# NaN where there is no single one.
HYBRIDIZATION_ANGLES = (math.nan, math.pi, 2 * math.pi / 3, math.acos(-1 / 3), math.nan, math.nan)

# Van der Waals radii in Å. Bondi 1964, J. Phys. Chem. 68, 441; H and B: Mantina et al. 2009, J. Phys. Chem. A 113, 5806.
VDW_RADII = {
    1: 1.10, 5: 1.92, 6: 1.70, 7: 1.55, 8: 1.52, 9: 1.47, 14: 2.10,
    15: 1.80, 16: 1.80, 17: 1.75, 34: 1.90, 35: 1.85, 53: 1.98,
}  # fmt: skip

# Atomic masses in Da from hydrogen on (IUPAC; of the longest-lived isotope where there is no stable one).
MASSES = (
    1.008, 4.003, 6.941, 9.012, 10.812, 12.011, 14.007, 15.999, 18.998, 20.18, 22.99, 24.305, 26.982, 28.086, 30.974,
    32.067, 35.453, 39.948, 39.098, 40.078, 44.956, 47.867, 50.944, 51.996, 54.938, 55.845, 58.933, 58.693, 63.546,
    65.39, 69.723, 72.61, 74.922, 78.96, 79.904, 83.8, 85.468, 87.62, 88.906, 91.224, 92.906, 95.94, 98.0, 101.07,
    102.906, 106.42, 107.868, 112.412, 114.818, 118.711, 121.76, 127.6, 126.904, 131.29, 132.905, 137.328, 138.906,
    140.116, 140.908, 144.24, 145.0, 150.36, 151.964, 157.25, 158.925, 162.5, 164.93, 167.26, 168.934, 173.04,
    174.967, 178.49, 180.948, 183.84, 186.207, 190.23, 192.217, 195.078, 196.967, 200.59, 204.383, 207.2, 208.98,
    209.0, 210.0, 222.0, 223.0, 226.0, 227.0, 232.038, 231.036, 238.029, 237.0, 244.0, 243.0, 247.0, 247.0, 251.0,
    252.0, 257.0, 258.0, 259.0, 262.0, 267.0, 268.0, 269.0, 270.0, 269.0, 278.0, 281.0, 281.0, 285.0, 284.0, 289.0,
    288.0, 293.0, 292.0, 294.0,
)  # fmt: skip


def combine(*terms: tuple[float, Callable[..., Tensor]]) -> Callable[..., Tensor]:
    """The sum of weight · term(...): called as its terms are, by `(x)` or by `(operator, x)`."""
    if not terms:
        raise ValueError("combine needs at least one pair (weight, term)")
    if not all(math.isfinite(weight) for weight, _ in terms):
        raise ValueError(f"weights must be finite, got {[weight for weight, _ in terms]}")

    def combined(*args: Any) -> Tensor:
        first, *rest = (weight * term(*args) for weight, term in terms)
        return sum(rest, first)

    return combined


def energy(operator: LaplacianOperator, x: Tensor, target: Tensor, metric: Kernel | None = None) -> Tensor:
    """½‖M(L)^{1/2} (x - target)‖² of each graph, M = 1 if `metric` is None; M = 1/p is the Gaussian of spectrum p."""
    gap = x - target
    weighted = gap if metric is None else operator.apply(metric, gap)
    return 0.5 * operator.graph_sum(gap * weighted).sum(1)


def reference_energy(
    operator: LaplacianOperator, x: Tensor, reference: Tensor, weights: Tensor | None = None, turned: bool = False
) -> Tensor:
    """½‖M^{1/2} (x - S*)‖² = ½ Σ_i m_i |x_i - S*_i|² of each graph.

    Args:
        reference: S*, `[num_nodes, C]`.
        weights: M, `[num_nodes]`, >= 0, such as atomic masses; 1 if None.
        turned: S* may be moved and turned as a whole, so that only the shape counts: the least value over proper rotations
            and translations, for C = 3.
    """
    m = x.new_ones(x.size(0), 1) if weights is None else weights.to(x)[:, None]
    reference = reference.to(x)
    if turned:
        reference = superposed(operator, x.detach(), reference, m)
    return 0.5 * operator.graph_sum(m * (x - reference).square()).sum(1)


def superposed(operator: LaplacianOperator, x: Tensor, reference: Tensor, m: Tensor) -> Tensor:
    """The reference, turned and moved graph by graph to where Σ m |x - S*|² is least (Kabsch 1976), `[num_nodes, 3]`.

    At the least value the gradient by x needs not follow the rotation, which is stationary.

    Args:
        x, reference: `[num_nodes, 3]`.
        m: `[num_nodes, 1]`, >= 0.
    """
    total = operator.graph_sum(m).clamp_min(1e-12)

    def centre(v: Tensor) -> Tensor:
        return operator.on_nodes(operator.graph_sum(m * v) / total)

    at = centre(x)
    reference = reference - centre(reference)
    outer = (m * reference)[:, :, None] * (x - at)[:, None, :]
    u, _, vh = torch.linalg.svd(operator.graph_sum(outer.flatten(1)).view(-1, 3, 3).double())
    u[:, :, 2] *= torch.linalg.det(u @ vh).sign()[:, None]
    turn = operator.on_nodes((u @ vh).to(x)).expand(x.size(0), 3, 3)
    return torch.einsum("ni,nij->nj", reference, turn) + at


def smoothness(operator: LaplacianOperator, x: Tensor) -> Tensor:
    """‖L x‖² of each graph: 0 for signals that are constant on every component."""
    return operator.graph_sum(operator.apply(lambda lam: lam, x).square()).sum(1)


def neighbour_alignment(operator: LaplacianOperator, x: Tensor) -> Tensor:
    r"""Σ_{edges ij} w_ij (1 - cos ∠(x_i, x_j)) = ½⟨u, L u⟩ with u = x/|x|: 0 where all neighbours point one way.

    A node with x_i = 0 has no direction and enters as u_i = 0. For the combinatorial Laplacian.
    """
    if not operator.constant_null:
        raise ValueError("alignment of neighbours needs the combinatorial Laplacian, not the normalised one")
    u = _unit(x)
    return 0.5 * operator.graph_sum(u * operator.apply(lambda lam: lam, u)).sum(1)


def direction_alignment(operator: LaplacianOperator, x: Tensor, directions: Tensor) -> Tensor:
    """Σ_i (1 - cos ∠(x_i, n_i)) over the nodes with a wanted direction `n [num_nodes, C]`; those with n_i = 0 are free."""
    wanted = (directions != 0).any(1, keepdim=True)
    return operator.graph_sum((1 - (_unit(x) * _unit(directions)).sum(1, keepdim=True)) * wanted).sum(1)


def _unit(x: Tensor) -> Tensor:
    norm = x.norm(dim=1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1.0)


@dataclass(frozen=True)
class DistanceBounds:
    """Bounds low <= |x_i - x_j| <= high on pairs of nodes, each pair once.

    Attributes:
        index: the pairs, `[2, P]`.
        low, high: `[P]`.
    """

    index: Tensor
    low: Tensor
    high: Tensor


def violation(operator: LaplacianOperator, x: Tensor, bounds: DistanceBounds) -> Tensor:
    """½ Σ_pairs (low - d)₊² + (d - high)₊² of each graph, d = |x_i - x_j|: unchanged by rotations and translations."""
    i, j = bounds.index
    d = (x[i] - x[j]).norm(dim=1)
    excess = (bounds.low.to(x) - d).clamp_min(0).square() + (d - bounds.high.to(x)).clamp_min(0).square()
    return 0.5 * operator.graph_sum(x.new_zeros(x.size(0), 1).index_add(0, i, excess[:, None])).sum(1)


def bond_bounds(edge_index: Tensor, lengths: Tensor, tolerance: float = 0.0) -> DistanceBounds:
    """|x_i - x_j| = b ± tolerance for every bond.

    Args:
        edge_index: both directions of every bond, `[2, E]`.
        lengths: b, `[E]`, such as `transforms.bond_weights.bond_lengths(z, edge_index, edge_attr)`; bonds with NaN are free.
    """
    kept = (edge_index[0] < edge_index[1]) & ~lengths.isnan()
    return DistanceBounds(edge_index[:, kept], lengths[kept] - tolerance, lengths[kept] + tolerance)


def angle_bounds(edge_index: Tensor, lengths: Tensor, angles: Tensor, tolerance: float = 0.0) -> DistanceBounds:
    """|x_i - x_k|² = b_ij² + b_jk² - 2 b_ij b_jk cos θ_j, ± tolerance on the distance, for every angle i-j-k.

    Ideal angles hold in chains and large rings: pairs that are bonded themselves (3-rings) or have two common neighbours
    (4-rings) are left out; in 5-rings of sp² atoms the distance is 7 % too long, which `tolerance` can absorb.

    Args:
        edge_index, lengths: as for `bond_bounds`.
        angles: θ at each atom in radians, `[num_nodes]`, such as `HYBRIDIZATION_ANGLES` at the atom's class of
            hybridization; angles at atoms with NaN are free, and so are those with an unknown bond.
    """
    by_centre = edge_index[0].argsort(stable=True)
    centre, end, b = edge_index[0][by_centre], edge_index[1][by_centre], lengths[by_centre]
    degree = torch.bincount(centre, minlength=len(angles))
    # Every directed bond j -> i meets all bonds j -> k of its centre.
    count = degree[centre]
    first = torch.arange(len(centre), device=centre.device).repeat_interleave(count)
    start = (degree.cumsum(0) - degree)[centre]
    within = torch.arange(len(first), device=centre.device) - (count.cumsum(0) - count).repeat_interleave(count)
    second = start.repeat_interleave(count) + within
    i, k = end[first], end[second]
    kept = i < k
    i, k, first, second = i[kept], k[kept], first[kept], second[kept]
    squares = b[first] ** 2 + b[second] ** 2 - 2 * b[first] * b[second] * angles[centre[first]].to(b).cos()
    n = len(angles)
    _, pair, copies = torch.unique(i * n + k, return_inverse=True, return_counts=True)
    bonded = torch.isin(i * n + k, edge_index[0] * n + edge_index[1])
    kept = (copies[pair] == 1) & ~bonded & ~squares.isnan()
    d = squares[kept].clamp_min(0).sqrt()
    return DistanceBounds(torch.stack([i[kept], k[kept]]), d - tolerance, d + tolerance)


def clash_bounds(edge_index: Tensor, sizes: Tensor, radii: Tensor, factor: float = 0.6, bonds: int = 3) -> DistanceBounds:
    """|x_i - x_j| >= factor · (r_i + r_j) for all pairs of a graph more than `bonds` bonds apart, fragments included.

    Args:
        edge_index: both directions of every bond, `[2, E]`.
        sizes: nodes of each graph, `operator.sizes`.
        radii: van der Waals radii, `[num_nodes]`, such as `VDW_RADII` at the atomic numbers; atoms with NaN are free.
    """
    pairs, start = [], 0
    for n in sizes.tolist():
        inside = (edge_index[0] >= start) & (edge_index[0] < start + n)
        near = torch.eye(n, dtype=torch.float32, device=edge_index.device)
        step = near.clone()
        step[tuple(edge_index[:, inside] - start)] = 1
        for _ in range(bonds):
            near = ((near @ step) > 0).float()
        pairs.append((near == 0).triu(1).nonzero().T + start)
        start += n
    index = torch.cat(pairs, 1) if pairs else edge_index.new_zeros(2, 0)
    low = factor * (radii[index[0]] + radii[index[1]])
    known = ~low.isnan()
    return DistanceBounds(index[:, known], low[known], torch.full_like(low[known], math.inf))
