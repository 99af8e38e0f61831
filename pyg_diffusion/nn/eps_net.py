"""EpsNet: predicts the noise."""

from torch import Tensor

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .graph_net import FACTS, GraphNet
from .registry import NetworkKind


class EpsNet(GraphNet):
    r"""ε̂ of S_t = φ S_0 + σ ε, `[num_nodes, C]`: the whitened signal plus what a `GraphNet` adds. Arguments are its own.

    Untrained, D = (1 - σ (φ²p + σ²)^{-1/2}) S_t / φ: S_t where there is little noise, and half the best linear estimate
    where there is little signal.
    """

    predicts = "eps"

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """ε̂."""
        return noisy.white + super().forward(noisy, operator, context)


KIND = NetworkKind(EpsNet, FACTS)
