"""GraphNet: attention over edges and heat over the whole graph, for any signal on any graphs."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter, to_dense_batch

from ..network import Context, Noisy
from ..spectral import DenseOperator, GridOperator, LaplacianOperator
from ..spectral.grid import KINDS
from .attention import attention
from .base import NetworkBase
from .conditions import Conditions
from .conv import EdgeGradient, HeatConv, LaplacianAttentionConv, csr_adjacency
from .embedding import SignalEmbedding, batch_vector, positions_of
from .encodings import heat_diagonal, heat_edges
from .feed_forward import FeedForward
from .norm import TimeNorm
from .registry import NetworkKind

NODE_TIMES = (0.25, 1.0, 4.0, 16.0)  # in units of 1 / mean degree
EDGE_TIMES = (0.25, 4.0)


def geometry(context: Context, positions: int, batch: Tensor, operator: LaplacianOperator) -> tuple[Tensor, Tensor]:
    """Node positions about the mean over the root mean square radius `[N, d]`, and edge vectors `[E, d]` over their own.

    Along a periodic axis of a grid there is no position, and edges take the short way round.
    """
    pos = positions_of(context, positions, operator)
    j, i = context.edge_index
    vector = pos[j] - pos[i]
    if "grid_kind" in context:
        cyclic = context.grid_kind == KINDS.index("cycle")
        period = context.grid_shape * context.grid_spacing
        turns = torch.where(cyclic[batch[i]], (vector / period[batch[i]]).round(), 0)
        vector, pos = vector - turns * period[batch[i]], torch.where(cyclic[batch], 0, pos)

    def mean(x: Tensor, count: Tensor) -> Tensor:
        return operator.on_nodes(operator.graph_sum(x) / operator.graph_sum(count).clamp_min(1))

    one = torch.ones_like(pos[:, :1])
    pos = pos - mean(pos, one)
    radius2 = mean(pos.square().sum(1, keepdim=True), one)
    squares = scatter(vector.square().sum(1, keepdim=True), i, dim_size=operator.num_nodes)
    length2 = mean(squares, scatter(one[i], i, dim_size=operator.num_nodes)).expand(operator.num_nodes, 1)[i]
    return pos * torch.where(radius2 > 0, radius2, 1).rsqrt(), vector * torch.where(length2 > 0, length2, 1).rsqrt()


class _GlobalAttention(nn.Module):
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
        return attention(q, k, v, mask).transpose(1, 2).flatten(2)[exists]


class _Block(nn.Module):
    """Neighbours, heat and (if wanted) its slopes along the axes or all nodes side by side, then a feed-forward layer."""

    def __init__(self, width: int, heads: int, edge_dim: int, expansion: int, axes: int, global_attention: bool):
        super().__init__()
        warm = max(width // 4, 1)
        self.norm = TimeNorm(width, width)
        self.attend = LaplacianAttentionConv(width, width // heads, heads, edge_dim)
        self.heat = HeatConv(width, warm)
        self.globally = _GlobalAttention(width, heads) if global_attention else None
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


class GraphNet(NetworkBase):
    r"""The target F of a preconditioned denoiser, for `[num_nodes, C]` signals on batches of any graphs.

    Blocks of {`TimeNorm` → attention over edges beside learned heat kernels of L (and attention over all nodes) → +,
    `TimeNorm` → feed-forward → +}. Where nodes have positions and do not attend to all others, the slopes of the diffused
    features stand beside them, as in DiffusionNet (Sharp et al. 2022, `arXiv:2012.00888
    <https://arxiv.org/abs/2012.00888>`_): heat brings what is far away, its slopes tell from where. Nodes also read their
    heat-kernel signature, edges their heat-kernel entries, in units of the graph's mean degree; neither depends on sign or
    basis of eigenvectors, and both are 0 on backends without an eigenbasis. The read-out starts at 0, so that the untrained
    denoiser is the best linear one. Equivariant under permutations, not under rotations.

    Called as `net(noisy, operator, context)`. `context` (`Data` or `Batch`) has `edge_index` and may have

    - `edge_weight [E]`, `pos [N, positions]`;
    - `condition [num_graphs, conditions]`, `node_condition [N, node_conditions]`, `edge_condition [E, edge_conditions]`:
      numbers that steer, NaN or no such attribute where nothing is asked (see `without_condition`).

    Args:
        channels: C.
        width: features per node, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        positions: d where nodes have positions `pos [N, d]` that the network may read, else 0.
        conditions, node_conditions, edge_conditions: numbers of conditions.
        expansion: hidden over outer width of the feed-forward layers.
        global_attention: attend to all nodes of a graph in the place of slopes, for small graphs: it takes O(N²) per graph.

    Raises:
        ValueError: width no multiple of heads; a signal, position or condition of another shape.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import GraphNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = grid_graph((4, 4))
        >>> sde = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1)
        >>> denoiser = Denoiser(GraphNet(channels=2, width=8, depth=1, heads=2, positions=2), sde, PowerSpectrum.harmonic())
        >>> denoiser(laplacian_operator(data), torch.randn(16, 2), torch.tensor([[0.5]]), data).shape
        torch.Size([16, 2])
    """

    predicts = "F"

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        positions: int = 0,
        conditions: int = 0,
        node_conditions: int = 0,
        edge_conditions: int = 0,
        expansion: int = 2,
        global_attention: bool = False,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.positions, self.axes, self.compiled = positions, 0 if global_attention else positions, False
        self.embed = SignalEmbedding(channels, width, len(NODE_TIMES) + positions, conditions, node_conditions)
        self.edge_condition = Conditions(edge_conditions, "edge_condition")
        edge_dim = len(EDGE_TIMES) + positions + 2 * edge_conditions
        self.blocks = nn.ModuleList(
            _Block(width, heads, edge_dim, expansion, self.axes, global_attention) for _ in range(depth)
        )
        self.norm = TimeNorm(width, width)
        self.read = nn.Linear(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The network returns 0, each branch is damped by 1/√(2 depth)."""
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)
        for block in self.blocks:
            assert isinstance(block, _Block)
            block.damp((2 * len(self.blocks)) ** -0.5)

    def compile(self) -> None:
        """Compile attention and feed-forward layers, once for all sizes; heat kernels are FFTs or products already."""
        self.compiled = True
        for block in self.blocks:
            assert isinstance(block, _Block)
            block.attend.compile(dynamic=True)
            block.feed.compile(dynamic=True)

    def set_conditions(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the graphs' conditions, `[conditions]` each."""
        self.embed.condition.set(mean, std)

    @property
    def condition_mean(self) -> Tensor:
        """What conditions are standardised by, `[conditions]`; as is `condition_std`."""
        return self.embed.condition.mean

    @property
    def condition_std(self) -> Tensor:
        return self.embed.condition.std

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """What the network predicts, `[num_nodes, C]`."""
        edge_index, weight = context.edge_index, getattr(context, "edge_weight", None)
        ones = torch.ones(edge_index.size(1), device=edge_index.device)
        batch = batch_vector(operator)
        degree = scatter(ones if weight is None else weight, edge_index[1], dim_size=operator.num_nodes).unsqueeze(1)
        unit = operator.graph_sum(degree) / operator.sizes.clamp_min(1).unsqueeze(1)
        unit = torch.where(unit > 0, unit, 1).to(operator.dtype)
        node, edge = self._signatures(operator, edge_index, unit)
        gradient = None
        if self.positions:
            pos, vector = geometry(context, self.positions, batch, operator)
            node, edge = torch.cat([node, pos.to(node)], dim=1), torch.cat([edge, vector.to(edge)], dim=1)
            gradient = EdgeGradient(edge_index, vector, operator.num_nodes) if self.axes else None
        asked = self.edge_condition(getattr(context, "edge_condition", None), edge_index.size(1))
        dtype = self.read.weight.dtype
        edge = torch.cat([edge.to(dtype), asked.to(dtype)], dim=1)
        adjacency = edge_index
        if not self.compiled:  # a compiler cannot follow views of sparse tensors
            adjacency, order = csr_adjacency(edge_index, operator.num_nodes, weight)
            weight, edge = None, edge[order]
        h, embedding = self.embed(noisy, operator, context, node)
        for block in self.blocks:
            h = block(h, embedding, batch, adjacency, weight, edge, operator, unit, gradient)
        result: Tensor = self.read(self.norm(h, embedding, batch))
        return result

    def _signatures(self, operator: LaplacianOperator, edge_index: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(operator, DenseOperator | GridOperator):
            return unit.new_zeros(operator.num_nodes, len(NODE_TIMES)), unit.new_zeros(edge_index.size(1), len(EDGE_TIMES))
        scale = unit[:1] if isinstance(operator, GridOperator) else unit  # copies of one grid have one mean degree
        node_times, edge_times = (torch.tensor(times).to(scale) / scale for times in (NODE_TIMES, EDGE_TIMES))
        if not operator.num_graphs:
            return unit.new_zeros(0, len(NODE_TIMES)), unit.new_zeros(0, len(EDGE_TIMES))
        return heat_diagonal(operator, node_times), heat_edges(operator, edge_index, edge_times)


FACTS = ("channels", "positions", "node_conditions", "edge_conditions")  # what the data decide
KIND, ENERGY = NetworkKind(GraphNet, FACTS), NetworkKind(GraphNet, FACTS, energy=True)
