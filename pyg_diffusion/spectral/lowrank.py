"""Low-rank backend: the lowest modes one by one, one number for all the others."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh, splu
from torch import Tensor

from .dense import null_basis
from .laplacian import Laplacian
from .operator import Kernel, LaplacianOperator, Term, require_finite, with_channels

_DENSE = 512  # nodes up to which a graph is decomposed in full
_SAMPLES = 257  # of f on the interval that holds the other modes


def _iterate(matrix: csr_array, null: np.ndarray, bound: float, k: int) -> np.ndarray:
    """The k lowest modes orthogonal to `null`, `[n, k]`, by ARPACK from a fixed start."""
    # Seconds for 32 modes of 1e4 / 1e5 nodes, one thread, s = 1e-10 bound:
    #                           (L + s)⁻¹     L itself        torch.lobpcg
    #   2D grid                 0.1 / 4       0.6 / > 70      4 / > 70
    #   3D grid                 0.5 / 28      0.4 / 15        2 / 65
    #   trees, ring             0.05 / 1      6 to 28 / > 70  6 to 10 (residual 1e-4) / > 70
    #   random, mean degree 6   9 / memory    0.5 / 12        5 / > 100
    # So L is inverted, except where the graph expands (λ₁ > 1e-3 bound): there the factor fills up, and the low modes lie
    # far enough apart for L itself.
    n, found, top = len(null), null[:, :0], np.inf
    start = np.random.default_rng(0).standard_normal(n)

    def ask(count: int, f: Callable[[np.ndarray], np.ndarray], tol: float = 1e-10) -> np.ndarray:
        fixed = np.concatenate([null, found], 1)

        def project(x: np.ndarray) -> np.ndarray:
            rest: np.ndarray = x - fixed @ (fixed.T @ x)
            return rest

        projected = LinearOperator((n, n), matvec=lambda x: project(f(project(x.reshape(n)))), dtype=np.float64)
        # ARPACK draws a new vector where the Krylov space is exhausted (equal fragments); not from the system's entropy
        return project(eigsh(projected, count, which="LA", v0=project(start), tol=tol, rng=np.random.default_rng(0))[1])

    def flipped(x: np.ndarray) -> np.ndarray:
        turned: np.ndarray = bound * x - matrix @ x
        return turned

    lowest, f = ask(1, flipped, tol=1e-3), flipped
    if (lowest.T @ (matrix @ lowest)).item() <= 1e-3 * bound:
        shifted = (matrix + 1e-10 * bound * eye_array(n)).tocsc()
        f = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}).solve
    # A Krylov space of one vector may miss copies of a multiple eigenvalue (40 equal fragments, a 3D grid). So ask for modes
    # orthogonal to those found until none lies lower.
    while True:
        fresh = ask(k // 8 + 1 if found.size else k, f)
        if np.linalg.eigvalsh(fresh.T @ (matrix @ fresh))[0] >= (1 - 1e-6) * top - 1e-12 * bound:
            return found
        q = np.linalg.qr(np.concatenate([found, fresh], 1))[0]
        lam, v = np.linalg.eigh(q.T @ (matrix @ q))
        found, top = q @ v[:, :k], lam[k - 1]


def _lowest(matrix: csr_array, null: np.ndarray, bound: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(λ `[k]`, U `[n, k]`) of one graph, the null vectors first."""
    n, c = null.shape
    try:
        if n <= max(_DENSE, 4 * k):
            u = np.linalg.eigh(matrix.toarray() - bound * null @ null.T)[1][:, c:k]  # the null modes lie at -bound
        else:
            u = _iterate(matrix, null, bound, k - c) if k > c else null[:, :0]
        lam = np.einsum("nk,nk->k", u, matrix @ u)
        residual = np.linalg.norm(matrix @ u - lam * u, axis=0).max(initial=0)
        if residual > 1e-7 * bound:
            raise ArpackError(0, {0: f"residual {residual:.0e} at λ <= {bound:.0e}"})
    except ArpackError as error:
        advice = "take another k, or ChebyshevOperator, which needs no modes"
        raise RuntimeError(f"the {k} lowest modes of a graph with {n} nodes were not found ({error}); {advice}") from error
    return np.concatenate([np.zeros(c), lam.clip(0)]), np.concatenate([null, u], 1)


