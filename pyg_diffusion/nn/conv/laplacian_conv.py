"""LaplacianConv: a learned polynomial of L for every channel, then one matrix that mixes them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.nn.inits import zeros
from torch_geometric.typing import Adj, OptTensor
from torch_geometric.utils import scatter

from ...spectral.chebyshev import chebyshev_coefficients
from .adjacency import as_edges
from .weighted_sum import weighted_sum


class LaplacianConv(MessagePassing):
    r"""A learned function of the Laplacian in every channel:

    .. math::
        \mathbf{X}' = \Big(\sum_{k=0}^{K-1} \theta_k \odot T_k(\tilde{\mathbf{L}})\,\mathbf{X}\Big)\mathbf{W} + \mathbf{b},
        \qquad \tilde{\mathbf{L}} = 2\mathbf{L}/\lambda_{\max} - \mathbf{I}

    with Chebyshev polynomials :math:`T_k`, so channel c of X is filtered by :math:`f_c(\lambda) = \sum_k \theta_{kc}
    T_k(2\lambda/\lambda_{\max} - 1)`. One matrix W where `ChebConv` has K. The filters start as heat kernels
    :math:`e^{-s_c\lambda}` with :math:`s_c\lambda_{\max}` spread from 0 (the identity) to :math:`K^2`, as far as K - 1 hops
    reach. After Defferrard, Bresson and Vandergheynst 2016 (`arXiv:1606.09375 <https://arxiv.org/abs/1606.09375>`_).

    Args:
        in_channels: size of each input sample.
        out_channels: size of each output sample.
        K: number of coefficients; the filter reaches K - 1 hops.
        normalization: "sym" for :math:`\mathbf{I} - \mathbf{D}^{-1/2}\mathbf{W}\mathbf{D}^{-1/2}`, None for
            :math:`\mathbf{D} - \mathbf{W}`.
        bias: learn an additive bias.
        **kwargs: of `torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - input: node features `[N, in_channels]`, edge indices `[2, E]` or a transposed sparse adjacency (the faster way,
          see `csr_adjacency`), edge weights `[E]` (optional), batch vector `[N]` (optional), `lambda_max` `[num_graphs]` or
          a number (optional: 2 if normalised, else the bound max(d_i + d_j) over the edges of each graph)
        - output: `[N, out_channels]`

    Raises:
        ValueError: K < 1, or another normalisation.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import LaplacianConv
        >>> conv = LaplacianConv(3, 8, K=4)
        >>> conv
        LaplacianConv(3, 8, K=4, normalization=sym)
        >>> conv(torch.randn(3, 3), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 4,
        normalization: str | None = "sym",
        bias: bool = True,
        **kwargs: Any,
    ):
        kwargs.setdefault("aggr", "add")
        super().__init__(**kwargs)
        if K < 1:
            raise ValueError(f"K must be at least 1, got {K}")
        if normalization not in ("sym", None):
            raise ValueError(f"normalization must be 'sym' or None, got {normalization!r}")
        self.in_channels, self.out_channels, self.K, self.normalization = in_channels, out_channels, K, normalization
        self.theta = Parameter(torch.empty(K, in_channels))
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        if bias:
            self.bias = Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin.reset_parameters()
        zeros(self.bias)
        degree = max(self.K - 1, 1)
        points = torch.cos(torch.arange(degree + 1) * (torch.pi / (2 * degree))).square()  # λ/λ_max, from 1 to 0
        times = torch.linspace(0, 1, self.in_channels).square() * self.K**2
        heat = torch.exp(-times * points.unsqueeze(1))
        self.theta.data.copy_(chebyshev_coefficients(heat.unsqueeze(0))[0, : self.K])

    def _scaled(
        self, i: Tensor, j: Tensor, weight: Tensor, num_nodes: int, batch: OptTensor, lambda_max: OptTensor | float
    ) -> tuple[Tensor, Tensor]:
        """(c, a) with (L̃ x)_i = c_i x_i + Σ_j a_ij x_j, `[N, 1]` and `[E]`."""
        weight = torch.where(i == j, 0, weight)
        degree = scatter(weight, i, dim_size=num_nodes, reduce="sum")
        graph = torch.zeros(num_nodes, dtype=torch.long, device=i.device) if batch is None else batch
        if self.normalization == "sym":
            scale = torch.where(degree > 0, degree, 1).rsqrt()
            weight, diagonal = scale[i] * weight * scale[j], (degree > 0).to(weight.dtype)
            top = degree.new_full((1,), 2)
        else:
            diagonal = degree
            top = scatter(degree[i] + degree[j], graph[i], dim_size=num_nodes, reduce="max")[graph]
        if lambda_max is not None:
            top = torch.as_tensor(lambda_max, dtype=degree.dtype, device=degree.device).reshape(-1)
            top = top if top.numel() == 1 else top[graph]
        half = (2 / torch.where(top > 0, top, 1)).expand(num_nodes)
        return (half * diagonal - 1).unsqueeze(1), -half[i] * weight

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: OptTensor = None,
        batch: OptTensor = None,
        lambda_max: OptTensor | float = None,
    ) -> Tensor:
        edges, j, i, weight = as_edges(edge_index, edge_weight, self.flow)
        weight = x.new_ones(i.numel()) if weight is None else weight.to(x.dtype)
        diagonal, scaled = self._scaled(i, j, weight, x.size(0), batch, lambda_max)
        before, now, out = x, x, self.theta[0] * x
        for k in range(1, self.K):
            # propagate_type: (x: Tensor, weight: Tensor)
            moved = diagonal * now + self.propagate(edges, x=now, weight=scaled.unsqueeze(1))
            before, now = now, moved if k == 1 else 2 * moved - before
            out = out + self.theta[k] * now
        out = self.lin(out)
        result: Tensor = out if self.bias is None else out + self.bias
        return result

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        return weight * x_j

    def message_and_aggregate(self, adj_t: Adj, x: Tensor, weight: Tensor) -> Tensor:
        return weighted_sum(weight, x, adj_t.crow_indices(), adj_t.col_indices())

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f"{name}({self.in_channels}, {self.out_channels}, K={self.K}, normalization={self.normalization})"
