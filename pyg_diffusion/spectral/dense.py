"""Dense batched backend: one float64 `eigh` of padded Laplacians, exact functions ever after."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .operator import ExactOperator


def _check_edges(edge_index: Tensor, edge_weight: Tensor, num_nodes: int) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must be [2, num_edges], got {list(edge_index.shape)}")
    if edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(f"edge_weight must be [{edge_index.size(1)}], got {list(edge_weight.shape)}")
    if edge_index.numel() == 0:
        return
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= num_nodes:
        raise ValueError(f"edge_index names node {low if low < 0 else high}, but the nodes are 0..{num_nodes - 1}")
    bad = (~torch.isfinite(edge_weight) | (edge_weight < 0)).nonzero()
    if bad.numel():
        k = int(bad[0])
        i, j = edge_index[:, k].tolist()
        raise ValueError(f"edge {i}-{j} has weight {float(edge_weight[k])}; weights must be finite and >= 0")


def _null_basis(labels: np.ndarray) -> Tensor:
    """Orthonormal basis of the null space of one graph, the global constant first, `[N, k]`."""
    indicators = np.eye(labels.max() + 1)[labels][:, 1:]
    stacked = np.concatenate([np.ones((len(labels), 1)), indicators], axis=1)
    basis = torch.linalg.qr(torch.from_numpy(stacked)).Q
    basis[:, 0] = len(labels) ** -0.5
    return basis


def _components_per_graph(labels: np.ndarray, batch: np.ndarray, num_graphs: int) -> np.ndarray:
    """Number of connected components in each graph; a component lies within one graph."""
    owner = np.zeros(labels.max() + 1 if len(labels) else 0, int)
    owner[labels] = batch
    return np.bincount(owner, minlength=num_graphs)


class DenseOperator(ExactOperator):
    r"""f(L) x = U f(Λ) Uᵀ x by explicit eigenvectors, batched over graphs of different size.

    Null modes come first, counted by connected component and never by comparing floats: mode 0 is the global constant
    1/√N, modes 1..k-1 the relative offsets of the k components; their λ is exactly 0. Padded modes have λ = 1 (harmless in
    any kernel), zero vectors and a False `mode_mask`.

    Args:
        eigenvalues: λ, `[num_graphs, M]`.
        eigenvectors: U with modes as columns, `[num_graphs, M, M]`, zero outside each graph.
        sizes: number of nodes of each graph, `[num_graphs]`.

    `slots [num_nodes]` is the place of each node in the padded layout, flattened.
    """

    def __init__(self, eigenvalues: Tensor, eigenvectors: Tensor, sizes: Tensor):
        self.eigenvalues, self.eigenvectors, self.sizes = eigenvalues, eigenvectors, sizes
        self.max_nodes = eigenvalues.size(1)
        arange = torch.arange(self.max_nodes, device=sizes.device)
        self.mode_mask = arange < sizes[:, None]
        self.slots = self.mode_mask.flatten().nonzero().squeeze(1)
        self.num_nodes = self.slots.numel()

    @classmethod
    def from_edges(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> "DenseOperator":
        """Combinatorial Laplacian L = D - W, decomposed in float64.

        Args:
            edge_index: both directions of every edge, `[2, E]`; self loops drop out of L.
            num_nodes: nodes of all graphs together; isolated nodes are components of their own.
            edge_weight: weights >= 0, `[E]`, the same in both directions; 1 if None.
            batch: graph of each node, sorted, `[num_nodes]`; one graph if None.
            num_graphs: needed only where the last graphs are empty.

        Raises:
            ValueError: naming the edge or node that is out of range, negative, NaN or asymmetric.
        """
        device = edge_index.device
        weight = torch.ones(edge_index.size(-1), device=device) if edge_weight is None else edge_weight.detach()
        _check_edges(edge_index, weight, num_nodes)
        batch = torch.zeros(num_nodes, dtype=torch.long, device=device) if batch is None else batch
        if batch.shape != (num_nodes,) or bool((batch.diff() < 0).any()):
            raise ValueError(f"batch must be a sorted vector of {num_nodes} graph numbers, as PyG makes it")
        if num_graphs is None:
            num_graphs = int(batch[-1]) + 1 if num_nodes else 0
        sizes = torch.bincount(batch, minlength=num_graphs)
        m = int(sizes.max()) if num_graphs else 0
        first = sizes.cumsum(0) - sizes
        row, col = edge_index
        if bool((batch[row] != batch[col]).any()):
            k = int((batch[row] != batch[col]).nonzero()[0])
            raise ValueError(f"edge {int(row[k])}-{int(col[k])} joins two graphs of the batch")
        position = torch.arange(num_nodes, device=device) - first[batch]

        w = torch.zeros(num_graphs, m, m, dtype=torch.float64, device=device)
        w.index_put_((batch[row], position[row], position[col]), weight.double(), accumulate=True)
        asymmetric = ((w - w.mT).abs() > 1e-9 * (1 + w.abs())).nonzero()
        if asymmetric.numel():
            g, i, j = asymmetric[0].tolist()
            i, j = i + int(first[g]), j + int(first[g])
            raise ValueError(f"edge {i}-{j} differs from {j}-{i}; give both directions with the same weight")
        w.diagonal(dim1=1, dim2=2).zero_()
        degree = w.sum(-1)
        keep = (weight > 0).cpu().numpy()
        ends = edge_index.cpu().numpy()[:, keep]
        adjacency = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(num_nodes, num_nodes))
        labels = connected_components(adjacency, directed=False)[1] if num_nodes else np.zeros(0, int)
        components = _components_per_graph(labels, batch.cpu().numpy(), num_graphs)
        null = w.new_zeros(num_graphs, m, int(components.max(initial=0)))
        exists = torch.arange(m, device=device) < sizes[:, None]
        if m:
            null[:, :, 0] = torch.where(sizes > 0, sizes, 1).double()[:, None].rsqrt() * exists
        first_node, last_node = first.tolist(), (first + sizes).tolist()
        for g in np.flatnonzero(components > 1):
            start, end = first_node[g], last_node[g]
            basis = _null_basis(np.unique(labels[start:end], return_inverse=True)[1]).to(device)
            null[g, : basis.size(0), : basis.size(1)] = basis

        # 0 <= λ <= bound (Gershgorin). Null modes are moved to -bound and padding to 2 bound, so that neither mixes with
        # the rest, not even where a bond of weight 1e-15 makes λ₁ indistinguishable from 0.
        bound = 2 * degree.amax(1, keepdim=True) if m else degree
        bound = torch.where(bound > 0, bound, torch.ones_like(bound))
        diagonal = torch.where(exists, degree, 2 * bound)
        lam, u = torch.linalg.eigh(torch.diag_embed(diagonal) - w - bound[:, :, None] * (null @ null.mT))
        is_null = torch.arange(m, device=device) < torch.from_numpy(components).to(device)[:, None]
        lam = torch.where(exists & ~is_null, lam.clamp_min(0), (~exists).double())
        u = u * exists[:, None, :] * exists[:, :, None]
        k = null.size(2)
        u[:, :, :k] = torch.where(is_null[:, None, :k], null, u[:, :, :k])
        return cls(lam, u, sizes)

    @classmethod
    def from_flat(cls, eigenvalues: Tensor, eigenvectors: Tensor, sizes: Tensor) -> "DenseOperator":
        """From ragged storage: `eigenvalues [ΣN]` and row-major N×N `eigenvectors [ΣN²]`, graph after graph."""
        m = int(sizes.max()) if sizes.numel() else 0
        num_graphs = sizes.numel()
        exists = torch.arange(m, device=sizes.device) < sizes[:, None]
        lam = eigenvalues.new_ones(num_graphs, m)
        lam[exists] = eigenvalues
        u = eigenvectors.new_zeros(num_graphs, m, m)
        u[exists[:, :, None] & exists[:, None, :]] = eigenvectors
        return cls(lam, u, sizes)

    def to(self, *args, **kwargs) -> "DenseOperator":
        """Cast or move the spectrum, as `Tensor.to`."""
        u = self.eigenvectors.to(*args, **kwargs)
        return DenseOperator(self.eigenvalues.to(*args, **kwargs), u, self.sizes.to(u.device))

    def pack(self, x: Tensor) -> Tensor:
        """Flat to padded: `[num_nodes, ...] -> [num_graphs, M, ...]`, zeros in the padding."""
        if x.size(0) != self.num_nodes:
            raise ValueError(f"the signal has {x.size(0)} nodes, the operator {self.num_nodes}")
        padded = x.new_zeros(self.num_graphs * self.max_nodes, *x.shape[1:])
        return padded.index_copy(0, self.slots, x).view(self.num_graphs, self.max_nodes, *x.shape[1:])

    def unpack(self, padded: Tensor) -> Tensor:
        """Padded to flat, the inverse of `pack`."""
        return padded.flatten(0, 1).index_select(0, self.slots)

    def to_modes(self, x: Tensor) -> Tensor:
        return self.eigenvectors.mT @ self.pack(x)

    def from_modes(self, modes: Tensor) -> Tensor:
        return self.unpack(self.eigenvectors @ modes)

    def matrix(self, kernel) -> Tensor:
        """f(L) itself, padded: `[num_graphs, M, M]`."""
        return (self.eigenvectors * kernel(self.eigenvalues)[:, None, :]) @ self.eigenvectors.mT

    def __repr__(self) -> str:
        return f"DenseOperator({self.num_graphs} graphs, {self.num_nodes} nodes, {self.max_nodes} modes at most)"


def laplacian_spectrum(edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(λ `[N]`, U `[N, N]`) of one graph in float64, null modes first and exact (see `DenseOperator`)."""
    operator = DenseOperator.from_edges(edge_index, num_nodes, edge_weight, num_graphs=1)
    return operator.eigenvalues[0], operator.eigenvectors[0]
