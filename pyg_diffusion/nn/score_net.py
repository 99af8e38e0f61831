"""ScoreNet: predicts the score."""

from torch import Tensor

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .eps_net import EpsNet
from .graph_net import FACTS
from .registry import NetworkKind


class ScoreNet(EpsNet):
    r"""s = -σ(L)^{-1} ε̂ ≈ ∇ log q(S_t), `[num_nodes, C]`, with the ε̂ of an `EpsNet`. Arguments are those of `GraphNet`."""

    predicts = "score"

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """s."""
        eps = super().forward(noisy, operator, context)
        return operator.apply(lambda lam: -1 / noisy.sigma(lam), eps.to(operator.dtype))


KIND = NetworkKind(ScoreNet, FACTS)
