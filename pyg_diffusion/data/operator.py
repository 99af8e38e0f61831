"""The one place that chooses how f(L) x is computed for a PyG `Data` or `Batch`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import to_edge_index

from ..spectral import ChebyshevOperator, DenseOperator, ExactOperator, Laplacian, LaplacianOperator
from ..spectral.grid import KINDS, GridOperator
from .grid import num_edges

Backend = Callable[[Laplacian], LaplacianOperator]

# Up to here `DenseOperator` is faster, or slower by a factor of about 2 at most, and exact. Dense against Chebyshev for the
# decomposition and 50 sampling steps of 3 channels on one CPU core, in ms: one tree of 256 nodes 22 / 97, 512: 85 / 102,
# 768: 173 / 110, 1024: 595 / 113; 16 trees at once, 128 nodes: 62 / 250, 256: 233 / 343, 384: 524 / 449, 512: 1252 / 542.
# Random graphs of mean degree 4 cross over a little later.
DENSE_NODES = 512


def edges_of(data: Any) -> Tensor:
    """`edge_index [2, E]` of a `Data`, read off `adj_t` where `ToSparseTensor` put it there.

    Raises:
        TypeError, ValueError: the data is of another kind, or has no edges of this form.
    """
    if isinstance(data, HeteroData):
        raise TypeError("a HeteroData has edges of several kinds; take one of them, or data.to_homogeneous()")
    if not isinstance(data, Data):
        raise TypeError(f"a Laplacian is made of a torch_geometric Data or Batch, got {type(data).__name__}")
    index = data.get("edge_index")
    if index is None and data.get("adj_t") is not None:
        index = to_edge_index(data.adj_t)[0]
    if index is None:
        raise ValueError("the data has no edge_index, so no Laplacian; for nodes without edges give an empty [2, 0]")
    if not isinstance(index, Tensor):
        raise TypeError(f"edge_index must be a tensor [2, num_edges], got {type(index).__name__}; see torch.as_tensor")
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise ValueError(f"edge_index must be integers [2, num_edges], got {index.dtype} {list(index.shape)}")
    return index.long()


def edge_weights(data: Data, weight: str | None) -> Tensor | None:
    """The weights `[E]` that stand under the name `weight`, or None where all are 1.

    That is so if `weight` is None, and, as everywhere in PyG, if it is "edge_weight" and the data has none. Where there is
    an `adj_t` in the place of edges, its values are the "edge_weight".
    """
    if weight is None:
        return None
    if weight == "edge_weight" and data.get(weight) is None:
        if data.get("edge_index") is not None or data.get("adj_t") is None:
            return None
        values = to_edge_index(data.adj_t)[1]
    elif weight not in data:
        raise ValueError(f"the data has no {weight!r} to weight its edges by; weight=None takes 1 for all")
    else:
        values = data[weight]
    if not isinstance(values, Tensor):
        raise TypeError(f"{weight} must be a tensor [E], got {type(values).__name__}; see torch.as_tensor")
    if values.is_complex():
        raise ValueError(f"{weight} must be real, got {values.dtype}")
    edges = edges_of(data)
    if values.shape != edges.shape[1:]:
        raise ValueError(f"{weight} must be [{edges.size(1)}], got {list(values.shape)}")
    return values


class _Edges:
    """What the Laplacian is made of, read off the data."""

    def __init__(self, data: Data, weight: str | None, normalized: bool):
        self.index, self.weight, self.normalized = edges_of(data), edge_weights(data, weight), normalized
        self.num_nodes, self.batch = int(data.num_nodes or 0), data.get("batch")
        self.num_graphs = getattr(data, "num_graphs", None)
        if self.batch is None:
            self.sizes = torch.tensor([self.num_nodes], device=self.index.device)
        else:
            self.sizes = torch.bincount(self.batch, minlength=self.num_graphs or 0)

    def laplacian(self) -> Laplacian:
        return Laplacian.from_edges(self.index, self.num_nodes, self.weight, self.batch, self.num_graphs, self.normalized)

    def times(self, x: Tensor) -> Tensor:
        """L x straight from the edges, where they are: `Laplacian` goes by way of the CPU, too slow for every step.

        As there, weights that differ between the two directions of an edge, by their rounding, count with their mean.
        """
        row, col = self.index
        weight = x.new_ones(row.numel(), 1) if self.weight is None else self.weight.detach().to(x.dtype)[:, None]

        def gathered(flow: Tensor, sign: int) -> Tensor:
            """What flows over every edge, summed at the nodes."""
            there = torch.zeros_like(x[:, : flow.size(1)]).index_add(0, row, flow)
            return there if self.weight is None else (there + sign * torch.zeros_like(there).index_add(0, col, flow)) / 2

        if not self.normalized:
            return gathered(weight * (x[row] - x[col]), -1)
        degree = gathered(weight * (row != col)[:, None], 1)
        scale = torch.where(degree > 0, degree.rsqrt(), 0.0)
        x = scale * x
        return scale * gathered(weight * (x[row] - x[col]), -1)

    def belong_to(self, operator: ExactOperator, stored: torch.dtype) -> bool:
        """Whether a float64 operator, made of what was stored in another type, is theirs: U Λ Uᵀ x = L x for random x.

        An edge that is missing, new or of another weight shows at its two nodes, down to a change of 1e-6 λ_max or so in
        float32. What rounding does to stored values, or to weights that were cast to float32 since, comes to 2 eps λ_max.
        """
        if self.index.numel() and not 0 <= int(self.index.min()) <= int(self.index.max()) < self.num_nodes:
            return False
        if not self.num_nodes:
            return True
        x = torch.rand(self.num_nodes, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = x.to(operator.device)
        difference = (operator.apply(lambda lam: lam, x) - self.times(x)).abs()
        top = (operator.eigenvalues * operator.mode_mask).amax(1, keepdim=True)
        narrow = self.weight is not None and self.weight.is_floating_point() and self.weight.dtype != torch.float64
        eps = torch.finfo(torch.float32).eps if narrow else torch.finfo(stored).eps
        tolerance = 8 * max(eps, torch.finfo(stored).eps) + 1e-12  # the latter for eigh itself
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

    What is stored is used only if it belongs to the edges and weights as they are now, which one product with L tells. A
    grid that lost edges or changed weights is a graph like any other, and goes on to the next rule. A spectrum that does
    not fit is an error, since everybody who reads it would be wrong.

    Args:
        backend: a callable `Laplacian -> LaplacianOperator`, such as `LanczosOperator`, `DenseOperator.from_laplacian`, or
            with options `functools.partial(LowRankOperator.from_laplacian, k=64)`.
        dtype: of the signals; decompositions are done in float64 whatever it is.
        normalized: I - D^{-1/2} W D^{-1/2} instead of D - W.
        weight: name of the attribute with the edge weights, `[E]`; None for unit weights. "edge_weight" may be absent and
            means 1 then.

    Raises:
        TypeError: the data is no `Data`, or its edges or weights are no tensors.
        ValueError: no `edge_index` (nor `adj_t`), no such weights, edges that make no Laplacian (see
            `Laplacian.from_edges`), or a stored spectrum of other edges, weights or normalisation.

    A PyG batch of graphs of which the first has no weights has none at all: `Batch.from_data_list` drops what the first does
    not have, before anything here could see it. Give all graphs weights, or none.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from torch_geometric.data import Data
        >>> from pyg_diffusion import LanczosOperator, laplacian_operator
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> laplacian_operator(path).eigenvalues.round(decimals=5)
        tensor([[0., 1., 3.]])
        >>> type(laplacian_operator(path, partial(LanczosOperator, tol=1e-3))).__name__
        'LanczosOperator'
    """
    if backend is not None and not callable(backend):
        raise TypeError(f"backend must be callable, such as LanczosOperator; got {backend!r}")
    operator, reason = _choose(data, _Edges(data, weight, normalized), backend)
    operator = operator.to(dtype=dtype)
    operator.reason = reason
    return operator


