"""The contract of every backend: f(L) x = U f(Λ) Uᵀ x, graph by graph, for a batch of graphs.

A kernel f is a plain callable on eigenvalues. It receives λ as `[num_graphs, M]` (M modes; padded ones hold a harmless
value) and returns `[num_graphs, M]`, or `[num_graphs, M, C]` where every channel has a response of its own. A quantity per
graph, such as a diffusion time `t [num_graphs, 1]`, therefore broadcasts in the same way in every backend.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

Kernel = Callable[[Tensor], Tensor]


class LaplacianOperator(ABC):
    """The Laplacian L of a batch of graphs, as something functions are taken of.

    Node signals are PyG-flat, `[num_nodes, C]`: the nodes of all graphs, one graph after the other.
    """

    num_graphs: int
    num_nodes: int

    @abstractmethod
    def apply(self, kernel: Kernel, x: Tensor) -> Tensor:
        """f(L) x for a signal `x [num_nodes, C]`."""

    def solve(self, kernel: Kernel, x: Tensor) -> Tensor:
        """f(L)⁻¹ x. The kernel must not vanish on the spectrum."""
        return self.apply(lambda lam: 1.0 / kernel(lam), x)


class ExactOperator(LaplacianOperator):
    """A backend with an orthonormal eigenbasis at hand, so that work can stay in mode space.

    `eigenvalues [num_graphs, M]` and the boolean `mode_mask [num_graphs, M]` name the modes that exist.
    """

    eigenvalues: Tensor
    mode_mask: Tensor

    @abstractmethod
    def to_modes(self, x: Tensor) -> Tensor:
        """Ŝ = Uᵀ x: `[num_nodes, C] -> [num_graphs, M, C]`, zero on modes that do not exist."""

    @abstractmethod
    def from_modes(self, modes: Tensor) -> Tensor:
        """x = U Ŝ: `[num_graphs, M, C] -> [num_nodes, C]`."""

    def response(self, kernel: Kernel) -> Tensor:
        """f(Λ), with a channel axis: `[num_graphs, M, 1 or C]`."""
        values = kernel(self.eigenvalues)
        return values if values.dim() == 3 else values.unsqueeze(-1)

    def apply(self, kernel: Kernel, x: Tensor) -> Tensor:
        return self.from_modes(self.response(kernel) * self.to_modes(x))
