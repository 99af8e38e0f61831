"""A feed-forward layer under a `TimeNorm`."""

from torch import Tensor, nn
from torch.nn import functional as F

from .norm import TimeNorm


class FeedForward(nn.Module):
    """h + W₂ relu²(W₁ TimeNorm(h)).

    Args:
        width: of h and of the graph embedding.
        expansion: hidden over outer width.
    """

    def __init__(self, width: int, expansion: int = 2):
        super().__init__()
        self.norm = TimeNorm(width, width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def forward(self, h: Tensor, embedding: Tensor, batch: Tensor) -> Tensor:
        result: Tensor = h + self.down(F.relu(self.up(self.norm(h, embedding, batch))).square())
        return result
