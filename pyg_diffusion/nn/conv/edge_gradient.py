"""EdgeGradient: slopes of node features along the axes that edges lie in."""

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from .adjacency import csr_adjacency
from .weighted_sum import weighted_sum


class EdgeGradient:
    r"""The least-squares slope along every axis a, given a vector e_ij for every edge from j to i:

    .. math::
        (\partial_a \mathbf{x})_i = \sum_j w^a_{ij} (\mathbf{x}_j - \mathbf{x}_i),
        \qquad w^a_{ij} = e^a_{ij} \Big/ \sum_k (e^a_{ik})^2

    On grids that is the central difference, one-sided at an end. It tells directions apart, which no function of L does.

    Args:
        edge_index: `[2, E]`.
        vector: e_ij = pos_j - pos_i, `[E, d]`.
        num_nodes: N.
    """

    def __init__(self, edge_index: Tensor, vector: Tensor, num_nodes: int):
        square = scatter(vector.square(), edge_index[1], dim_size=num_nodes)
        weight = vector * torch.where(square > 0, 1 / torch.where(square > 0, square, 1), 0)[edge_index[1]]
        self.total = scatter(weight, edge_index[1], dim_size=num_nodes)
        adjacency, order = csr_adjacency(edge_index, num_nodes)
        self.weight, self.ptr, self.col = weight[order], adjacency.crow_indices(), adjacency.col_indices()

    def __call__(self, x: Tensor) -> Tensor:
        """∂x, `[N, C] -> [N, d C]`, axis after axis; 0 where no edge has a part along the axis."""
        y = x.repeat(1, self.weight.size(1))
        own: Tensor = self.total.repeat_interleave(x.size(1), dim=1) * y
        return weighted_sum(self.weight, y, self.ptr, self.col) - own
