"""What a network may read of a noisy signal, and what the package asks of every network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from .spectral import Kernel, LaplacianOperator

Context: TypeAlias = Any  # data of any class, or what a network's `encode` made of it


@dataclass
class Noisy:
    """What a network may read of a noisy signal. Signals are PyG-flat `[num_nodes, C]`.

    Attributes:
        signal: S_t itself, in the data's units.
        skip: c_skip(L) S_t, the best linear estimate of S_0, in the data's units.
        white: c_in(L) S_t, unit variance in every mode.
        c_out: the kernel in D = skip + c_out(L) F, for networks that look at their own estimate.
        log_tau: log τ(t), `[num_graphs, 1]`, the time a network is conditioned on.
        sigma: the kernel σ.
    """

    signal: Tensor
    skip: Tensor
    white: Tensor
    c_out: Kernel
    log_tau: Tensor
    sigma: Kernel


@runtime_checkable
class Network(Protocol):
    """A `torch.nn.Module` that predicts something of the clean signal. `nn.NetworkBase` has all but the prediction.

    A context is what it is told beside the noisy signal: data of any class (a PyG `Batch`, a matrix), or what `encode` makes
    of it, which is the network's own business.

    Attributes:
        predicts: "F", "eps" or "score" (`denoise`).
        levels: levels of theory, or other sources of data, that it tells apart by name; () if none.
    """

    predicts: str
    levels: tuple[str, ...]

    def __call__(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor | list[Tensor]:
        """Its prediction `[num_nodes, C]`, or a list whose last entry is the prediction; the earlier ones are intermediate
        estimates that training supervises as well. `context` may be raw or encoded."""
        ...

    def encode(self, context: Context, operator: LaplacianOperator) -> Context:
        """All that depends on the context alone, for repeated calls; the context itself where there is no such thing, or
        where it is encoded already."""
        ...

    def without_condition(self, context: Context) -> Context:
        """The context, raw or encoded, with nothing asked, for classifier-free guidance. The original stays."""
        ...

    def set_conditions(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the quantities that it is conditioned on, `[K]` each, to standardise them by.

        Raises:
            ValueError: it takes another number of conditions.
        """
        ...

    def compile(self) -> None:
        """`torch.compile` what is worth it, once for all sizes of graphs.

        Raises:
            ValueError: nothing is.
        """
        ...

    # Of nn.Module, as far as the package needs it of a network.

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


@runtime_checkable
class EnergyNetwork(Network, Protocol):
    """A network whose prediction is the slope of an energy: ε̂ = ∂E/∂S_t. Signals are `[num_nodes, C]`."""

    def energy(self, signal: Tensor, log_tau: Tensor, operator: LaplacianOperator, context: Context = None) -> Tensor:
        """E, `[num_graphs]`, at `log_tau [num_graphs, 1]`."""
        ...

    def slope(
        self, signal: Tensor, log_tau: Tensor, operator: LaplacianOperator, context: Context = None
    ) -> tuple[Tensor, Tensor]:
        """(E `[num_graphs]`, ∂E/∂S_t `[num_nodes, C]`), without second derivatives and without gradients of parameters."""
        ...
