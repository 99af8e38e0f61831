"""VectorConv: vectors of nodes from the directions of their edges and the vectors of their neighbours."""

from typing import Any

from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.utils import scatter


class VectorConv(MessagePassing):
    r"""Messages that turn with the graph, in each of C channels of vectors:

    .. math::
        \vec{v}'_i = \frac{1}{\sqrt{1 + \sum_j w_{ij}}} \sum_j w_{ij} \left(
        (\mathbf{A}\mathbf{x}_j \odot \mathbf{C}\mathbf{e}_{ij})\, \vec{u}_{ij} +
        (\mathbf{B}\mathbf{x}_j \odot \mathbf{D}\mathbf{e}_{ij}) \odot \vec{v}_j \right)

    with invariant node features x and edge features e, and vectors u of the edges: the message of PaiNN (Schütt, Unke and
    Gastegger 2021, `arXiv:2102.03150 <https://arxiv.org/abs/2102.03150>`_), smooth where weights go to 0.

    Args:
        in_channels: size of each input sample.
        channels: C.
        edge_dim: number of edge features.
        **kwargs: of `torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - input: node features `[N, in_channels]`, vectors `[N, 3, C]`, edge indices `[2, E]` from j to i, edge features
          `[E, edge_dim]`, edge vectors `[E, 3]`, edge weights `[E]` >= 0
        - output: `[N, 3, C]`

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import VectorConv
        >>> conv, x, v = VectorConv(4, 2, edge_dim=1), torch.randn(3, 4), torch.randn(3, 3, 2)
        >>> edges, e, u, w = torch.tensor([[0, 1], [1, 2]]), torch.ones(2, 1), torch.randn(2, 3), torch.ones(2)
        >>> turn = torch.linalg.qr(torch.randn(3, 3))[0]
        >>> turned = conv(x, torch.einsum("ab,nbc->nac", turn, v), edges, e, u @ turn.T, w)
        >>> torch.allclose(turned, torch.einsum("ab,nbc->nac", turn, conv(x, v, edges, e, u, w)), atol=1e-5)
        True
    """

    def __init__(self, in_channels: int, channels: int, edge_dim: int, **kwargs: Any):
        kwargs.setdefault("aggr", "add")
        super().__init__(node_dim=0, **kwargs)
        self.in_channels, self.channels, self.edge_dim = in_channels, channels, edge_dim
        self.lin = Linear(in_channels, 2 * channels, bias=False, weight_initializer="glorot")
        self.edge = Linear(edge_dim, 2 * channels, bias=True, weight_initializer="glorot")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin.reset_parameters()
        self.edge.reset_parameters()

    def forward(
        self, x: Tensor, vectors: Tensor, edge_index: Tensor, edge_attr: Tensor, unit: Tensor, weight: Tensor
    ) -> Tensor:
        said, gate, weight = self.lin(x).to(unit), self.edge(edge_attr).to(unit), weight.unsqueeze(1)
        # propagate_type: (said: Tensor, vectors: Tensor, gate: Tensor, unit: Tensor)
        out = self.propagate(edge_index, said=said, vectors=vectors, gate=gate * weight, unit=unit)
        total = 1 + scatter(weight, edge_index[1], dim_size=x.size(0))
        result: Tensor = out * total.rsqrt().unsqueeze(2)
        return result

    def message(self, said_j: Tensor, vectors_j: Tensor, gate: Tensor, unit: Tensor) -> Tensor:
        along, kept = (said_j * gate).chunk(2, dim=1)
        return along.unsqueeze(1) * unit.unsqueeze(2) + kept.unsqueeze(1) * vectors_j

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.channels})"
