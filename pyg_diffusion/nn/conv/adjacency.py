"""Edges in the forms that PyG's convolutions take: `edge_index`, or a transposed sparse adjacency."""

import warnings

import torch
from torch import Tensor
from torch_geometric.typing import Adj, SparseTensor
from torch_geometric.utils import is_torch_sparse_tensor

from .weighted_sum import csr_index, csr_pointer


def csr_adjacency(edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The transposed adjacency as a CSR tensor, and the order of its edges, `[E]`: entry k is edge order[k].

    Convolutions that get it need no memory per edge and channel and are several times as fast; edge features go with it as
    `edge_attr[order]`. Unlike PyG's `to_torch_csr_tensor`, parallel edges stay apart.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import csr_adjacency
        >>> edge_index = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2]])
        >>> adjacency, order = csr_adjacency(edge_index, 3)
        >>> adjacency.to_dense()
        tensor([[0., 1., 0.],
                [1., 0., 1.],
                [0., 1., 0.]])
        >>> order
        tensor([1, 0, 2, 3])
    """
    order = edge_index[1].argsort(stable=True)
    ptr = csr_pointer(edge_index[1][order], num_nodes)
    weight = torch.ones(order.numel(), device=order.device) if edge_weight is None else edge_weight[order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CSR tensors call themselves beta
        return torch.sparse_csr_tensor(ptr, edge_index[0][order], weight, (num_nodes, num_nodes)), order


def as_edges(edge_index: Adj, edge_weight: Tensor | None, flow: str) -> tuple[Adj, Tensor, Tensor, Tensor | None]:
    """(edges as `propagate` takes them, sources j, targets i, weights) of either form."""
    if isinstance(edge_index, Tensor) and not is_torch_sparse_tensor(edge_index):
        j, i = edge_index if flow == "source_to_target" else edge_index.flip(0)
        return edge_index, j, i, edge_weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(edge_index, SparseTensor):
            edge_index = edge_index.to_torch_sparse_csr_tensor()
        adjacency = edge_index.to_sparse_csr()
    i = csr_index(adjacency.crow_indices(), adjacency.col_indices().numel())
    return adjacency, adjacency.col_indices(), i, adjacency.values() if edge_weight is None else edge_weight
