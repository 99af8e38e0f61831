"""Where a noisy signal, its time and what is asked of it enter a network."""

import torch
from torch import Tensor, nn

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .conditions import Conditions
from .encodings import Fourier


def batch_vector(operator: LaplacianOperator) -> Tensor:
    """The graph of each node, `[N]`."""
    graphs = torch.arange(operator.num_graphs, device=operator.device)
    return graphs.repeat_interleave(operator.sizes, output_size=operator.num_nodes)


def positions_of(context: Context, dimensions: int, operator: LaplacianOperator) -> Tensor:
    """`pos [N, dimensions]`. Raises ValueError where the context has no such positions."""
    pos: Tensor | None = getattr(context, "pos", None)
    if pos is None or pos.shape != (operator.num_nodes, dimensions):
        got = "none" if pos is None else list(pos.shape)
        raise ValueError(
            f"this network reads positions pos [{operator.num_nodes}, {dimensions}] from its context, got {got}"
        )
    return pos


class GraphEmbedding(nn.Module):
    """What networks know of a graph as a whole: log τ and what is asked of it.

    Args:
        width: of the embedding.
        conditions: number of conditions.
    """

    def __init__(self, width: int, conditions: int = 0):
        super().__init__()
        self.fourier = Fourier()
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = Conditions(conditions)
        self.asked = (
            nn.Sequential(nn.Linear(2 * conditions, width), nn.SiLU(), nn.Linear(width, width)) if conditions else None
        )

    def reset_parameters(self) -> None:
        """An untrained network does what is not asked as well."""
        if self.asked is not None:
            for parameter in self.asked[2].parameters():
                nn.init.zeros_(parameter)

    def of_graph(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """Embeddings `[num_graphs, width]`."""
        embedding = self.time(self.fourier(noisy.log_tau.to(self.condition.mean.dtype)))
        if self.asked is not None:
            embedding = embedding + self.asked(self.condition(getattr(context, "condition", None), operator.num_graphs))
        return nn.functional.silu(embedding)


def size_of(signal: Tensor, operator: LaplacianOperator) -> Tensor:
    """(1 + mean S²)^{-1/2} of the graph of each node, `[N, 1]`, which brings S to order 1 and is smooth at 0."""
    power = operator.graph_sum(signal.square()).mean(1, keepdim=True) / operator.sizes.clamp_min(1).unsqueeze(1)
    return operator.on_nodes((1 + power).rsqrt())


class SignalEmbedding(GraphEmbedding):
    """Node features and graph embeddings that networks start from.

    Nodes read S_t and c_skip S_t, both divided by √(1 + mean S_t²) of their graph, the whitened c_in S_t, further node
    features, and what is asked of them. Graphs read log τ and what is asked of them.

    Args:
        channels: C, of the signal.
        width: of features and embeddings.
        features: number of further node features.
        conditions, node_conditions: numbers of conditions.
    """

    def __init__(self, channels: int, width: int, features: int = 0, conditions: int = 0, node_conditions: int = 0):
        super().__init__(width, conditions)
        self.channels = channels
        self.node_condition = Conditions(node_conditions, "node_condition")
        self.lin = nn.Linear(3 * channels + features + 2 * node_conditions, width)
        self.reset_parameters()

    def forward(
        self, noisy: Noisy, operator: LaplacianOperator, context: Context = None, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(node features `[N, width]`, embeddings `[num_graphs, width]`)."""
        signal = noisy.signal
        if signal.size(1) != self.channels:
            raise ValueError(f"the network was made for {self.channels} channels, the signal has {signal.size(1)}")
        dtype, scale = self.lin.weight.dtype, size_of(signal, operator)
        nodes = self.node_condition(getattr(context, "node_condition", None), operator.num_nodes)
        parts = [scale * signal, scale * noisy.skip, noisy.white, nodes] + ([] if features is None else [features])
        return self.lin(torch.cat([v.to(dtype) for v in parts], dim=1)), self.of_graph(noisy, operator, context)
