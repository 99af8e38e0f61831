"""`grid_graph`: regular grids as PyG data, in which the operator recognises the grid."""

import math
import operator
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..spectral.grid import KINDS


def _per_axis(name: str, value, d: int) -> list:
    values = [value] * d if isinstance(value, str | Real) else list(value)
    if len(values) != d:
        raise ValueError(f"{name} must be one value, or one for each of the {d} axes, got {value!r}")
    return values


def _steps(kind: str, n: int) -> list[int]:
    """k for which nodes i and i + k of an axis of n nodes are neighbours, wherever both exist."""
    far = {"path": 1, "cycle": 1, "complete": n - 1}[kind]
    steps = set(range(1, far + 1)) | ({n - 1} if kind == "cycle" else set())
    return [sign * k for k in steps if 0 < k < n for sign in (-1, 1)]


def num_edges(shape: Sequence[int], kinds: Sequence[str]) -> int:
    """Directed edges of the grid."""
    nodes = math.prod(shape)
    return sum(nodes // n * sum(n - abs(k) for k in _steps(kind, n)) for n, kind in zip(shape, kinds, strict=True))


def _checked(
    shape: Sequence[int], kinds: str | Sequence[str], spacing: float | Sequence[float], dtype: torch.dtype
) -> tuple[list[int], list[str], list[float]]:
    """Nodes, kind and spacing of each axis."""
    try:
        sizes = [operator.index(n) for n in shape]
    except TypeError:
        raise ValueError(f"shape must be a sequence of integers, got {shape!r}") from None
    if not sizes or min(sizes) < 1:
        raise ValueError(f"shape must be one or more integers >= 1, got {shape!r}")
    names = _per_axis("kinds", kinds, len(sizes))
    for kind in names:
        if kind not in KINDS:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}; got {kind!r}")
    h = [float(x) for x in _per_axis("spacing", spacing, len(sizes))]
    if not all(math.isfinite(x) and x > 0 for x in h):
        raise ValueError(f"spacing must be finite and > 0, got {spacing!r}")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating point type, got {dtype}")
    return sizes, names, h


def _edges(index: Tensor, sizes: list[int], kinds: list[str]) -> tuple[Tensor, Tensor]:
    """Both directions of every edge, sorted, `[2, E]`, and the axis of each, `[E]`, of nodes with that `index [N, d]`."""
    axes = range(len(sizes))
    strides = [math.prod(sizes[a + 1 :]) for a in axes]
    # One column per offset to a neighbour, in ascending order: what exists of it, read row by row, is the sorted edge list.
    steps = sorted((k * strides[a], a, k) for a in axes for k in _steps(kinds[a], sizes[a]))
    exists = torch.empty(index.size(0), len(steps), dtype=torch.bool)
    for column, (_, a, k) in enumerate(steps):
        exists[:, column] = index[:, a] < sizes[a] - k if k > 0 else index[:, a] >= -k
    row, step = exists.nonzero().unbind(1)
    offset, axis = (torch.tensor([s[part] for s in steps], dtype=torch.long) for part in (0, 1))
    return torch.stack([row, row + offset[step]]), axis[step]


def grid_graph(
    shape: Sequence[int],
    kinds: str | Sequence[str] = "path",
    spacing: float | Sequence[float] = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Data:
    r"""The Cartesian product of one path, cycle or complete graph per axis.

    Its Laplacian is the Kronecker sum of the axes' own, so that `laplacian_operator` gives a `GridOperator` for it:

        L = Σ_a 1 ⊗ … ⊗ L_a/h_a² ⊗ … ⊗ 1

    A path has free (Neumann) ends, a cycle is periodic, and with complete graphs on all axes (a rook's graph) nodes are
    neighbours if all but one of their coordinates agree. A cycle of 2 nodes has one edge of weight 2/h², as its two edges
    coincide; an axis of 1 node has none.

    Args:
        shape: nodes along each axis, `[d]`.
        kinds: "path", "cycle" or "complete", for all axes or one each.
        spacing: h, distance of neighbours, for all axes or one each.
        dtype: of the weights, positions and spacings.

    Returns:
        `Data` with the nodes in C order (the last axis runs fastest) and

        - `edge_index [2, E]`: both directions, sorted by row and then column;
        - `edge_weight [E]`: 1/h² of the edge's axis, also where all are 1, so that grids of every spacing batch together;
        - `pos [N, d]`: index times spacing;
        - `grid_shape`, `grid_kind` (0 path, 1 cycle, 2 complete), `grid_spacing`, each `[1, d]`; batched `[num_graphs, d]`.

    Raises:
        ValueError: naming the argument that is no shape, kind or spacing.

    Example:
        >>> from pyg_diffusion import grid_graph, laplacian_operator
        >>> grid = grid_graph((2, 2), "cycle", spacing=0.5)
        >>> grid.edge_index
        tensor([[0, 0, 1, 1, 2, 2, 3, 3],
                [1, 2, 0, 3, 0, 3, 1, 2]])
        >>> laplacian_operator(grid).eigenvalues
        tensor([[ 0., 16., 16., 32.]])
    """
    sizes, names, h = _checked(shape, kinds, spacing, dtype)
    index = torch.cartesian_prod(*(torch.arange(n) for n in sizes)).view(-1, len(sizes))
    edge_index, axis = _edges(index, sizes, names)
    doubled = [kind == "cycle" and n == 2 for kind, n in zip(names, sizes, strict=True)]
    weight = torch.tensor([(1 + twice) / x**2 for twice, x in zip(doubled, h, strict=True)], dtype=dtype)

    def per_graph(values: list, of: torch.dtype) -> Tensor:
        return torch.tensor([values], dtype=of)

    return Data(
        edge_index=edge_index,
        edge_weight=weight[axis],
        pos=(index * torch.tensor(h, dtype=torch.float64)).to(dtype),
        grid_shape=per_graph(sizes, torch.long),
        grid_kind=per_graph([KINDS.index(kind) for kind in names], torch.long),
        grid_spacing=per_graph(h, dtype),
    )
