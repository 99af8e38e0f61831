"""GraphBlock: what a node hears of its neighbours and of the whole graph."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from ..spectral import LaplacianOperator
from .attention import attention as attend
from .base import EmbeddedNet
from .conv import EdgeGradient, GatedConv, HeatConv, LaplacianAttentionConv
from .feed_forward import FeedForward
from .norm import TimeNorm


class GlobalAttention(nn.Module):
    """Attention of every node to all nodes of its graph."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        if not x.size(0):
            result: Tensor = self.qkv(x)[:, : x.size(1)]
            return result
        dense, exists = to_dense_batch(self.qkv(x), batch, batch_size=num_graphs)
        q, k, v = dense.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if bool(exists.all()) else torch.where(exists, 0.0, -1e4)[:, None, None, :]
        return attend(q, k, v, mask).transpose(1, 2).flatten(2)[exists]


class GraphBlock(nn.Module):
    """Neighbours, heat and (if wanted) its slopes along the axes or all nodes side by side, then a feed-forward layer.

    Neighbours speak by attention (`LaplacianAttentionConv`), or by gated messages (`GatedConv`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        edge_dim: int,
        expansion: int,
        axes: int,
        global_attention: bool,
        attention: bool = True,
    ):
        super().__init__()
        warm = max(width // 4, 1)
        self.norm = TimeNorm(width, width)
        self.attend = (
            LaplacianAttentionConv(width, width // heads, heads, edge_dim)
            if attention
            else GatedConv(width, width, edge_dim)
        )
        self.heat = HeatConv(width, warm)
        self.globally = GlobalAttention(width, heads) if global_attention else None
        self.out = nn.Linear(width + (1 + axes) * warm + width * global_attention, width)
        self.feed = FeedForward(width, expansion)

    def damp(self, factor: float) -> None:
        self.out.weight.data.mul_(factor)
        self.feed.down.weight.data.mul_(factor)

    def forward(
        self,
        h: Tensor,
        embedding: Tensor,
        batch: Tensor,
        adjacency: Tensor,
        edge_weight: Tensor | None,
        edge_attr: Tensor,
        operator: LaplacianOperator,
        unit: Tensor,
        gradient: EdgeGradient | None = None,
    ) -> Tensor:
        x = self.norm(h, embedding, batch)
        warm = self.heat(x, operator, unit=unit)
        seen = [self.attend(x, adjacency, edge_attr, edge_weight), warm]
        if gradient is not None:  # heat of time s varies over lengths of √s: slopes times √s keep their size
            seen.append(gradient(warm * (1 + self.heat.log_time.exp()).sqrt().to(warm)))
        if self.globally is not None:
            seen.append(self.globally(x, batch, operator.num_graphs))
        result: Tensor = self.feed(h + self.out(torch.cat(seen, dim=1)), embedding, batch)
        return result


class BlockNet(EmbeddedNet):
    """A network of `GraphBlock`s."""

    compiled = False

    @property
    def graph_blocks(self) -> list[GraphBlock]:
        """All of them, in order."""
        return [module for module in self.modules() if isinstance(module, GraphBlock)]

    def damp(self) -> None:
        """Each branch by 1/√(2 depth)."""
        blocks = self.graph_blocks
        for block in blocks:
            block.damp((2 * len(blocks)) ** -0.5)

    def compile(self) -> None:
        """Compile attention and feed-forward layers, once for all sizes; heat kernels are FFTs or products already."""
        self.compiled = True
        for block in self.graph_blocks:
            block.attend.compile(dynamic=True)
            block.feed.compile(dynamic=True)
