"""MLPNet: the baseline that knows no graph."""

import torch
from torch import Tensor, nn

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .atom_graph import AtomTypes
from .base import EmbeddedNet
from .embedding import SignalEmbedding, batch_vector, positions_of
from .feed_forward import FeedForward
from .norm import TimeNorm
from .registry import NetworkKind

TYPES = 32  # features of an atom's type


class MLPNet(EmbeddedNet):
    """ε̂, `[num_nodes, C]`, of every node on its own: the whitened signal plus an MLP of what the node reads.

    Neighbours enter through the filters that make `skip` and `white` alone. Equivariant under permutations.

    Args:
        channels: C.
        width: hidden features.
        depth: number of feed-forward layers.
        positions: d where nodes have positions `pos [N, d]`, read as they are; else 0.
        conditions, node_conditions: numbers of conditions, as `GraphNet` reads them.
        atoms: nodes are atoms, whose types `x` it reads as well (`schema.ATOM_FEATURES`); it knows no bonds and no stereo.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import MLPNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = grid_graph((4, 4))
        >>> sde = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1)
        >>> denoiser = Denoiser(MLPNet(channels=2, width=8, depth=1), sde, PowerSpectrum.harmonic())
        >>> denoiser(laplacian_operator(data), torch.randn(16, 2), torch.tensor([[0.5]]), data).shape
        torch.Size([16, 2])
    """

    predicts = "eps"

    def __init__(
        self,
        channels: int = 3,
        width: int = 256,
        depth: int = 4,
        positions: int = 0,
        conditions: int = 0,
        node_conditions: int = 0,
        atoms: bool = False,
    ):
        super().__init__()
        self.positions = positions
        self.types = AtomTypes(TYPES) if atoms else None
        self.embed = SignalEmbedding(channels, width, positions + atoms * TYPES, conditions, node_conditions)
        self.layers = nn.ModuleList(FeedForward(width) for _ in range(depth))
        self.norm = TimeNorm(width, width)
        self.read = nn.Linear(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The MLP adds 0."""
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context = None) -> Tensor:
        """ε̂."""
        known = [positions_of(context, self.positions, operator)] if self.positions else []
        known += [] if self.types is None else [self.types(context.x)]
        features = torch.cat(known, dim=1) if known else None
        (h, embedding), batch = self.embed(noisy, operator, context, features), batch_vector(operator)
        for layer in self.layers:
            h = layer(h, embedding, batch)
        result: Tensor = noisy.white + self.read(self.norm(h, embedding, batch))
        return result


KIND = NetworkKind(MLPNet, ("channels", "positions", "node_conditions", "atoms"))
