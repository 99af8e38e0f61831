"""What the matrix-free backends share: products with L, the null space, and linear systems by conjugate gradients."""

import copy
from typing import Any, Self

import torch
from torch import Tensor

from .autograd import call
from .cg import conjugate_gradients
from .laplacian import Laplacian
from .operator import Kernel, LaplacianOperator, with_channels


class _Product(torch.autograd.Function):
    """L̃ x. L̃ is symmetric, so the backward is the same product; torch's own would transpose the matrix every time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.matrix = matrix
        with torch.autocast(x.device.type, enabled=False):  # there is no sparse product in bf16 on the CPU
            return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return call(_Product, grads[0], ctx.matrix), None


class _AffineInverse(torch.autograd.Function):
    """y = A⁻¹ x for A = rise (L̃ + 1)/2 + shift; dy = A⁻¹ (dx - dA y), and A is symmetric."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rise: Tensor, shift: Tensor, operator: "SparseOperator") -> Tensor:
        y = operator._conjugate_gradients(rise, shift, x)
        ctx.operator = operator
        ctx.save_for_backward(y, rise, shift)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (y, rise, shift), operator = ctx.saved_tensors, ctx.operator
        z = call(_AffineInverse, grads[0], rise, shift, operator)
        on_shift = -operator.graph_sum(z * y)
        on_rise = -operator.graph_sum(z * (operator.product(y) + y)) / 2
        return z, on_rise.sum_to_size(rise.shape), on_shift.sum_to_size(shift.shape), None


class SparseOperator(LaplacianOperator):
    """L of any size as a sparse matrix, held as L̃ = 2L/b - 1 with b >= λ_max of each graph: its spectrum is in [-1, 1].

    Args:
        laplacian: what `Laplacian.from_edges` made. The operator takes its dtype and device; `.to` changes them.
        tol: wanted relative error; 1e-6 in float32 and 1e-12 in float64 if None.
    """

    max_iterations = 10_000  # of the conjugate gradients

    def __init__(self, laplacian: Laplacian, tol: float | None):
        if tol is not None and not 0 < tol < 1:
            raise ValueError(f"tol must lie in (0, 1), got {tol}")
        self._tol = tol
        self.sizes, self.num_nodes = laplacian.sizes, laplacian.num_nodes
        self.constant_null = not laplacian.normalized
        self.component, self.num_components = laplacian.component, laplacian.num_components
        self.null = laplacian.null
        # A matrix rounded to float32 may have eigenvalues a little beyond the bound, where Chebyshev polynomials grow.
        self.bound = laplacian.bound.double() * (1 + 4 * torch.finfo(torch.float32).eps)
        start, column = laplacian.matrix.crow_indices(), laplacian.matrix.col_indices()
        row = torch.arange(self.num_nodes, device=column.device).repeat_interleave(start.diff(), output_size=column.numel())
        scale = 2 / self.bound if self.num_graphs == 1 else self.on_nodes(2 / self.bound)[row]
        values = laplacian.matrix.values() * scale.to(self.dtype)
        values[row == column] -= 1
        self.matrix = torch.sparse_csr_tensor(start, column, values, size=laplacian.matrix.shape, check_invariants=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.null.dtype

    @property
    def tol(self) -> float:
        return self._tol or (1e-12 if self.dtype == torch.float64 else 1e-6)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast or move, as `Tensor.to`."""
        other = copy.copy(self)
        other.null, other.matrix = self.null.to(*args, **kwargs), self.matrix.to(*args, **kwargs)
        if other.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"operators are float32 or float64, got {other.dtype}")
        device = other.null.device
        other.sizes, other.component, other.bound = (a.to(device) for a in (self.sizes, self.component, self.bound))
        return other

    def eigenvalue(self, theta: Tensor) -> Tensor:
        """λ = b (1 + θ)/2 for θ in [-1, 1], broadcast against `[num_graphs, 1]`."""
        return (self.bound[:, None] / 2 * (1 + theta)).to(self.dtype)

    def product(self, x: Tensor) -> Tensor:
        """L̃ x, differentiable."""
        return call(_Product, x, self.matrix)

    def null_part(self, x: Tensor) -> Tensor:
        """P₀ x, the orthogonal projection on the null space: Σ over components of n nᵀ x."""
        if self.num_components == 1:
            with torch.autocast(x.device.type, enabled=False):
                return self.null * (self.null.mT @ x)
        sums = x.new_zeros(self.num_components, x.size(1)).index_add(0, self.component, self.null * x)
        return self.null * sums[self.component]

    def solve(self, kernel: Kernel, x: Tensor) -> Tensor:
        """f(L)⁻¹ x: conjugate gradients where f is affine, f = γλ + λ₀, otherwise (1/f)(L) x.

        With λ₀ = 0 the system is singular: solved where x has no part in the null space, by the y that has none either.

        Raises:
            ValueError: f vanishes on the spectrum, or λ₀ = 0 and x has a part in the null space.
            RuntimeError: no convergence.
        """
        self.check(x)
        values = with_channels(kernel(self.eigenvalue(torch.linspace(-1, 1, 5, device=x.device, dtype=torch.float64))))
        shift, rise = values[:, 0], values[:, -1] - values[:, 0]
        line = shift[:, None] + rise[:, None] * torch.linspace(0, 1, 5, device=x.device, dtype=x.dtype)[:, None]
        scale = values.detach().abs().amax(1, keepdim=True)
        if bool(((values - line).detach().abs() > 16 * torch.finfo(x.dtype).eps * scale).any()):
            return super().solve(kernel, x)
        if bool((scale == 0).any()) or bool(((shift < 0) | (shift + rise <= 0)).any()):
            raise ValueError("cannot solve f(L) y = x: f = γλ + λ₀ must be >= 0 at λ = 0 and > 0 at λ_max")
        return call(_AffineInverse, x, rise, shift, self)

    def _affine(self, rise: Tensor, shift: Tensor, x: Tensor) -> Tensor:
        """(rise (L̃ + 1)/2 + shift) x with `[num_graphs, 1 or C]` coefficients."""
        return self.on_nodes(rise / 2) * self.product(x) + self.on_nodes(rise / 2 + shift) * x

    def _conjugate_gradients(self, rise: Tensor, shift: Tensor, x: Tensor) -> Tensor:
        """A⁻¹ x, the null space solved exactly."""
        null = self.null_part(x)
        singular = (shift == 0) & (self.graph_sum(null.square()) > 1e-8 * self.graph_sum(x.square()))
        if bool(singular.any()):
            graph = int(singular.nonzero()[0, 0])
            raise ValueError(f"cannot solve γL y = x: in graph {graph}, x has a part in the null space; add λ₀ > 0")

        def product(y: Tensor) -> Tensor:
            ay = self._affine(rise, shift, y)
            return ay - self.null_part(ay)

        y = conjugate_gradients(product, x - null, self.graph_sum, self.on_nodes, self.tol, self.max_iterations)
        return y - self.null_part(y) + null / self.on_nodes(torch.where(shift == 0, 1.0, shift))
