"""Means over clusters of nodes, and the signal that they tell of."""

import warnings
from typing import NamedTuple, Self

import torch
from torch import Tensor

from .operator import Kernel, LaplacianOperator

_TOGETHER = 256  # clusters whose responses are computed at once
_JITTER = 1e-10  # of the mean variance of a mean


class Clusters(NamedTuple):
    """A partition of the nodes of one graph, R x its weighted means.

    Attributes:
        of: cluster of each node, 0, ..., K - 1, none of them empty, `[N]`.
        weight: of each node in the mean of its cluster, > 0, `[N]`.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral.clusters import Clusters
        >>> halves = Clusters.even(torch.tensor([0, 0, 1, 1]))
        >>> halves.means(torch.tensor([[1.0], [3.0], [5.0], [5.0]]))
        tensor([[2.],
                [5.]])
    """

    of: Tensor
    weight: Tensor

    @classmethod
    def even(cls, of: Tensor) -> Self:
        """All nodes of a cluster count alike."""
        return cls(of, torch.ones(len(of), dtype=torch.float64))

    @property
    def number(self) -> int:
        """K."""
        return int(self.of.max()) + 1

    def to(self, device: torch.device) -> "Clusters":
        """On a device."""
        return Clusters(self.of.to(device), self.weight.to(device))

    def share(self) -> Tensor:
        """Of each node in the mean of its cluster, `[N, 1]`."""
        total = self.weight.new_zeros(self.number).index_add(0, self.of, self.weight)
        return (self.weight / total[self.of])[:, None]

    def means(self, x: Tensor) -> Tensor:
        """R x: `[N, C] -> [K, C]`."""
        return x.new_zeros(self.number, x.size(1)).index_add(0, self.of, self.share().to(x) * x)

    def spread(self, y: Tensor) -> Tensor:
        """Rᵀ y: `[K, C] -> [N, C]`."""
        return self.share().to(y) * y[self.of]

    def within(self, coarser: "Clusters") -> "Clusters":
        """The coarser ones as clusters of these, which count as the nodes in them do.

        Raises:
            ValueError: these do not lie in those.
        """
        problem = "the clusters of one resolution do not lie in those of the other"
        if len(coarser.of) != len(self.of):
            raise ValueError(f"{problem}: they are of {len(self.of)} and of {len(coarser.of)} nodes")
        total = self.weight.new_zeros(self.number).index_add(0, self.of, self.weight)
        of = coarser.of.new_zeros(self.number).index_copy(0, self.of, coarser.of)
        if not bool((of[self.of] == coarser.of).all()):
            raise ValueError(problem)
        return Clusters(of, total)


class Interpolation:
    r"""The best linear estimate of a signal of N(0, f(L)) from its means over clusters, columns of one graph.

        P y = f(L) Rᵀ (R f(L) Rᵀ)⁻¹ y,      R P = 1

    Gaussian regression, as in kriging; K³/3 operations once.

    Args:
        operator: of one graph.
        clusters: of its nodes.
        kernel: f > 0, the same for all columns.

    Raises:
        ValueError: several graphs, clusters of another, or a kernel that is no variance.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import GridOperator
        >>> from pyg_diffusion.spectral.clusters import Clusters, Interpolation
        >>> pairs = Clusters.even(torch.arange(8) // 2)
        >>> smooth = Interpolation(GridOperator((8,)), pairs, lambda lam: 1 / (lam + 0.1) ** 2)
        >>> x = smooth(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        >>> bool((x.diff(dim=0) > 0).all()), pairs.means(x).round(decimals=3).flatten().tolist()
        (True, [1.0, 2.0, 3.0, 4.0])
    """

    def __init__(self, operator: LaplacianOperator, clusters: Clusters, kernel: Kernel):
        if operator.num_graphs != 1 or operator.num_nodes != len(clusters.of):
            raise ValueError(f"clusters of {len(clusters.of)} nodes need one graph of as many, got {operator!r}")
        self.operator, self.clusters, self.kernel = operator, clusters.to(operator.device), kernel
        exact, one = operator.to(torch.float64), torch.eye(clusters.number, dtype=torch.float64, device=operator.device)
        with warnings.catch_warnings():  # a polynomial that rounds kinks off is as good an f
            warnings.filterwarnings("ignore", ".*does not resolve.*")
            columns = [
                self.clusters.means(exact.apply(kernel, self.clusters.spread(part))) for part in one.split(_TOGETHER, dim=1)
            ]
        covariance = torch.cat(columns, 1)
        covariance = (covariance + covariance.mT) / 2
        covariance.diagonal().add_(_JITTER * covariance.diagonal().mean())
        self.variance = float(covariance.diagonal().mean())  # of a mean
        self._factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            raise ValueError("the means of clusters have no positive definite covariance under this kernel")

    def __call__(self, y: Tensor) -> Tensor:
        """P y: `[K, C] -> [N, C]`."""
        z = torch.cholesky_solve(y.to(self._factor), self._factor)
        return self.operator.apply(self.kernel, self.clusters.spread(z).to(self.operator.dtype)).to(y.dtype)
