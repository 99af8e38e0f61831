"""From edges to the Laplacian of a batch of graphs: checked, sparse, with its null space and a bound of its spectrum."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor


def _check_edges(edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int) -> None:
    for name, tensor in (("edge_index", edge_index), ("edge_weight", edge_weight)):
        if not isinstance(tensor, Tensor) and not (name == "edge_weight" and tensor is None):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}; see torch.as_tensor")
    whole = not (edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool)
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or not whole:
        raise ValueError(f"edge_index must be integers [2, num_edges], got {edge_index.dtype} {list(edge_index.shape)}")
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight must be [{edge_index.size(1)}], got {list(edge_weight.shape)}")
    if edge_weight is not None and edge_weight.is_complex():
        raise ValueError(f"edge_weight must be real, got {edge_weight.dtype}")
    if edge_index.numel() == 0:
        return
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= num_nodes:
        raise ValueError(f"edge_index names node {low if low < 0 else high}, but the nodes are 0..{num_nodes - 1}")
    if edge_weight is None:
        return
    values = edge_weight.double()
    bad = (~torch.isfinite(values) | (values < 0)).nonzero()
    if bad.numel():
        k = int(bad[0])
        i, j = edge_index[:, k].tolist()
        raise ValueError(f"edge {i}-{j} has weight {float(edge_weight[k])}; weights must be finite and >= 0")


def _graph_of_nodes(batch: Tensor | None, num_nodes: int, num_graphs: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(graph of each node, nodes of each graph)."""
    if batch is None:
        graph = np.zeros(num_nodes, np.int64)
        return graph, np.bincount(graph, minlength=1 if num_graphs is None else num_graphs)
    graph = batch.cpu().numpy()
    if graph.shape != (num_nodes,) or (np.diff(graph) < 0).any() or (num_nodes and graph[0] < 0):
        raise ValueError(f"batch must be a sorted vector of {num_nodes} graph numbers, as PyG makes it")
    if num_graphs is not None and num_nodes and graph[-1] >= num_graphs:
        raise ValueError(f"batch names graph {graph[-1]}, but num_graphs is {num_graphs}")
    return graph, np.bincount(graph, minlength=num_graphs or 0)


def _check_graphs(graph: np.ndarray, row: np.ndarray, col: np.ndarray) -> None:
    astray = np.flatnonzero(graph[row] != graph[col])
    if astray.size:
        raise ValueError(f"edge {row[astray[0]]}-{col[astray[0]]} joins two graphs of the batch")


def _bound(degree: np.ndarray, row: np.ndarray, col: np.ndarray, graph: np.ndarray, num_graphs: int) -> np.ndarray:
    """max over edges of d_i + d_j, of each graph."""
    bound = np.zeros(num_graphs)
    np.maximum.at(bound, graph[row], degree[row] + degree[col])
    bound[bound == 0] = 1.0  # no edges: any interval that starts at 0 will do
    return bound


def _asymmetry(w: csr_array, tol: float) -> float:
    """Largest relative difference of w_ij and w_ji; ValueError naming the edge if it is above `tol`."""
    t = w.T.tocsr()
    if np.array_equal(w.indptr, t.indptr) and np.array_equal(w.indices, t.indices):
        size = abs(w.data)
        relative = abs(w.data - t.data) / np.where(size > 0, size, 1.0)
        worst = int(relative.argmax()) if relative.size else 0
        if not relative.size or relative[worst] <= tol:
            return float(relative[worst]) if relative.size else 0.0
        i, j = int(np.searchsorted(w.indptr, worst, side="right") - 1), int(w.indices[worst])
    else:
        one_way = (w != t).tocoo()
        i, j = int(one_way.row[0]), int(one_way.col[0])
    raise ValueError(f"edge {i}-{j} differs from {j}-{i}; give both directions with the same weight")


