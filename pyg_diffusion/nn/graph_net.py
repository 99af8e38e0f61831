"""GraphNet: attention over edges and heat over the whole graph, for any signal on any graphs."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from ..spectral.grid import KINDS
from .atom_net import AtomNet
from .block import BlockNet, GraphBlock
from .conditions import Conditions
from .conv import EdgeGradient, csr_adjacency
from .embedding import SignalEmbedding, batch_vector, positions_of
from .encodings import EDGE_TIMES, NODE_TIMES, heat_signatures, mean_degree
from .norm import TimeNorm
from .registry import NetworkKind


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


class GraphNet(BlockNet):
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
        attention: neighbours speak by attention; by gated messages if false.

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
        attention: bool = True,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.positions, self.axes = positions, 0 if global_attention else positions
        self.embed = SignalEmbedding(channels, width, len(NODE_TIMES) + positions, conditions, node_conditions)
        self.edge_condition = Conditions(edge_conditions, "edge_condition")
        edge_dim = len(EDGE_TIMES) + positions + 2 * edge_conditions
        self.blocks = nn.ModuleList(
            GraphBlock(width, heads, edge_dim, expansion, self.axes, global_attention, attention) for _ in range(depth)
        )
        self.norm = TimeNorm(width, width)
        self.read = nn.Linear(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The network returns 0, each branch is damped by 1/√(2 depth)."""
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)
        self.damp()

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """What the network predicts, `[num_nodes, C]`."""
        edge_index, weight = context.edge_index, getattr(context, "edge_weight", None)
        batch, unit = batch_vector(operator), mean_degree(operator, edge_index, weight)
        node, edge = heat_signatures(operator, edge_index, unit)
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


FACTS = ("channels", "positions", "node_conditions", "edge_conditions", "atoms")  # what the data decide
KIND = NetworkKind(GraphNet, FACTS, on_atoms=AtomNet)