def _choose(data: Data, edges: _Edges, backend: Backend | None) -> tuple[LaplacianOperator, str]:
    """The operator and the reason for it."""
    if backend is not None:
        return backend(edges.laplacian()), "asked for"
    if "eigenvalues" in data:
        return _stored(data, edges), "stored spectrum"
    note = ""
    if "grid_shape" in data and not edges.normalized:
        grid, note = _grid(data, edges)
        if grid is not None:
            return grid, note
    largest = int(edges.sizes.max()) if edges.sizes.numel() else 0
    if largest <= DENSE_NODES:
        return DenseOperator.from_laplacian(edges.laplacian()), f"{note}largest graph has {largest} <= {DENSE_NODES} nodes"
    return ChebyshevOperator(edges.laplacian()), f"{note}largest graph has {largest} > {DENSE_NODES} nodes"


def _stored(data: Data, edges: _Edges) -> DenseOperator:
    lam, u = data.eigenvalues, data.eigenvectors
    if lam.shape == (edges.num_nodes,) and u.shape == (int(edges.sizes.square().sum()),):
        operator = DenseOperator.from_flat(lam.double(), u.double(), edges.sizes)
        operator.constant_null = not edges.normalized
        if edges.belong_to(operator, lam.dtype):
            return operator
    raise ValueError(
        "the stored eigenvalues and eigenvectors are not those of the Laplacian asked for: edges or weights changed after "
        "AddLaplacianSpectrum, or it took another weight= or normalized=. Apply it again, pass what it took, or decompose "
        "now with backend=DenseOperator.from_laplacian"
    )


def _grid(data: Data, edges: _Edges) -> tuple[GridOperator | None, str]:
    """The grid's operator, or None where the data is none; and a word on it."""
    shapes, kinds, spacings = data.grid_shape, data.grid_kind, data.grid_spacing
    if any(bool((a != a[:1]).any()) for a in (shapes, kinds, spacings)):
        return None, "grids that differ; "
    copies, shape, names = edges.sizes.numel(), shapes[0].tolist(), [KINDS[k] for k in kinds[0].tolist()]
    row, col = edges.index
    # The edges are counted, too: where spacings differ a thousandfold, the product does not see the weak ones.
    if copies * math.prod(shape) == edges.num_nodes and copies * num_edges(shape, names) == int((row != col).sum()):
        grid = GridOperator(shape, names, spacings[0].tolist(), copies, torch.float64, row.device)
        if edges.belong_to(grid, spacings.dtype):
            return grid, f"grid {'x'.join(map(str, shape))}"
    return None, "not the grid's edges and weights any more; "
