"""EpsNet: predicts the noise."""

from torch import Tensor

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .atom_net import AtomNet
from .base import NetworkBase
from .graph_net import FACTS, GraphNet
from .registry import NetworkKind


class PredictsEps(NetworkBase):
    """ε̂ = c_in S_t + what the network that it is mixed with returns."""

    predicts = "eps"

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """ε̂."""
        eps: Tensor = noisy.white + super().forward(noisy, operator, context)
        return eps


class EpsNet(PredictsEps, GraphNet):
    r"""ε̂ of S_t = φ S_0 + σ ε, `[num_nodes, C]`: the whitened signal plus what a `GraphNet` adds. Arguments are its own.

    Untrained, D = (1 - σ (φ²p + σ²)^{-1/2}) S_t / φ: S_t where there is little noise, and half the best linear estimate
    where there is little signal.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import EpsNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = grid_graph((4, 4))
        >>> sde = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1)
        >>> denoiser = Denoiser(EpsNet(channels=2, width=8, depth=1, heads=2), sde, PowerSpectrum.harmonic())
        >>> denoiser(laplacian_operator(data), torch.randn(16, 2), torch.tensor([[0.5]]), data).shape
        torch.Size([16, 2])
    """


class AtomEpsNet(PredictsEps, AtomNet):
    """An `EpsNet` whose nodes are atoms: ε̂ `[num_nodes, 3]`, with an `AtomNet` in the place of the `GraphNet`.

    Example:
        >>> from pyg_diffusion.nn import AtomEpsNet
        >>> AtomEpsNet(width=8, depth=1).predicts
        'eps'
    """


KIND = NetworkKind(EpsNet, FACTS, on_atoms=AtomEpsNet)
