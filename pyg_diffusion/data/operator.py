"""The one place that chooses how f(L) x is computed for a PyG `Data` or `Batch`."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..spectral import ChebyshevOperator, DenseOperator, ExactOperator, GridOperator, Laplacian, LaplacianOperator
from .grid import GRID_KINDS, num_edges

Backend = Callable[[Laplacian], LaplacianOperator]

DENSE_NODES = 512


def edge_weights(data: Data, weight: str | None) -> Tensor | None:
    """The weights `[E]` that stand under the name `weight`, or None where all are 1.

    That is so if `weight` is None, and, as everywhere in PyG, if it is "edge_weight" and the data has none.
    """
    if weight is None or (weight == "edge_weight" and weight not in data):
        return None
    if weight not in data:
        raise ValueError(f"the data has no {weight!r} to weight its edges by; weight=None takes 1 for all")
    if data[weight].shape != data.edge_index.shape[1:]:
        raise ValueError(f"{weight} must be [{data.edge_index.size(1)}], got {list(data[weight].shape)}")
    return data[weight]


class _Edges:
    """What the Laplacian is made of, read off the data."""

    def __init__(self, data: Data, weight: str | None, normalized: bool):
        if data.get("edge_index") is None:
            raise ValueError("the data has no edge_index, so no Laplacian; for nodes without edges give an empty [2, 0]")
        self.index, self.weight, self.normalized = data.edge_index, edge_weights(data, weight), normalized
        self.num_nodes = int(data.num_nodes or 0)
        self.batch = data.get("batch")
        self.num_graphs = getattr(data, "num_graphs", None)
        if self.batch is None:
            self.sizes = torch.tensor([self.num_nodes], device=self.index.device)
        else:
            self.sizes = torch.bincount(self.batch, minlength=self.num_graphs or 0)

    def laplacian(self) -> Laplacian:
        return Laplacian.from_edges(
            self.index, self.num_nodes, self.weight, self.batch, self.num_graphs, normalized=self.normalized
        )

    def times(self, x: Tensor) -> Tensor:
        """L x straight from the edges, float64."""
        row, col = self.index
        weight = x.new_ones(row.numel()) if self.weight is None else self.weight.detach().double()
        scale = x.new_ones(self.num_nodes)
        if self.normalized:
            degree = scale.new_zeros(self.num_nodes).index_add(0, row, weight * (row != col))
            scale = torch.where(degree > 0, degree.rsqrt(), 0.0)
        x = scale[:, None] * x
        return scale[:, None] * torch.zeros_like(x).index_add(0, row, weight[:, None] * (x[row] - x[col]))

    def belong_to(self, operator: ExactOperator, precision: torch.dtype) -> bool:
        """Whether the float64 operator is that of these edges and weights: L x = U Λ Uᵀ x at every node, for random x.

        An edge that is missing, new or of another weight shows at its two nodes, down to a change of about 1e-6 λ_max (with
        float32 data). Rounding of what is stored comes to 2 eps λ_max.
        """
        if self.index.numel() and not 0 <= int(self.index.min()) <= int(self.index.max()) < self.num_nodes:
            return False
        x = torch.rand(self.num_nodes, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = x.to(self.index.device)
        difference = (operator.apply(lambda lam: lam, x) - self.times(x)).abs().amax(1)
        top = (operator.eigenvalues * operator.mode_mask).amax(1) if self.num_nodes else operator.sizes.double()
        tolerance = 8 * torch.finfo(precision).eps + 1e-12  # the latter for float64: eigh itself
        return bool((difference <= tolerance * operator.on_nodes(top)).all())


def laplacian_operator(
    data: Data,
    backend: Backend | None = None,
    dtype: torch.dtype = torch.float32,
    normalized: bool = False,
    weight: str | None = "edge_weight",
) -> LaplacianOperator:
    r"""The operator of a `Data` or `Batch`, on its device. The first of these that fits decides, and the repr says which:

    1. `backend`, if given;
    2. a spectrum stored by `AddLaplacianSpectrum` -> `DenseOperator`, nothing decomposed;
    3. one or several equal grids from `grid_graph`, with all their edges and weights -> `GridOperator`;
    4. no graph larger than `DENSE_NODES` -> `DenseOperator`, one `eigh`;
    5. otherwise -> `ChebyshevOperator`, approximate with an error bound.

    What is stored is used only if it belongs to the edges and weights as they are now, by one product with L. A grid that
    lost edges or changed weights is a graph like any other, and goes on to the next rule. A spectrum that does not fit is
    an error, since everybody who reads it would be wrong.

    Args:
        backend: a callable `Laplacian -> LaplacianOperator`: `LanczosOperator.from_laplacian`, or with options
            `functools.partial(LowRankOperator.from_laplacian, k=64)`.
        dtype: of the signals; decompositions are done in float64 whatever it is.
        normalized: I - D^{-1/2} W D^{-1/2} instead of D - W.
        weight: name of the attribute with the edge weights, `[E]`; None for unit weights. "edge_weight" may be absent and
            means 1 then.

    Raises:
        ValueError: no `edge_index`, no such weights, edges that make no Laplacian (see `Laplacian.from_edges`), or a stored
            spectrum of other edges, weights or normalisation.
    """
    edges = _Edges(data, weight, normalized)
    operator: LaplacianOperator
    if backend is not None:
        if not callable(backend):
            raise TypeError(f"backend must be callable, such as LanczosOperator.from_laplacian; got {backend!r}")
        operator, reason = backend(edges.laplacian()), "asked for"
    elif "eigenvalues" in data:
        operator, reason = _stored(data, edges), "stored spectrum"
    else:
        grid, reason = _grid(data, edges)
        if grid is not None:
            operator = grid
        else:
            largest = int(edges.sizes.max()) if edges.sizes.numel() else 0
            small = largest <= DENSE_NODES
            operator = (DenseOperator if small else ChebyshevOperator).from_laplacian(edges.laplacian())
            reason += f"largest graph has {largest} {'<=' if small else '>'} {DENSE_NODES} nodes"
    operator = operator.to(dtype=dtype)
    operator.reason = reason
    return operator


def _stored(data: Data, edges: _Edges) -> DenseOperator:
    lam, u = data.eigenvalues, data.eigenvectors
    if lam.shape == (edges.num_nodes,) and u.shape == (int(edges.sizes.square().sum()),):
        operator = DenseOperator.from_flat(lam.double(), u.double(), edges.sizes)
        operator.constant_null = not edges.normalized
        if edges.belong_to(operator, lam.dtype):
            return operator
    raise ValueError(
        f"the stored eigenvalues and eigenvectors are not those of the Laplacian asked for (normalized={edges.normalized}, "
        f"{'unit' if edges.weight is None else 'given'} weights, {edges.index.size(1)} edges): nodes, edges or weights changed "
        "after AddLaplacianSpectrum, or it took other arguments. Apply it again, pass what it took (weight=, normalized=), or "
        "backend=DenseOperator.from_laplacian to decompose now"
    )


def _grid(data: Data, edges: _Edges) -> tuple[GridOperator | None, str]:
    """The grid's operator, or None where the data is none; and the reason."""
    if "grid_shape" not in data or edges.normalized:
        return None, ""
    shapes, kinds, spacings = data.grid_shape, data.grid_kind, data.grid_spacing
    num_graphs = edges.sizes.numel()
    if any(bool((a != a[:1]).any()) for a in (shapes, kinds, spacings)):
        return None, "grids of several kinds; "
    shape, names = shapes[0].tolist(), [GRID_KINDS[k] for k in kinds[0].tolist()]
    row, col = edges.index
    # The number of edges beside the product with L: where spacings differ a thousandfold, a weak edge is below rounding.
    if num_graphs * math.prod(shape) == edges.num_nodes and num_graphs * num_edges(shape, names) == int((row != col).sum()):
        grid = GridOperator(
            shape,
            names,
            spacings[0].tolist(),
            num_graphs,
            dtype=torch.float64,
            device=edges.index.device,
        )
        if edges.belong_to(grid, spacings.dtype):
            return grid, f"grid {'x'.join(map(str, shape))}"
    return None, "not the grid's edges and weights any more; "