class LowRankOperator(LaplacianOperator):
    r"""f(L) x ≈ U_k f(Λ_k) U_kᵀ x + f̄ (x - U_k U_kᵀ x): the k lowest modes of each graph, and a constant for the others.

    f̄ is the middle of f's range on [λ_k, bound]. No constant does better there: the error is at most half that range times
    ‖x - U_k U_kᵀ x‖₂ (see `error_bound`). It is 0 where f is constant from λ_k on, for x in the span of the modes, and on
    graphs of at most k nodes. Null modes come first, as in `DenseOperator`. Working coordinates are the nodes.

    Args:
        eigenvalues: λ, `[num_graphs, K]`; 1 where a graph has fewer nodes.
        eigenvectors: for each node, its entries of its graph's modes, `[num_nodes, K]`; 0 where there is no mode.
        sizes: number of nodes of each graph, `[num_graphs]`.
        bound: 0 <= λ <= bound, `[num_graphs]`.

    Raises:
        ValueError: signals of another shape or dtype.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph
        >>> from pyg_diffusion.spectral import Laplacian, LowRankOperator, heat
        >>> ring = grid_graph((50,), "cycle")
        >>> L = LowRankOperator.from_laplacian(Laplacian.from_edges(ring.edge_index, 50), k=21)
        >>> bool(L.error_bound(heat(5.0)) < 1e-3), bool(L.error_bound(heat(0.1)) < 1e-3)  # smooth signals alone are kept
        (True, False)
    """

    def __init__(self, eigenvalues: Tensor, eigenvectors: Tensor, sizes: Tensor, bound: Tensor):
        self.eigenvalues, self.eigenvectors, self.sizes, self.bound = eigenvalues, eigenvectors, sizes, bound
        self.num_nodes, self.k = eigenvectors.shape
        self._lengths: list[int] = sizes.tolist()

    @classmethod
    def from_edges(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        normalized: bool = False,
        *,
        k: int,
    ) -> "LowRankOperator":
        """Of the Laplacian of these edges; other arguments and errors are those of `Laplacian.from_edges`."""
        return cls.from_laplacian(Laplacian.from_edges(edge_index, num_nodes, edge_weight, batch, num_graphs, normalized), k)

    @classmethod
    def from_laplacian(cls, laplacian: Laplacian, k: int) -> "LowRankOperator":
        """Decomposed in float64 on the CPU: 64 modes of a 2D grid of 1e5 nodes take seconds.

        Raises:
            ValueError: k < 1, or less than the number of connected components of a graph.
            RuntimeError: modes were not found to a residual of 1e-7 bound.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        basis, count = (v.cpu().numpy() for v in null_basis(laplacian, limit=k))
        parts = (laplacian.matrix.values().double(), laplacian.matrix.col_indices(), laplacian.matrix.crow_indices())
        matrix = csr_array(tuple(v.cpu().numpy() for v in parts), shape=tuple(laplacian.matrix.shape))
        sizes, bound, end = laplacian.sizes.tolist(), laplacian.bound.tolist(), 0
        most = max(1, min(k, max(sizes, default=0)))
        lam, u = np.ones((len(sizes), most)), np.zeros((laplacian.num_nodes, most))
        for g, n in enumerate(sizes):
            begin, end, r = end, end + n, min(k, n)
            if n:
                null = basis[begin:end, : count[g]]
                lam[g, :r], u[begin:end, :r] = _lowest(matrix[begin:end, begin:end], null, bound[g], r)
        device = laplacian.sizes.device
        operator = cls(
            torch.from_numpy(lam).to(device), torch.from_numpy(u).to(device), laplacian.sizes, laplacian.bound.double()
        )
        operator.constant_null = not laplacian.normalized
        return operator

    @property
    def dtype(self) -> torch.dtype:
        return self.eigenvectors.dtype

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast or move, as `Tensor.to`."""
        other = copy.copy(self)
        u = other.eigenvectors = self.eigenvectors.to(*args, **kwargs)
        if u.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"operators are float32 or float64, got {u.dtype}")
        other.eigenvalues, other.bound, other.sizes = self.eigenvalues.to(u), self.bound.to(u), self.sizes.to(u.device)
        return other

    def _values(self, kernel: Kernel) -> tuple[Tensor, Tensor, Tensor]:
        """f(Λ_k) `[num_graphs, K, 1 or C]`; middle and half of f's range on [λ_k, bound], `[num_graphs, 1 or C]`."""
        low = self.eigenvalues[:, -1:]
        width = (self.bound[:, None] - low).clamp_min(0) * (self.sizes > self.k)[:, None]  # 0 where no other modes are left
        samples = torch.linspace(0, 1, _SAMPLES, dtype=low.dtype, device=low.device) ** 2  # kernels bend most near λ_k
        points = torch.cat([self.eigenvalues, low + width * samples], 1)
        values = with_channels(kernel(points)).expand(*points.shape, -1)
        require_finite(values, points)
        highest, lowest = values[:, self.k :].amax(1), values[:, self.k :].amin(1)
        return values[:, : self.k], (highest + lowest) / 2, (highest - lowest) / 2

    def error_bound(self, kernel: Kernel) -> Tensor:
        """e with ‖y - f(L)x‖₂ <= e ‖x - U_k U_kᵀ x‖₂ in each graph, `[num_graphs]`, or `[num_graphs, C]` by channel.

        Half the range of f on [λ_k, bound] as seen at 257 points, the ends among them. What f does between two of them, and
        rounding, are not covered.
        """
        half = self._values(kernel)[2]
        return half.squeeze(1) if half.size(1) == 1 else half

    def _blocks(self) -> tuple[Tensor, ...]:
        """U_k of each graph. Products are made graph by graph: each is a large one, and sizes may differ by far."""
        blocks: tuple[Tensor, ...] = self.eigenvectors.split(self._lengths)
        return blocks

    def _project(self, x: Tensor) -> Tensor:
        """U_kᵀ x, `[num_graphs, K, C]`."""
        parts = [u.mT @ x_g for u, x_g in zip(self._blocks(), x.split(self._lengths), strict=True)]
        return torch.stack(parts) if parts else x.new_zeros(0, self.k, x.size(1))

    def _lift(self, modes: Tensor) -> Tensor:
        """U_k Ŝ, `[num_nodes, C]`."""
        parts = [u @ modes_g for u, modes_g in zip(self._blocks(), modes, strict=True)]
        return torch.cat([modes.new_zeros(0, modes.size(2)), *parts])

    def combine(self, *terms: Term) -> Tensor:
        if not terms:
            raise ValueError("combine needs at least one term")
        joined = self._project(torch.cat([w for _, w in terms], 1))
        modes: tuple[Tensor, ...] = joined.split([w.size(1) for _, w in terms], 2)
        low = high = modes[0].new_zeros(())
        for (kernel, w), part in zip(terms, modes, strict=True):
            values, middle, _ = self._values(kernel)
            low, high = low + (values - middle[:, None]) * part, high + self.on_nodes(middle) * w
        return self._lift(low) + high

    def fan_out(self, kernels: Sequence[Kernel], w: Tensor) -> list[Tensor]:
        modes, values = self._project(w), [self._values(kernel) for kernel in kernels]
        low = [(v - middle[:, None]) * modes for v, middle, _ in values]
        lifted = self._lift(torch.cat(low, 2)).split([part.size(2) for part in low], 1)
        return [y + self.on_nodes(middle) * w for y, (_, middle, _) in zip(lifted, values, strict=True)]

    def __repr__(self) -> str:
        return self._describe(f"{self.k} lowest modes")
