"""Features of noisy signals, the f of an `EnergyNet`."""

from torch import Tensor

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .atom_net import AtomNet
from .base import NetworkBase
from .embedding import size_of
from .graph_net import FACTS, GraphNet
from .registry import NetworkKind


class Features(NetworkBase):
    """f = (1 + mean S_t²)^{-1/4} S_t + what the network that it is mixed with returns.

    Such a network returns 0 at first, and an energy of features that are all 0 has no gradient to learn from. Untrained,
    E = ½ ‖S_t‖² / √(1 + mean S_t²): where noise prevails its slope is about ε.
    """

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """f."""
        scaled = size_of(noisy.signal, operator).sqrt() * noisy.signal
        features: Tensor = scaled + super().forward(noisy, operator, context)
        return features


class FeatureNet(Features, GraphNet):
    """Features f `[num_nodes, C]` of signals on graphs, by a `GraphNet`. Arguments are its own.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.nn import EnergyNet, FeatureNet
        >>> data, x = grid_graph((4, 4)), torch.randn(16, 2)
        >>> net = EnergyNet(FeatureNet(channels=2, width=8, depth=1, heads=2))
        >>> energy, slope = net.slope(x, torch.zeros(1, 1), laplacian_operator(data), data)
        >>> torch.allclose(energy, 0.5 * x.square().sum() * (1 + x.square().mean()) ** -0.5)
        True
    """


class AtomFeatureNet(Features, AtomNet):
    """Features f `[num_nodes, 3]` of conformers, by an `AtomNet`: they turn with the molecule, so that their energy is
    invariant and its slope turns with it.

    Example:
        >>> from pyg_diffusion.nn import AtomFeatureNet, EnergyNet
        >>> EnergyNet(AtomFeatureNet(width=8, depth=1)).predicts
        'eps'
    """


ENERGY = NetworkKind(FeatureNet, FACTS, energy=True, on_atoms=AtomFeatureNet)
