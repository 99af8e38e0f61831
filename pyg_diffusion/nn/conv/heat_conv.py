"""HeatConv: a learned heat kernel in every channel, with a global receptive field."""

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from ...spectral import LaplacianOperator


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

    Shapes:
        - input: node features `[N, in_channels]`, its `LaplacianOperator`, and u `[num_graphs, 1]` (optional, 1), the
          unit of λ in each graph, such as its mean degree, which makes the layer blind to the scale of edge weights
        - output: `[N, out_channels]`
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

    def forward(self, x: Tensor, operator: LaplacianOperator, unit: Tensor | None = None) -> Tensor:
        time = self.log_time.exp().to(operator.dtype)

        def heat(lam: Tensor) -> Tensor:
            return torch.exp(-time * (lam if unit is None else lam / unit).unsqueeze(-1))

        y = self.lin(x)
        return operator.apply(heat, y.to(operator.dtype)).to(y.dtype)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"
