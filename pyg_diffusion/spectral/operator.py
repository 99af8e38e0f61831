"""The contract of every backend: f(L) x = U f(Λ) Uᵀ x, graph by graph, for a batch of graphs.

A kernel f is a plain callable on eigenvalues. It receives λ as `[num_graphs, M]` (M modes, Chebyshev points or Ritz values;
padded ones hold a harmless value) and returns `[num_graphs, M]`, or `[num_graphs, M, C]` where every channel has a response
of its own. A quantity per graph, such as a diffusion time `t [num_graphs, 1]`, therefore broadcasts in the same way in every
backend.

Work that takes many functions of L in a row, such as sampling, stays in the backend's *working coordinates*: its modes if it
has an eigenbasis, else the nodes themselves. `to_work` and `from_work` enter and leave them; `combine` and `fan_out` act in
them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]
Term = tuple[Kernel, Tensor]


def with_channels(values: Tensor) -> Tensor:
    """Kernel values with a channel axis: `[num_graphs, M] -> [num_graphs, M, 1]`, `[num_graphs, M, C]` as it is."""
    if not isinstance(values, Tensor) or values.dim() not in (2, 3):
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"a kernel must return a tensor [num_graphs, M] or [num_graphs, M, C], got {got}")
    return values if values.dim() == 3 else values.unsqueeze(-1)


def require_finite(values: Tensor, lam: Tensor) -> None:
    """Raise ValueError, naming a λ, where kernel values `[num_graphs, M, 1 or C]` at λ `[num_graphs, M]` are inf or NaN."""
    if torch.compiler.is_compiling():  # pragma: no cover  # traced, never run; a branch on data breaks the graph
        return
    if not values.numel() or all(bool(end.isfinite()) for end in values.detach().aminmax()):  # NaN is both ends; one pass
        return
    at = float(lam.expand(values.shape[:2])[~values.isfinite().all(2)][0])
    advice = "; there it must have a value, such as 0 or p(0)" if at == 0 else ""
    raise ValueError(f"the kernel is not finite at λ = {at:.6g}{advice}")


def _reciprocal(kernel: Kernel) -> Kernel:
    def inverse(lam: Tensor) -> Tensor:
        values = kernel(lam)
        if bool((values == 0).any()):
            raise ValueError("cannot solve f(L) y = x: the kernel is 0 on the spectrum (at λ = 0? then add λ₀ > 0)")
        return 1.0 / values

    return inverse


class LaplacianOperator(ABC):
    """The Laplacian L of a batch of graphs, as something functions are taken of.

    Node signals are PyG-flat, `[num_nodes, C]`: the nodes of all graphs, one graph after the other.

    Attributes:
        sizes: number of nodes of each graph, `[num_graphs]`.
        constant_null: the constant signal is a null mode of every graph (so it is with the combinatorial Laplacian; the
            symmetrically normalised one has √degree in its place).
        reason: why this backend serves the graph, where a chooser chose it.

    Raises:
        ValueError: `apply`, `solve` and `combine` refuse signals of another shape or dtype, and no terms at all.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import GridOperator, LaplacianOperator
        >>> L = GridOperator((4, 4), "cycle")  # or any other backend
        >>> x = torch.randn(16, 3)
        >>> y = L.apply(lambda lam: 1 + lam, x)
        >>> torch.allclose(L.solve(lambda lam: 1 + lam, y), x, atol=1e-5)
        True
        >>> isinstance(L, LaplacianOperator), L.num_graphs, L.num_nodes
        (True, 1, 16)
    """

    sizes: Tensor
    num_nodes: int
    constant_null: bool = True
    reason: str = ""

    @property
    def num_graphs(self) -> int:
        return self.sizes.numel()

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the signals it takes."""

    @property
    def device(self) -> torch.device:
        return self.sizes.device

    @abstractmethod
    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast to float32 or float64, or move, as `Tensor.to`."""

    @abstractmethod
    def combine(self, *terms: Term) -> Tensor:
        """Σ_i f_i(L) w_i for pairs (f_i, w_i), in working coordinates; one pass for all of them where the backend can."""

    @abstractmethod
    def fan_out(self, kernels: Sequence[Kernel], w: Tensor) -> list[Tensor]:
        """f_i(L) w for several kernels of one w, in working coordinates; one pass for all of them where the backend can."""

    def to_work(self, x: Tensor) -> Tensor:
        """A node signal in working coordinates."""
        self.check(x)
        return x

    def from_work(self, w: Tensor) -> Tensor:
        """The inverse of `to_work`."""
        return w

    def apply(self, kernel: Kernel, x: Tensor) -> Tensor:
        """f(L) x for a signal `x [num_nodes, C]`. Raises ValueError where the kernel is not finite on the spectrum."""
        return self.from_work(self.combine((kernel, self.to_work(x))))

    def apply_many(self, kernels: Sequence[Kernel], x: Tensor) -> list[Tensor]:
        """f_i(L) x for several kernels of one signal."""
        return [self.from_work(w) for w in self.fan_out(kernels, self.to_work(x))]

    def solve(self, kernel: Kernel, x: Tensor) -> Tensor:
        """f(L)⁻¹ x. Raises ValueError where the kernel vanishes on the spectrum."""
        return self.apply(_reciprocal(kernel), x)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless x is `[num_nodes, C]` of this operator's dtype."""
        if x.dim() != 2 or x.size(0) != self.num_nodes:
            raise ValueError(f"a signal must be [num_nodes = {self.num_nodes}, C], got {list(x.shape)}")
        if x.dtype != self.dtype:
            raise ValueError(f"the signal is {x.dtype}, the operator {self.dtype}; cast one of them with .to()")

    def pack(self, x: Tensor) -> Tensor:
        """Flat to padded: `[num_nodes, ...] -> [num_graphs, M, ...]`, M nodes in the largest graph, zeros in the padding."""
        if x.size(0) != self.num_nodes:
            raise ValueError(f"the signal has {x.size(0)} nodes, the operator {self.num_nodes}")
        most = int(self.sizes.max()) if self.num_graphs else 0
        slots = (torch.arange(most, device=x.device) < self.sizes[:, None]).flatten().nonzero().squeeze(1)
        padded = x.new_zeros(self.num_graphs * most, *x.shape[1:])
        return padded.index_copy(0, slots, x).view(self.num_graphs, most, *x.shape[1:])

    def graph_sum(self, x: Tensor) -> Tensor:
        """Sum over the nodes of each graph: `[num_nodes, C] -> [num_graphs, C]`."""
        if self.num_graphs == 1:
            return x.sum(0, keepdim=True)
        graph = torch.arange(self.num_graphs, device=x.device).repeat_interleave(self.sizes, output_size=self.num_nodes)
        return x.new_zeros(self.num_graphs, x.size(1)).index_add(0, graph, x)

    def on_nodes(self, per_graph: Tensor) -> Tensor:
        """A value per graph as one per node: `[num_graphs, ...] -> [num_nodes, ...]` (or `[1, ...]`, which broadcasts)."""
        if self.num_graphs == 1:
            return per_graph
        return per_graph.repeat_interleave(self.sizes, dim=0, output_size=self.num_nodes)

    def inner(self, w: Tensor, v: Tensor) -> Tensor:
        """Σ over nodes and channels of the product of two signals, `[num_graphs]`, from working coordinates (Parseval)."""
        return self.graph_sum(w * v).sum(1)

    def square_sum(self, w: Tensor) -> Tensor:
        """`inner` of a signal with itself."""
        return self.inner(w, w)

    def center(self, w: Tensor) -> Tensor:
        """w, in working coordinates, less the signal's mean over each graph: the global translation projected out."""
        self._require_constant_null()
        return w - self.on_nodes(self.graph_sum(w) / self.sizes.clamp_min(1)[:, None].to(w.dtype))

    def _require_constant_null(self) -> None:
        if not self.constant_null:
            raise ValueError("translations are no mode of a normalised Laplacian; use the combinatorial one for coordinates")

    def _describe(self, *facts: str) -> str:
        graphs = "1 graph" if self.num_graphs == 1 else f"{self.num_graphs} graphs"
        nodes = "1 node" if self.num_nodes == 1 else f"{self.num_nodes} nodes"
        why = f"; {self.reason}" if self.reason else ""
        return f"{type(self).__name__}({', '.join([graphs, nodes, *facts])}{why})"


