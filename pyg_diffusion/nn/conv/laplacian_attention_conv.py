"""LaplacianAttentionConv: graph attention that starts as the random walk of the Laplacian."""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.nn.inits import glorot, zeros
from torch_geometric.typing import Adj, OptTensor
from torch_geometric.utils import is_torch_sparse_tensor, softmax

from .adjacency import as_edges
from .weighted_sum import weighted_sum


class LaplacianAttentionConv(MessagePassing):
    r"""Attention over neighbours with edge features in logits and messages:

    .. math::
        \mathbf{x}'_i = \sum_j \alpha_{ij} \left(\mathbf{W}\mathbf{x}_j + \mathbf{V}\mathbf{e}_{ij}\right) + \mathbf{b},
        \qquad \alpha_{ij} \propto w_{ij} \exp\left(\mathrm{LeakyReLU}(\mathbf{a}^{\top}\mathbf{x}_i +
        \mathbf{c}^{\top}\mathbf{x}_j + \mathbf{d}^{\top}\mathbf{e}_{ij}) + \mathbf{g}^{\top}\mathbf{e}_{ij}\right)

    in every head, normalised over the neighbours j. With equal logits it is :math:`\mathbf{D}^{-1}\mathbf{A}`, one step of
    the Laplacian's random walk. Edge vectors among :math:`\mathbf{e}_{ij}` let a head look in one direction, and
    :math:`\mathbf{V}` carries them; both are out of reach for functions of L. Spectral bias: heat-kernel entries
    (`encodings.heat_edges`) among :math:`\mathbf{e}_{ij}`. Logits are formed at the nodes, so that nothing of size edges ×
    channels is needed beside the messages. After Veličković et al. 2018
    (`arXiv:1710.10903 <https://arxiv.org/abs/1710.10903>`_).

    Args:
        in_channels: size of each input sample.
        out_channels: size of each output sample, per head.
        heads: number of heads, concatenated.
        edge_dim: number of edge features, if there are any.
        negative_slope: of the LeakyReLU.
        bias: learn an additive bias.
        **kwargs: of `torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - input: node features `[N, in_channels]`, edge indices `[2, E]` or a transposed sparse adjacency (the faster way,
          see `csr_adjacency`), edge features `[E, edge_dim]` in the order of the edges, edge weights `[E]` >= 0 (optional)
        - output: `[N, heads · out_channels]`; b where there are no neighbours

    Raises:
        ValueError: edge features without `edge_dim`, or the other way round.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import LaplacianAttentionConv
        >>> conv = LaplacianAttentionConv(3, 8, heads=2, edge_dim=1)
        >>> edge_index, edge_attr = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.ones(4, 1)
        >>> conv(torch.randn(3, 3), edge_index, edge_attr).shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        edge_dim: int | None = None,
        negative_slope: float = 0.2,
        bias: bool = True,
        **kwargs: Any,
    ):
        kwargs.setdefault("aggr", "add")
        super().__init__(node_dim=0, **kwargs)
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.edge_dim, self.negative_slope = edge_dim, negative_slope
        self.lin = Linear(in_channels, heads * out_channels, bias=False, weight_initializer="glorot")
        self.att = Linear(in_channels, 2 * heads, bias=False, weight_initializer="glorot")
        if edge_dim:
            self.att_edge = Linear(edge_dim, 2 * heads, bias=False, weight_initializer="glorot")
            self.edge = Parameter(torch.empty(heads, edge_dim, out_channels))
        else:
            self.att_edge = None
            self.register_parameter("edge", None)
        if bias:
            self.bias = Parameter(torch.empty(heads * out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin.reset_parameters()
        self.att.reset_parameters()
        if self.att_edge is not None:
            self.att_edge.reset_parameters()
        glorot(self.edge)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_attr: OptTensor = None, edge_weight: OptTensor = None) -> Tensor:
        edges, _, i, weight = as_edges(edge_index, edge_weight, self.flow)
        if (edge_attr is None) == bool(self.edge_dim):
            raise ValueError(f"edge_dim is {self.edge_dim}, so edge_attr {'must' if self.edge_dim else 'cannot'} be given")
        source, target = self.att(x).chunk(2, dim=1)
        bias = None if self.att_edge is None else self.att_edge(edge_attr)
        # edge_updater_type: (source: Tensor, target: Tensor, bias: OptTensor, prior: OptTensor)
        alpha = self.edge_updater(edges, source=source, target=target, bias=bias, prior=weight)
        # propagate_type: (x: Tensor, alpha: Tensor)
        out = self.propagate(edges, x=self.lin(x), alpha=alpha)
        if self.edge is not None:
            seen = self._edge_mean(edges, i, alpha, edge_attr, x.size(0)).view(-1, self.heads, self.edge.size(1))
            out = out + torch.einsum("nhk,hkc->nhc", seen, self.edge).flatten(1)
        result: Tensor = out if self.bias is None else out + self.bias
        return result

    def _edge_mean(self, edges: Tensor, i: Tensor, alpha: Tensor, edge_attr: Tensor, num_nodes: int) -> Tensor:
        """Σ_j α_ij e_ij in every head, `[N, heads · edge_dim]`."""
        if is_torch_sparse_tensor(edges):
            own = torch.arange(i.numel(), device=i.device)
            return weighted_sum(alpha, edge_attr.repeat(1, self.heads), edges.crow_indices(), own)
        weighted = (alpha.unsqueeze(2) * edge_attr.unsqueeze(1)).flatten(1)
        total: Tensor = self.aggr_module(weighted, i, dim_size=num_nodes, dim=0)
        return total

    def edge_update(
        self,
        source_j: Tensor,
        target_i: Tensor,
        bias: OptTensor,
        prior: OptTensor,
        index: Tensor,
        dim_size: Optional[int],  # noqa: UP045 - PyG's inspector does not know X | None
    ) -> Tensor:
        logits = source_j + target_i
        if bias is None:
            logits = F.leaky_relu(logits, self.negative_slope)
        else:
            inner, outer = bias.chunk(2, dim=1)
            logits = F.leaky_relu(logits + inner, self.negative_slope) + outer
        if prior is not None:
            logits = logits + prior.clamp_min(torch.finfo(prior.dtype).tiny).log().unsqueeze(1).to(logits.dtype)
        # by ptr it would have no second derivative, which energies need
        shares: Tensor = softmax(logits, index, num_nodes=dim_size)
        return shares

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return (x_j.view(-1, self.heads, self.out_channels) * alpha.unsqueeze(2)).flatten(1)

    def message_and_aggregate(self, adj_t: Adj, x: Tensor, alpha: Tensor) -> Tensor:
        return weighted_sum(alpha, x, adj_t.crow_indices(), adj_t.col_indices())

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, heads={self.heads})"