def _to_torch(matrix: csr_array, index: type) -> Tensor:
    start, column = (torch.from_numpy(i.astype(index)) for i in (matrix.indptr, matrix.indices))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(start, column, torch.from_numpy(matrix.data.astype(np.float64)), size=matrix.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Laplacian:
    r"""L = D - W, or L = I - D^{-1/2} W D^{-1/2}, of a batch of graphs: one sparse symmetric block-diagonal matrix.

    A self loop drops out of L. Several edges between two nodes add up. An isolated node is a connected component of its own:
    its row of L is 0 and its signal stays as it is under heat flow, in both normalisations (where others put L_ii = 1, an
    isolated node would decay).

    Attributes:
        matrix: L, sparse CSR `[N, N]`, columns sorted, the diagonal stored throughout.
        sizes: nodes of each graph, `[num_graphs]`.
        component: connected component of each node, `[N]`; every null mode lives on one of them.
        null: n `[N, 1]`, the null vectors of all components side by side: on each one it is 1, or √degree if normalised,
            scaled to unit length.
        bound: 0 <= λ <= bound, one per graph and > 0, `[num_graphs]`: max over edges of d_i + d_j (Anderson and Morley
            1985, for weighted degrees), or 2 if normalised.
        normalized: which of the two Laplacians it is.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import Laplacian
        >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> L = Laplacian.from_edges(edges, 4)  # node 3 is isolated
        >>> L
        Laplacian(combinatorial, 1 graphs, 4 nodes, 2 components)
        >>> L.matrix.to_dense()[:3, :3]
        tensor([[ 1., -1.,  0.],
                [-1.,  2., -1.],
                [ 0., -1.,  1.]], dtype=torch.float64)
    """

    matrix: Tensor
    sizes: Tensor
    component: Tensor
    null: Tensor
    bound: Tensor
    normalized: bool

    @classmethod
    def from_edges(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        normalized: bool = False,
    ) -> "Laplacian":
        """Built in float64 on the CPU, then moved to the edges' device.

        Args:
            edge_index: both directions of every edge, `[2, E]`.
            num_nodes: nodes of all graphs together.
            edge_weight: weights >= 0, `[E]`, the same in both directions; 1 if None. No gradient flows into it.
            batch: graph of each node, sorted, `[num_nodes]`; one graph if None.
            num_graphs: needed only where the last graphs are empty.
            normalized: take I - D^{-1/2} W D^{-1/2}.

        Raises:
            ValueError: naming the edge or node that is out of range, negative, NaN, asymmetric or between two graphs.
        """
        if num_nodes < 0:
            raise ValueError(f"num_nodes must be >= 0, got {num_nodes}")
        _check_edges(edge_index, edge_weight, num_nodes)
        edge_index = edge_index.long()
        graph, sizes = _graph_of_nodes(batch, num_nodes, num_graphs)
        row, col = edge_index.cpu().numpy()
        weight = np.ones(row.size) if edge_weight is None else edge_weight.detach().cpu().double().numpy()
        _check_graphs(graph, row, col)
        keep = (row != col) & (weight > 0)
        if not keep.all():
            row, col, weight = row[keep], col[keep], weight[keep]
        degree = np.bincount(row, weight, minlength=num_nodes)
        isolated = degree == 0
        root = np.where(isolated, 1.0, np.sqrt(degree)) if normalized else np.ones(num_nodes)
        diagonal = np.where(isolated, 0.0, 1.0) if normalized else degree
        values = np.concatenate([diagonal, -weight / (root[row] * root[col])])
        bound = np.full(sizes.size, 2.0) if normalized else _bound(degree, row, col, graph, sizes.size)
        nodes = np.arange(num_nodes)
        index = np.int32 if values.size < 2**31 else np.int64
        row, col = np.concatenate([nodes, row]).astype(index), np.concatenate([nodes, col]).astype(index)
        laplacian = coo_array((values, (row, col)), shape=(num_nodes, num_nodes)).tocsr()
        laplacian.sum_duplicates()
        # Weights computed apart for both directions, i-j and j-i, may differ by their rounding: take the mean.
        double = edge_weight is None or edge_weight.dtype == torch.float64
        if _asymmetry(laplacian, 1e-9 if double else 1e-5) > 1e-13 and edge_weight is not None:
            both, halves = torch.cat([edge_index, edge_index.flip(0)], 1), edge_weight.double().repeat(2) / 2
            return cls.from_edges(both, num_nodes, halves, batch, num_graphs, normalized)
        component = connected_components(laplacian, directed=False)[1] if num_nodes else np.zeros(0, np.int64)
        null = root / np.sqrt(np.bincount(component, root**2))[component] if num_nodes else root
        device = edge_index.device
        return cls(
            _to_torch(laplacian, index).to(device),
            torch.from_numpy(sizes).to(device),
            torch.from_numpy(component.astype(np.int64)).to(device),
            torch.from_numpy(null)[:, None].to(device),
            torch.from_numpy(bound).to(device),
            normalized,
        )

    @property
    def num_graphs(self) -> int:
        return self.sizes.numel()

    @property
    def num_nodes(self) -> int:
        return self.null.size(0)

    @property
    def num_components(self) -> int:
        """Number of null modes of all graphs together."""
        return int(self.component.max()) + 1 if self.num_nodes else 0

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Laplacian":
        """Cast the values, move the tensors."""
        return Laplacian(
            self.matrix.to(device=device, dtype=dtype),
            self.sizes.to(device),
            self.component.to(device),
            self.null.to(device=device, dtype=dtype),
            self.bound.to(device=device, dtype=dtype),
            self.normalized,
        )

    def __repr__(self) -> str:
        kind = "normalised" if self.normalized else "combinatorial"
        return f"Laplacian({kind}, {self.num_graphs} graphs, {self.num_nodes} nodes, {self.num_components} components)"