class ExactOperator(LaplacianOperator):
    """A backend with an orthonormal eigenbasis at hand: its working coordinates are modes, `[num_graphs, M, C]`.

    `eigenvalues [num_graphs, M]` and the boolean `mode_mask [num_graphs, M]` name the modes that exist. With a combinatorial
    Laplacian mode 0 of every graph is the constant.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import ExactOperator, GridOperator
        >>> L = GridOperator((2, 3))
        >>> isinstance(L, ExactOperator)
        True
        >>> modes = L.to_modes(torch.ones(6, 1))  # the constant is mode 0
        >>> modes.abs().round(decimals=3)[0, :, 0]
        tensor([2.4490, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000])
    """

    eigenvalues: Tensor
    mode_mask: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.eigenvalues.dtype

    @abstractmethod
    def to_modes(self, x: Tensor) -> Tensor:
        """Ŝ = Uᵀ x: `[num_nodes, C] -> [num_graphs, M, C]`, zero on modes that do not exist."""

    @abstractmethod
    def from_modes(self, modes: Tensor) -> Tensor:
        """x = U Ŝ: `[num_graphs, M, C] -> [num_nodes, C]`."""

    def response(self, kernel: Kernel) -> Tensor:
        """f(Λ), with a channel axis: `[num_graphs, M, 1 or C]`."""
        return with_channels(kernel(self.eigenvalues))

    def _finite(self, kernel: Kernel) -> Tensor:
        """`response`, checked where signals come from outside."""
        response = self.response(kernel)
        require_finite(response, self.eigenvalues)
        return response

    def apply(self, kernel: Kernel, x: Tensor) -> Tensor:
        return self.from_work(self._finite(kernel) * self.to_work(x))

    def apply_many(self, kernels: Sequence[Kernel], x: Tensor) -> list[Tensor]:
        w = self.to_work(x)
        return [self.from_work(self._finite(kernel) * w) for kernel in kernels]

    def combine(self, *terms: Term) -> Tensor:
        lam = self.eigenvalues
        total = None
        for kernel, modes in terms:
            part = with_channels(kernel(lam)) * modes
            total = part if total is None else total + part
        if total is None:
            raise ValueError("combine needs at least one term")
        return total

    def fan_out(self, kernels: Sequence[Kernel], w: Tensor) -> list[Tensor]:
        lam = self.eigenvalues
        return [with_channels(kernel(lam)) * w for kernel in kernels]

    def to_work(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.to_modes(x)

    def from_work(self, w: Tensor) -> Tensor:
        return self.from_modes(w)

    def inner(self, w: Tensor, v: Tensor) -> Tensor:
        return (w * v).sum((1, 2))

    def center(self, w: Tensor) -> Tensor:
        self._require_constant_null()
        return torch.cat([torch.zeros_like(w[:, :1]), w[:, 1:]], dim=1)
