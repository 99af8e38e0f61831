"""Lanczos backend: f(L) x from a Krylov space of x, for functions that polynomials of a fixed interval serve badly."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .autograd import call
from .laplacian import Laplacian
from .operator import Kernel, Term, with_channels
from .sparse import SparseOperator


@dataclass(frozen=True)
class Krylov:
    """The tridiagonal matrix T = Vᵀ L̃ V of every graph and channel.

    Attributes:
        alpha, beta: diagonal `[m, num_graphs, C]` and the norms that made the next vector, `[m, num_graphs, C]`.
        norm: ‖x - P₀x‖, `[num_graphs, C]`.
    """

    alpha: Tensor
    beta: Tensor
    norm: Tensor


class _KrylovSum(torch.autograd.Function):
    """Σ_j c_j v_j. Backward in c by a second pass over the basis; in x, f(L) is symmetric and is applied to the gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, coefficients: Tensor, operator: "LanczosOperator", krylov: Krylov, kernel: Kernel
    ) -> Tensor:
        ctx.operator, ctx.krylov, ctx.kernel = operator, krylov, kernel
        ctx.save_for_backward(x)
        return operator._basis_sum(x, krylov, [coefficients])[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (x,), operator, g = ctx.saved_tensors, ctx.operator, grads[0]
        on_x, on_c = None, None
        if ctx.needs_input_grad[0]:
            with torch.no_grad():
                on_x = operator.fan_out([ctx.kernel], g)[0]
                on_x -= operator._null_response(ctx.kernel, operator.null_part(g))
        if ctx.needs_input_grad[1]:
            on_c = torch.stack([operator.graph_sum(g * v) for v in operator._basis(x, ctx.krylov)])
        return on_x, on_c, None, None, None


class LanczosOperator(SparseOperator):
    r"""f(L) x ≈ ‖x‖ V f(T) e₁ with the orthonormal basis V of span{x, Lx, ..., L^{m-1}x} and T = Vᵀ L V.

    It adapts to the eigenvalues that x meets, so it serves f with a singularity at or near the spectrum's end, such as
    λ^{-1/2}: the null space is taken out of x first, exactly and by component, and treated by f(0). Every graph and
    channel has a Krylov space of its own, as large as the slowest needs; several functions of one x share it, while
    Σ_i f_i(L) x_i takes one for each x. The basis is not stored but made twice: memory does not grow with m, and there are
    2m products.
    Source: Saad 1992; Druskin, Greenbaum and Knizhnerman 1998 (why the loss of orthogonality does no harm).

    First derivatives only, in x and in the kernel's parameters.

    Args:
        laplacian: what `Laplacian.from_edges` made.
        tol: wanted ‖error‖ / ‖x‖ relative to max |f| on the Ritz values; 1e-6 in float32 and 1e-12 in float64 if None. It
            is an estimate, the change over the last `check_every` steps, and no bound.
        max_steps: where the Krylov space stops growing, with a warning.

    Raises:
        ValueError: a tolerance outside of (0, 1), fewer than 1 step; signals of another shape or dtype.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import LanczosOperator, Laplacian
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> L = LanczosOperator(Laplacian.from_edges(path, 3))
        >>> def root(lam):  # λ^{-1/2}, and 0 on the null space
        ...     return torch.where(lam > 0, lam, torch.inf).rsqrt()
        >>> x = torch.tensor([[1.0], [-2.0], [1.0]], dtype=torch.float64)  # the mode of λ = 3
        >>> torch.allclose(L.apply(root, x), x / 3**0.5)
        True
    """

    check_every = 8

    def __init__(self, laplacian: Laplacian, tol: float | None = None, max_steps: int = 512):
        super().__init__(laplacian, tol)
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.max_steps = max_steps

    def _start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(v₁, ‖x - P₀x‖); v₁ = 0 where nothing but rounding is left of x."""
        rest = x - self.null_part(x)
        norm = self.graph_sum(rest.square()).sqrt()
        whole = self.graph_sum(x.square()).sqrt()
        norm = torch.where(norm > 8 * torch.finfo(x.dtype).eps * whole, norm, 0.0)
        return rest * self.on_nodes(torch.where(norm > 0, 1 / norm, 0.0)), norm

    def _basis(self, x: Tensor, krylov: Krylov) -> Iterator[Tensor]:
        """v_1 .. v_m once more, from the recurrence's known coefficients; each is overwritten two steps later."""
        v, _ = self._start(x)
        before, beta = torch.zeros_like(v), torch.zeros_like(krylov.norm)
        for j, alpha in enumerate(krylov.alpha):
            yield v
            if j + 1 < len(krylov.alpha):
                w = self._product(v, before, beta)
                beta = krylov.beta[j]
                before, v = v, self._orthogonal(w, v, alpha).mul_(self._reciprocal(beta))

    def _product(self, v: Tensor, before: Tensor, beta: Tensor) -> Tensor:
        """L̃ v_j - β_{j-1} v_{j-1}, in the place of v_{j-1}."""
        before.mul_(self.on_nodes(-beta))
        return torch.addmm(before, self.matrix, v, out=before)

    def _orthogonal(self, w: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
        """w - α v without any part in the null space, in place."""
        w.addcmul_(self.on_nodes(-alpha).expand_as(v), v)
        return w.sub_(self.null_part(w))

    def _reciprocal(self, beta: Tensor) -> Tensor:
        return self.on_nodes(torch.where(beta > 0, 1 / beta, 0.0))

    def _grow(self, x: Tensor, kernels: Sequence[Kernel]) -> tuple[Krylov, Tensor]:
        """A Krylov space large enough for all kernels, and the largest error estimate, relative to ‖x‖ max|f|."""
        v, norm = self._start(x)
        before, beta = torch.zeros_like(v), torch.zeros_like(norm)
        # Made beforehand: a small tensor kept from every step would split the memory that the large ones leave.
        alphas, betas = norm.new_zeros(2, self.max_steps, *norm.shape)
        last: list[Tensor] | None = None
        error = torch.ones((), device=x.device)  # nothing is known before two sizes were compared
        eps = torch.finfo(x.dtype).eps
        for j in range(self.max_steps):
            w = self._product(v, before, beta)
            alphas[j] = self.graph_sum(w * v)
            w = self._orthogonal(w, v, alphas[j])
            beta = self.graph_sum(w.square()).sqrt()
            beta = betas[j] = torch.where(beta > 8 * eps, beta, 0.0)  # L̃ has norm 1: the Krylov space is complete
            before, v = v, w.mul_(self._reciprocal(beta))
            complete = not bool((beta > 0).any())
            if complete or (j + 1) % self.check_every == 0 or j + 1 == self.max_steps:
                krylov = Krylov(alphas[: j + 1], betas[: j + 1], norm)
                now, scale = zip(*(self._coefficients(kernel, krylov, unit=True) for kernel in kernels), strict=True)
                if complete:
                    return krylov, torch.zeros((), device=x.device)
                if last is not None:
                    error = torch.stack(
                        [
                            ((torch.cat([a, torch.zeros_like(b[len(a) :])]) - b).square().sum(0).sqrt() / s).max()
                            for a, b, s in zip(last, now, scale, strict=True)
                        ]
                    ).max()
                    if bool(error <= self.tol):
                        return krylov, error
                last = list(now)
        return krylov, error

    def _coefficients(self, kernel: Kernel, krylov: Krylov, unit: bool = False) -> tuple[Tensor, Tensor]:
        """(f(T) e₁ ‖x‖ `[m, num_graphs, C]`, max |f| on the Ritz values `[num_graphs, C]`)."""
        with torch.no_grad():
            off = krylov.beta[:-1].movedim(0, -1).double()
            t = torch.diag_embed(krylov.alpha.movedim(0, -1).double())
            t = t + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
            theta, q = torch.linalg.eigh(t)
        graphs, channels, m = theta.shape
        lam = self.eigenvalue(theta.flatten(1).clamp(-1, 1))
        values = with_channels(kernel(lam))
        values = values.expand(*lam.shape, -1)
        if not bool(torch.isfinite(values).all()):
            raise ValueError("the kernel is not finite on the Ritz values within [0, λ_max]")
        values = values.reshape(graphs, channels, m, values.size(2))
        own = values.size(-1) > 1  # a response per channel: its own one for each
        values = values.diagonal(dim1=1, dim2=3).movedim(-1, 1) if own else values.squeeze(-1)
        c = torch.einsum("gcij,gcj->igc", q, values.double() * q[:, :, 0])
        size = values.detach().double().abs().amax(-1).clamp_min(torch.finfo(torch.float64).tiny)
        return (c if unit else c * krylov.norm.double()).to(krylov.alpha.dtype), size

    def _basis_sum(self, x: Tensor, krylov: Krylov, coefficients: Sequence[Tensor]) -> list[Tensor]:
        results = [torch.zeros_like(x) for _ in coefficients]
        for j, v in enumerate(self._basis(x, krylov)):
            for y, c in zip(results, coefficients, strict=True):
                y.addcmul_(self.on_nodes(c[j]).expand_as(v), v)
        return results

    def _null_response(self, kernel: Kernel, null: Tensor) -> Tensor:
        at_0 = with_channels(kernel(torch.zeros(self.num_graphs, 1, dtype=self.dtype, device=self.device)))[:, 0]
        if not bool(torch.isfinite(at_0).all()):
            raise ValueError("the kernel is not finite at λ = 0; there it must have a value, such as 0 or p(0)")
        return self.on_nodes(at_0.to(null.dtype)) * null

    def error_estimate(self, kernel: Kernel, x: Tensor) -> float:
        """Estimated ‖y - f(L)x‖ / ‖x‖ relative to max |f|, the largest of all graphs and channels."""
        with torch.no_grad():
            return float(self._grow(x, [kernel])[1])

    def fan_out(self, kernels: Sequence[Kernel], w: Tensor) -> list[Tensor]:
        if not w.numel():
            return [w.clone() for _ in kernels]
        scale = w.detach().abs().amax()  # squares must neither underflow nor overflow
        if not bool(torch.isfinite(scale)):
            return [w * torch.nan for _ in kernels]
        w = w / torch.where(scale > 0, scale, 1.0)
        with torch.no_grad():
            krylov, error = self._grow(w.detach(), kernels)
        if bool(error > self.tol):
            warnings.warn(
                f"Lanczos: estimated relative error {float(error):.1e} > {self.tol:.1e} after {self.max_steps} steps; "
                "a larger max_steps or tol may serve",
                stacklevel=3,
            )
        coefficients = [self._coefficients(kernel, krylov)[0] for kernel in kernels]
        if torch.is_grad_enabled() and (w.requires_grad or any(c.requires_grad for c in coefficients)):
            sums = [call(_KrylovSum, w, c, self, krylov, f) for c, f in zip(coefficients, kernels, strict=True)]
        else:
            sums = self._basis_sum(w, krylov, coefficients)
        null = self.null_part(w)
        return [scale * (y + self._null_response(kernel, null)) for y, kernel in zip(sums, kernels, strict=True)]

    def combine(self, *terms: Term) -> Tensor:
        if not terms:
            raise ValueError("combine needs at least one term")
        return torch.stack([self.fan_out([kernel], w)[0] for kernel, w in terms]).sum(0)

    def __repr__(self) -> str:
        return self._describe(f"tol={self.tol:g}")
