"""GatedConv: messages of neighbours, each channel with a gate of its own."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj, OptTensor
from torch_geometric.utils import scatter

from .adjacency import as_edges


class GatedConv(MessagePassing):
    r"""The weighted mean of what neighbours say, and how much of it is heard:

    .. math::
        \mathbf{x}'_i = \frac{1}{1 + \sum_j w_{ij}} \sum_j w_{ij}\,
        \sigma(\mathbf{A}\mathbf{x}_i + \mathbf{B}\mathbf{x}_j + \mathbf{C}\mathbf{e}_{ij}) \odot
        (\mathbf{W}\mathbf{x}_j + \mathbf{V}\mathbf{e}_{ij}) + \mathbf{b}

    A message of weight 0 is none, so that neighbours may come and go smoothly. After the gated graph convolution of Bresson
    and Laurent 2017 (`arXiv:1711.07553 <https://arxiv.org/abs/1711.07553>`_), with edge features as in PyG's
    `ResGatedGraphConv`.

    Args:
        in_channels: size of each input sample.
        out_channels: size of each output sample.
        edge_dim: number of edge features, if there are any.
        **kwargs: of `torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - input: node features `[N, in_channels]`, edge indices `[2, E]` or a transposed sparse adjacency, edge features
          `[E, edge_dim]` in the order of the edges, edge weights `[E]` >= 0 (optional, 1)
        - output: `[N, out_channels]`; b where there are no neighbours

    Raises:
        ValueError: edge features without `edge_dim`, or the other way round.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import GatedConv
        >>> edge_index, edge_attr = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.ones(4, 1)
        >>> GatedConv(3, 8, edge_dim=1)(torch.randn(3, 3), edge_index, edge_attr).shape
        torch.Size([3, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, edge_dim: int | None = None, **kwargs: Any):
        kwargs.setdefault("aggr", "add")
        super().__init__(node_dim=0, **kwargs)
        self.in_channels, self.out_channels, self.edge_dim = in_channels, out_channels, edge_dim
        self.lin = Linear(in_channels, 2 * out_channels, bias=False, weight_initializer="glorot")  # B and W
        self.gate = Linear(in_channels, out_channels, bias=True, weight_initializer="glorot")
        self.edge = Linear(edge_dim, 2 * out_channels, bias=False, weight_initializer="glorot") if edge_dim else None
        self.bias = torch.nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin.reset_parameters()
        self.gate.reset_parameters()
        if self.edge is not None:
            self.edge.reset_parameters()
        torch.nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_attr: OptTensor = None, edge_weight: OptTensor = None) -> Tensor:
        _, j, i, weight = as_edges(edge_index, edge_weight, self.flow)
        if (edge_attr is None) == bool(self.edge_dim):
            raise ValueError(f"edge_dim is {self.edge_dim}, so edge_attr {'must' if self.edge_dim else 'cannot'} be given")
        said = self.lin(x)
        weight = x.new_ones(i.numel(), 1) if weight is None else weight.unsqueeze(1).to(said.dtype)
        edge = said.new_zeros(1, 1) if self.edge is None else self.edge(edge_attr)
        edges = torch.stack([j, i] if self.flow == "source_to_target" else [i, j])
        # propagate_type: (said: Tensor, gate: Tensor, edge: Tensor, weight: Tensor)
        out = self.propagate(edges, said=said, gate=self.gate(x), edge=edge.expand(i.numel(), said.size(1)), weight=weight)
        total = scatter(weight, i, dim_size=x.size(0))
        result: Tensor = out / (1 + total) + self.bias
        return result

    def message(self, said_j: Tensor, gate_i: Tensor, edge: Tensor, weight: Tensor) -> Tensor:
        logits, value = (said_j + edge).chunk(2, dim=1)
        return weight * torch.sigmoid(gate_i + logits) * value

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"
