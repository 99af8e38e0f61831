"""HeatConv: a learned heat kernel in every channel, with a global receptive field."""

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj
from torch_geometric.utils import is_sparse, to_edge_index

from ...spectral import ChebyshevOperator, DenseOperator, Laplacian, LaplacianOperator

DENSE_NODES = 512  # of the largest graph, as in data.laplacian_operator, up to which its spectrum is worth having


class HeatConv(nn.Module):
    r"""Diffusion for a learned time in every channel:

    .. math::
        \mathbf{x}'_c = e^{-s_c \mathbf{L}}\,(\mathbf{X}\mathbf{W})_c, \qquad s_c = e^{\ell_c} / u > 0

    exact and global where the operator is: by FFT on grids, by the spectrum on molecules. The times start spread evenly in
    their logarithm. After Sharp et al. 2022 (DiffusionNet, `arXiv:2012.00888 <https://arxiv.org/abs/2012.00888>`_).

    Args:
        in_channels: size of each input sample.
        out_channels: size of each output sample.
        low, high: first and last of the initial times s_c u.

    It takes edges as PyG's layers do, of an undirected graph, both directions of each, and makes an operator of them at each
    call; where one is at hand, as for a graph that many calls have in common, it goes in their place.

    Shapes:
        - input: node features `[N, in_channels]`; edges `[2, E]` or a sparse adjacency, with weights `[E]` >= 0 and each
          node's graph `[N]` (both optional), or a `LaplacianOperator`; and u `[num_graphs, 1]` (optional, 1), the unit of λ
          in each graph, such as its mean degree, which makes the layer blind to the scale of edge weights
        - output: `[N, out_channels]`

    Example:
        >>> import torch
        >>> from pyg_diffusion import HeatConv
        >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> HeatConv(4, 8)(torch.randn(3, 4), edges).shape
        torch.Size([3, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, low: float = 0.25, high: float = 256.0):
        super().__init__()
        self.in_channels, self.out_channels, self.low, self.high = in_channels, out_channels, low, high
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.log_time = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.lin.reset_parameters()
        share = torch.linspace(0, 1, self.out_channels)
        self.log_time.data.copy_(torch.tensor(self.low).log() * (1 - share) + torch.tensor(self.high).log() * share)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj | LaplacianOperator,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        unit: Tensor | None = None,
    ) -> Tensor:
        operator = edge_index
        if not isinstance(operator, LaplacianOperator):
            operator = _operator(operator, x, edge_weight, batch)
        elif edge_weight is not None or batch is not None:
            raise ValueError("an operator has its edge weights and its batch in it; give them with edge_index")
        time = self.log_time.exp().to(operator.dtype)

        def heat(lam: Tensor) -> Tensor:
            return torch.exp(-time * (lam if unit is None else lam / unit).unsqueeze(-1))

        y = self.lin(x)
        return operator.apply(heat, y.to(operator.dtype)).to(y.dtype)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"


def _operator(edges: Adj, x: Tensor, edge_weight: Tensor | None, batch: Tensor | None) -> LaplacianOperator:
    """Of the Laplacian of these edges, exact up to `DENSE_NODES`."""
    if is_sparse(edges):
        edges, edge_weight = to_edge_index(edges)
    laplacian = Laplacian.from_edges(edges, x.size(0), edge_weight, batch)
    dense = int(laplacian.sizes.max()) <= DENSE_NODES
    operator = DenseOperator.from_laplacian(laplacian) if dense else ChebyshevOperator(laplacian)
    return operator.to(x.device, x.dtype if x.dtype == torch.float64 else torch.float32)
