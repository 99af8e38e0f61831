"""Some nodes known, the others generated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..spectral import Kernel, LaplacianOperator
from ..spectral.cg import conjugate_gradients
from .guidance import Steered


class Inpainted(Steered):
    r"""E[S_0 | S_t, H S_0 = y] in the place of E[S_0 | S_t]:  D + C Hᵀ (H C Hᵀ + r²)⁻¹ (y - H D),  C = c_out²(L).

    H picks the known nodes. C is the covariance of S_0 given S_t of Gaussian data with the spectrum p, so that samples of
    Gaussian data follow their conditional law exactly as the steps grow, which overwriting known nodes does not. The system
    is solved by conjugate gradients on the known nodes, for any backend.

    Where the denoiser is centered, y is known up to a translation of each graph; `place` moves the result onto y.

    Args:
        denoiser: any.
        known: mask `[num_nodes]`.
        values: y `[num_nodes, C]`, read where known.
        error: r, standard deviation of y in the data's units.
    """

    max_iterations = 2000

    def __init__(self, denoiser: Denoiser | Steered, known: Tensor, values: Tensor, error: float = 0.0):
        super().__init__(denoiser)
        if known.dtype != torch.bool or known.dim() != 1 or values.shape[:1] != known.shape or values.dim() != 2:
            raise ValueError(
                "known must be a mask [num_nodes] and values [num_nodes, C], got "
                f"{known.dtype} {list(known.shape)} and {list(values.shape)}"
            )
        if not bool(torch.isfinite(values[known]).all()):
            node = int((known & ~torch.isfinite(values).all(1)).nonzero()[0])
            raise ValueError(f"the known value of node {node} is not finite")
        if error < 0:
            raise ValueError(f"error must be >= 0, got {error}")
        self.known, self.values, self.error = known[:, None], values, error

    def observe(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """H x, zeros at unknown nodes; less the mean over each graph's known nodes where translations are free."""
        seen = torch.where(self.known, x, 0.0)
        if not self.centered:
            return seen
        count = operator.graph_sum(self.known.to(x.dtype)).clamp_min(1)
        return torch.where(self.known, seen - operator.on_nodes(operator.graph_sum(seen) / count), 0.0)

    @property
    def centered(self) -> bool:
        base: Any = self.denoiser
        while isinstance(base, Steered):
            base = base.denoiser
        return base.centered

    def condition(self, operator: LaplacianOperator, w: Tensor, covariance: Kernel, values: Tensor) -> Tensor:
        """w + C Hᵀ (H C Hᵀ + r²)⁻¹ (y - H w) in working coordinates."""

        def spread(v: Tensor) -> Tensor:
            return operator.combine((covariance, operator.to_work(self.observe(operator, v))))

        def product(v: Tensor) -> Tensor:
            seen = self.observe(operator, operator.from_work(self.project(operator, spread(v))))
            return seen + self.error**2 * v

        # Centered in the type that y was given in: far from the origin a narrower one has not enough digits.
        gap = self.observe(operator, self.observe(operator, values).to(w.dtype) - operator.from_work(w))
        # float32 does not come nearer where C is nearly singular on the known nodes; of a gap of 1 Å it leaves .0001
        tol = 1e-4 if w.dtype == torch.float32 else 1e-11
        weights = conjugate_gradients(product, gap, operator.graph_sum, operator.on_nodes, tol, self.max_iterations)
        return w + self.project(operator, spread(weights))

    def start(self, operator: LaplacianOperator, t: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        """φ_T S_0 + σ_T z with S_0 from N(0, p) given y: a draw of N(0, p) conditioned on y + r z (Matheron's rule)."""
        parts = self.parts(t)
        prior = operator.combine((lambda lam: parts.power(lam).sqrt(), noise()))
        values = self.values + self.error * operator.from_work(noise()) if self.error else self.values
        s_0 = self.condition(operator, prior, parts.power, values)
        return operator.combine((parts.phi, s_0), (parts.sigma, noise()))

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        c_out = self.parts(t).c_out
        d = self.denoiser.denoise(operator, w_t, t, context)
        return self.condition(operator, d, lambda lam: c_out(lam) ** 2, self.values)

    def place(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """Each graph moved so that its known nodes lie on y in the mean, and then these on y; in the wider type of x and y.

        The last step is one of some .001 Å where a guidance has pulled at the known nodes as well.
        """
        gap = torch.where(self.known, self.values - x, 0.0)
        count = operator.graph_sum(self.known.to(gap.dtype)).clamp_min(1)
        return torch.where(self.known, self.values, x + operator.on_nodes(operator.graph_sum(gap) / count))
