"""TimeNorm: layer norm that a quantity of the graph modulates."""

from torch import Tensor, nn
from torch.nn import functional as F


class TimeNorm(nn.Module):
    r"""Layer norm modulated by an embedding of each graph, such as its diffusion time and conditions (adaLN):

    .. math::
        \mathbf{x}'_i = (1 + \mathbf{A}\mathbf{z}_{g(i)} + \mathbf{a}) \odot
        \frac{\mathbf{x}_i - \mathrm{mean}}{\mathrm{std}} + \mathbf{B}\mathbf{z}_{g(i)} + \mathbf{b}

    A, a, B and b start at 0: a plain layer norm. Peebles and Xie 2023
    (`arXiv:2212.09748 <https://arxiv.org/abs/2212.09748>`_).

    Args:
        channels: size of each input sample.
        embedding_channels: size of z.
        eps: added to the variance.

    Shapes:
        - input: node features `[N, channels]`, z `[num_graphs, embedding_channels]`, batch vector `[N]` (optional: then z
          has one row)
        - output: `[N, channels]`

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import TimeNorm
        >>> norm = TimeNorm(4, 8)
        >>> x, z, batch = torch.randn(5, 4), torch.randn(2, 8), torch.tensor([0, 0, 1, 1, 1])
        >>> torch.equal(norm(x, z, batch), torch.nn.functional.layer_norm(x, (4,)))  # as long as it is untrained
        True
    """

    def __init__(self, channels: int, embedding_channels: int, eps: float = 1e-5):
        super().__init__()
        self.channels, self.embedding_channels, self.eps = channels, embedding_channels, eps
        self.lin = nn.Linear(embedding_channels, 2 * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)

    def forward(self, x: Tensor, embedding: Tensor, batch: Tensor | None = None) -> Tensor:
        scale, shift = self.lin(embedding).chunk(2, dim=-1)
        if batch is not None:
            scale, shift = scale[batch], shift[batch]
        result: Tensor = F.layer_norm(x, (self.channels,), eps=self.eps) * (1 + scale) + shift
        return result

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, {self.embedding_channels})"
