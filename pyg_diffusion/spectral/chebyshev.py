"""Chebyshev backend: f(L) x by a polynomial in L, for sparse graphs of any size."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .laplacian import Laplacian
from .operator import Kernel, Term, with_channels
from .sparse import SparseOperator


@dataclass(frozen=True)
class Expansion:
    """f ≈ p = Σ_k c_k T_k(2λ/b - 1) on [0, b].

    Attributes:
        coefficients: c, `[num_graphs, K + 1, 1 or C]` float64.
        bound: sup |f - p| on [0, b] and the rounding of the recurrence, `[num_graphs, 1 or C]`.
        null: f(0) - p(0), `[num_graphs, 1 or C]`.
    """

    coefficients: Tensor
    bound: Tensor
    null: Tensor

    @property
    def degree(self) -> int:
        return self.coefficients.size(1) - 1


def chebyshev_coefficients(values: Tensor) -> Tensor:
    """Coefficients of the interpolant through f(cos(πj/M)), j = 0..M, along dimension 1 (DCT-I by FFT)."""
    m = values.size(1) - 1
    c: Tensor = torch.fft.rfft(torch.cat([values, values[:, 1:-1].flip(1)], dim=1), dim=1).real / m
    half = torch.ones(m + 1, 1, dtype=c.dtype, device=c.device)
    half[0] = half[-1] = 0.5
    return c * half


class ChebyshevOperator(SparseOperator):
    r"""f(L) x ≈ Σ_k c_k T_k(L̃) x, L̃ = 2L/b - 1, with T_{k+1} = 2 L̃ T_k - T_{k-1}: one sparse product per degree.

    The degree is the least that keeps the dropped coefficients' sum below `tol` times max |f|; `expand` tells it with the
    error bound. ‖y - f(L)x‖₂ <= bound ‖x‖₂ in each graph and channel. On the null space f(0) is applied exactly, by
    component. Σ_i f_i(L) x_i costs one recurrence (Clenshaw's), and so do several functions of one x.
    Source: Hammond, Vandergheynst and Gribonval 2011; Trefethen, Approximation Theory and Approximation Practice, ch. 3-8.

    Functions with a singularity near the spectrum, such as λ^{-1/2}, converge slowly; see `LanczosOperator`.

    Args:
        laplacian: what `Laplacian.from_edges` made.
        tol: error relative to max |f|; 1e-6 in float32 and 1e-12 in float64 if None.
        max_degree: where the search for a degree ends, with a warning.

    Raises:
        ValueError: a tolerance outside of (0, 1), no degree at all; a kernel that is not finite on [0, λ_max].

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import ChebyshevOperator, Laplacian, heat
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> L = ChebyshevOperator(Laplacian.from_edges(path, 3))
        >>> x = torch.tensor([[3.0], [0.0], [0.0]], dtype=torch.float64)
        >>> L.apply(heat(50.0), x).round(decimals=6).T  # by then it is spread over the path
        tensor([[1., 1., 1.]], dtype=torch.float64)
    """

    def __init__(self, laplacian: Laplacian, tol: float | None = None, max_degree: int = 2048):
        super().__init__(laplacian, tol)
        if max_degree < 1:
            raise ValueError(f"max_degree must be at least 1, got {max_degree}")
        self.max_degree = max_degree

    def expand(self, kernel: Kernel) -> Expansion:
        """The polynomial that stands for a kernel, with its error bound."""
        points = min(32, self.max_degree)
        while True:
            # In steps of 1/M from both ends: cos near θ = π loses the digits that λ needs near 0.
            j = torch.arange(points + 1, dtype=torch.float64, device=self.device)
            lam = (self.bound[:, None] * torch.cos(j * (torch.pi / (2 * points))).square()).to(self.dtype)
            lam[:, -1] = 0.0
            values = with_channels(kernel(lam))
            values = values.expand(self.num_graphs, points + 1, -1)
            if not bool(torch.isfinite(values).all()):
                raise ValueError("the kernel is not finite on [0, λ_max]; at λ = 0 it must have a value, such as 0 or p(0)")
            c = chebyshev_coefficients(values.double())
            scale = values.detach().double().abs().amax(1)
            noise = 8 * torch.finfo(values.dtype).eps * scale  # of the kernel's own values, which no degree removes
            size = c.detach().abs()
            dropped = torch.where(size > noise[:, None], size, 0.0).flip(1).cumsum(1).flip(1)  # Σ_{k' >= k}
            needed = (dropped > (self.tol * scale)[:, None]).any(2).any(0).nonzero()
            degree = int(needed[-1]) if needed.numel() else 0
            if 2 * degree <= points or points >= self.max_degree:
                break
            points = min(4 * points, self.max_degree)
        kept, rest = c[:, : degree + 1], dropped[:, degree + 1] if degree < points else torch.zeros_like(scale)
        if 2 * degree > points:  # not resolved: what lies beyond the last point is about as large as the last octave
            rest = rest + size[:, points // 2 :].sum(1)
        rounding = torch.finfo(self.dtype).eps * (degree + 1) * size[:, : degree + 1].sum(1)
        sign = 1 - 2 * (torch.arange(degree + 1, device=c.device) % 2)
        null = values[:, -1].double() - (kept * sign[:, None]).sum(1)
        return Expansion(kept, 2 * rest + noise + rounding, null)

    def error_bound(self, kernel: Kernel) -> Tensor:
        """e with ‖y - f(L)x‖₂ <= e ‖x‖₂ in each graph, `[num_graphs]`, or `[num_graphs, C]` for a kernel per channel."""
        bound = self.expand(kernel).bound
        return bound.squeeze(1) if bound.size(1) == 1 else bound

    def _expand_all(self, kernels: Sequence[Kernel]) -> list[Expansion]:
        expansions = [self.expand(kernel) for kernel in kernels]
        for e in expansions:
            if 2 * e.degree > self.max_degree:
                size = float(e.coefficients.detach().abs().amax())
                warnings.warn(
                    f"degree {self.max_degree} does not resolve this kernel: error bound {float(e.bound.max()):.1e} at "
                    f"coefficients up to {size:.1e}. LanczosOperator, a larger max_degree or tol may serve",
                    stacklevel=4,
                )
        return expansions

    def _scaled(self, coefficient: Tensor, w: Tensor) -> Tensor:
        """c w with c per graph (and channel), `[num_graphs, 1 or C]`."""
        return self.on_nodes(coefficient.to(w.dtype)) * w

    def _add(self, y: Tensor, coefficient: Tensor, w: Tensor, in_place: bool) -> Tensor:
        """y + c w."""
        if not in_place:
            return y + self._scaled(coefficient, w)
        if coefficient.numel() == 1:
            return y.add_(w, alpha=float(coefficient))
        return y.addcmul_(self.on_nodes(coefficient.to(w.dtype)).expand_as(w), w)

    def _recurrence(self, x: Tensor, degree: int, in_place: bool) -> Iterator[Tensor]:
        """T_k(L̃) x for k = 0..degree; in place, a value is overwritten two steps later."""
        before, now = x, x
        yield x
        for k in range(1, degree + 1):
            if k == 1:
                now = self.product(x)
            elif in_place:
                out = torch.empty_like(x) if before is x else before
                before, now = now, torch.addmm(before, self.matrix, now, beta=-1, alpha=2, out=out)
            else:
                before, now = now, 2 * self.product(now) - before
            yield now

    def fan_out(self, kernels: Sequence[Kernel], w: Tensor) -> list[Tensor]:
        if not w.numel():
            return [w.clone() for _ in kernels]
        expansions = self._expand_all(kernels)
        in_place = not _needs_grad(w, expansions)
        results = [self._scaled(e.coefficients[:, 0], w) for e in expansions]
        for k, t in enumerate(self._recurrence(w, max((e.degree for e in expansions), default=0), in_place)):
            for i, e in enumerate(expansions):
                if 0 < k <= e.degree:
                    results[i] = self._add(results[i], e.coefficients[:, k], t, in_place)
        null = self.null_part(w)
        return [self._add(y, e.null, null, in_place) for y, e in zip(results, expansions, strict=True)]

    def combine(self, *terms: Term) -> Tensor:
        if not terms:
            raise ValueError("combine needs at least one term")
        if not terms[0][1].numel():
            return terms[0][1].clone()
        expansions, signals = self._expand_all([kernel for kernel, _ in terms]), [w for _, w in terms]
        in_place = not any(_needs_grad(w, expansions) for w in signals)

        def add_terms(y: Tensor | None, k: int) -> Tensor:
            for e, w in zip(expansions, signals, strict=True):
                if k <= e.degree:
                    c = e.coefficients[:, k]
                    y = self._scaled(c, w) if y is None else self._add(y, c, w, in_place)
            assert y is not None
            return y

        degree = max(e.degree for e in expansions)
        b1: Tensor | None = None  # b_{k+1} and b_{k+2} of Clenshaw's recurrence b_k = Σ c_k w + 2 L̃ b_{k+1} - b_{k+2}
        b2: Tensor | None = None
        for k in range(degree, -1, -1):
            factor = 2 if k else 1
            if b1 is None:
                new = add_terms(None, k)
            elif b2 is None:
                new = add_terms(factor * self.product(b1), k)
            elif in_place:
                new = add_terms(torch.addmm(b2, self.matrix, b1, beta=-1, alpha=factor, out=b2), k)
            else:
                new = add_terms(factor * self.product(b1) - b2, k)
            b1, b2 = new, b1
        first, *others = (self._scaled(e.null, w) for e, w in zip(expansions, signals, strict=True))
        assert b1 is not None  # a degree is at least 0
        return b1 + self.null_part(sum(others, first))

    def __repr__(self) -> str:
        return self._describe(f"tol={self.tol:g}")


def _needs_grad(w: Tensor, expansions: Sequence[Expansion]) -> bool:
    return torch.is_grad_enabled() and (w.requires_grad or any(e.coefficients.requires_grad for e in expansions))
