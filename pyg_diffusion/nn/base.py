"""What networks have in common: `network.Network` but for the prediction itself."""

from typing import ClassVar

from torch import Tensor, nn

from ..network import Context
from ..spectral import LaplacianOperator
from .conditions import without_condition
from .embedding import GraphEmbedding


class NetworkBase(nn.Module):
    """A network that predicts F, encodes nothing, takes no conditions and is not compiled, unless it says otherwise.

    A class that `needs_dense` reads entries of f(L), which a `DenseOperator` alone has.

    A subclass brings `forward(noisy, operator, context)`, see `network.Network`; `nn.registry` makes it known to recipes.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import NetworkBase
        >>> class Scaled(NetworkBase):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = torch.nn.Parameter(torch.zeros(()))
        ...
        ...     def forward(self, noisy, operator, context):
        ...         return self.scale * noisy.white
        >>> Scaled().predicts, Scaled().levels
        ('F', ())
    """

    needs_dense: ClassVar[bool] = False
    predicts: str = "F"
    levels: tuple[str, ...] = ()

    def encode(self, context: Context, operator: LaplacianOperator) -> Context:
        """The context itself."""
        return context

    def without_condition(self, context: Context) -> Context:
        """The context with nothing asked of its graphs, nodes or edges."""
        return without_condition(context)

    def set_conditions(self, mean: Tensor, std: Tensor) -> None:
        """Raises ValueError where there are any: this network takes none."""
        if mean.numel():
            raise ValueError(f"{type(self).__name__} takes no conditions, got {mean.numel()}")

    def compile(self) -> None:
        """Raises ValueError."""
        raise ValueError(f"{type(self).__name__} is not made to be compiled; leave compile out")


class EmbeddedNet(NetworkBase):
    """A network that is told of time and conditions by a `GraphEmbedding`, its `embed`."""

    embed: GraphEmbedding

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
