"""ScoreNet: predicts the score."""

from torch import Tensor

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .eps_net import AtomEpsNet, EpsNet, PredictsEps
from .graph_net import FACTS
from .registry import NetworkKind


class PredictsScore(PredictsEps):
    """s = -σ(L)^{-1} ε̂, with the ε̂ of the network that it is mixed with."""

    predicts = "score"

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """s."""
        eps = super().forward(noisy, operator, context)
        return operator.apply(lambda lam: -1 / noisy.sigma(lam), eps.to(operator.dtype))


class ScoreNet(PredictsScore, EpsNet):
    r"""s = -σ(L)^{-1} ε̂ ≈ ∇ log q(S_t), `[num_nodes, C]`, with the ε̂ of an `EpsNet`. Arguments are those of `GraphNet`.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.denoise import Denoiser
        >>> from pyg_diffusion.nn import ScoreNet
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> data = grid_graph((4, 4))
        >>> sde = LinearSDE(GeometricTime(1e-3, 10.0), lambda0=0.1)
        >>> denoiser = Denoiser(ScoreNet(channels=2, width=8, depth=1, heads=2), sde, PowerSpectrum.harmonic())
        >>> denoiser(laplacian_operator(data), torch.randn(16, 2), torch.tensor([[0.5]]), data).shape
        torch.Size([16, 2])
    """


class AtomScoreNet(PredictsScore, AtomEpsNet):
    """A `ScoreNet` whose nodes are atoms: s `[num_nodes, 3]`, with the ε̂ of an `AtomEpsNet`.

    Example:
        >>> from pyg_diffusion.nn import AtomScoreNet
        >>> AtomScoreNet(width=8, depth=1).predicts
        'score'
    """


KIND = NetworkKind(ScoreNet, FACTS, on_atoms=AtomScoreNet)
