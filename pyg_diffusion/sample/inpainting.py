"""Some nodes known, the others generated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..spectral import Kernel, LaplacianOperator
from ..spectral.cg import conjugate_gradients
from .guidance import Steered

FOLLOW = 0.07  # τ, in the middle of where draws about heavy atoms of a geometry that is not the model's own came out sound
STAY = 1e-4  # weight of a node that stays where it is beside one that is known


class Inpainted(Steered):
    r"""E[S_0 | S_t, H S_0 = y] in the place of E[S_0 | S_t]:  D + C Hᵀ (H C Hᵀ + r²)⁻¹ (y - H D),  C = c_out²(L).

    H picks the known nodes. C is the covariance of S_0 given S_t of Gaussian data with the spectrum p, so that samples of
    Gaussian data follow their conditional law exactly as the steps grow, which overwriting known nodes does not. The system
    is solved by conjugate gradients on the known nodes, for any backend, in double precision: C is nearly singular on known
    nodes that lie beside each other.

    Where the denoiser is centered, y is known up to a translation of each graph; `place` moves the result onto y.

    Gaussian data do not know that a shape may be turned as a whole: a correction moves the known nodes and what is near, and
    the many others keep the orientation that D has from S_t. Of coordinates, whose law and network have no orientation,
    D is therefore turned first to where its known nodes fit y best (Kabsch 1976). Nor do they know that bonds are stiff: at
    a small τ, C moves known nodes alone, and leaves a hydrogen where its parent was. So C is that of τ >= FOLLOW there.

    Args:
        denoiser: any.
        known: mask `[num_nodes]`, or `[num_nodes, C]` where a node may be known in part.
        values: y `[num_nodes, C]`, read where known.
        error: r, standard deviation of y in the data's units.
        turned: whether D may be turned; only for centered coordinates, C = 3.

    Raises:
        ValueError: `known` or `values` of another shape, values that are not finite, error < 0; nodes known in part of
            what is centered or turned.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import Ancestral, Inpainted, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> known = torch.tensor([True, False, False, False, False, True])
        >>> values = torch.ones(6, 2)
        >>> made = Ancestral().sample(Inpainted(denoiser, known, values), L, time_grid(20), noise)
        >>> torch.allclose(made[known], values[known], atol=1e-4)
        True
    """

    max_iterations = 2000

    def __init__(
        self, denoiser: Denoiser | Steered, known: Tensor, values: Tensor, error: float = 0.0, turned: bool = False
    ):
        super().__init__(denoiser)
        fits = values.dim() == 2 and known.shape in (values.shape[:1], values.shape)
        if known.dtype != torch.bool or not fits:
            raise ValueError(
                "known must be a mask [num_nodes] or [num_nodes, C] and values [num_nodes, C], got "
                f"{known.dtype} {list(known.shape)} and {list(values.shape)}"
            )
        if known.dim() == 2 and (turned or self.centered):
            raise ValueError("a node of what is centered or turned is known as a whole or not at all")
        known = known if known.dim() == 2 else known[:, None]
        if bool((missing := known & ~torch.isfinite(values)).any()):
            raise ValueError(f"the known value of node {int(missing.nonzero()[0, 0])} is not finite")
        if error < 0:
            raise ValueError(f"error must be >= 0, got {error}")
        self.known, self.values, self.error, self.turned = known, values, error, turned
        self._kept: tuple[LaplacianOperator, LaplacianOperator] | None = None

    def observe(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """H x, zeros at unknown nodes; less the mean over each graph's known nodes where translations are free."""
        seen = torch.where(self.known, x, 0.0)
        if not self.centered:
            return seen
        count = operator.graph_sum(self.known.to(x.dtype)).clamp_min(1)
        return torch.where(self.known, seen - operator.on_nodes(operator.graph_sum(seen) / count), 0.0)

    def condition(self, operator: LaplacianOperator, w: Tensor, covariance: Kernel, values: Tensor) -> Tensor:
        """w + C Hᵀ (H C Hᵀ + r²)⁻¹ (y - H w) in working coordinates."""

        wide = self._wide(operator)

        def spread(v: Tensor) -> Tensor:
            return wide.combine((covariance, wide.to_work(self.observe(wide, v))))

        def product(v: Tensor) -> Tensor:
            seen = self.observe(wide, wide.from_work(self.project(wide, spread(v))))
            return seen + self.error**2 * v

        gap = self.observe(wide, self.observe(wide, values.to(wide.dtype)) - wide.from_work(w.to(wide.dtype)))
        tol = 1e-6 if w.dtype == torch.float32 else 1e-11
        weights = conjugate_gradients(product, gap, wide.graph_sum, wide.on_nodes, tol, self.max_iterations)
        return w + self.project(wide, spread(weights)).to(w.dtype)

    def _wide(self, operator: LaplacianOperator) -> LaplacianOperator:
        """The operator in double precision; of the last one that was asked for it is kept."""
        if self._kept is None or self._kept[0] is not operator:
            self._kept = operator, operator.to(torch.float64)
        return self._kept[1]

    def start(self, operator: LaplacianOperator, t: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        """φ_T S_0 + σ_T z with S_0 from N(0, p) given y: a draw of N(0, p) conditioned on y + r z (Matheron's rule)."""
        parts = self.parts(t)
        prior = operator.combine((lambda lam: parts.power(lam).sqrt(), noise()))
        values = self.values + self.error * operator.from_work(noise()) if self.error else self.values
        s_0 = self.condition(operator, prior, parts.power, values)
        return operator.combine((parts.phi, s_0), (parts.sigma, noise()))

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        schedule = self.sde.schedule
        least = schedule.t(schedule.tau(t).clamp_min(FOLLOW)) if self.turned else t
        c_out = self.parts(least).c_out
        d = self.denoiser.denoise(operator, w_t, t, context)
        if self.turned:
            d = operator.to_work(self.turn(operator, operator.from_work(d)))
        return self.condition(operator, d, lambda lam: c_out(lam) ** 2, self.values)

    def turn(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """Each graph of centered coordinates x `[num_nodes, 3]` turned to where its known nodes fit y best.

        All nodes as they are count a little as well, so that what y leaves open, as with one or two nodes, stays.
        """
        seen, wanted = self.observe(operator, x), self.observe(operator, self.values.to(x.dtype))
        overlap = seen[:, :, None] * wanted[:, None] + STAY * x[:, :, None] * x[:, None]
        u, _, v = torch.linalg.svd(operator.graph_sum(overlap.flatten(1)).unflatten(1, (3, 3)).double())
        hand = torch.linalg.det(u @ v)[:, None, None]  # no reflection
        rotation = (torch.cat([u[:, :, :2], u[:, :, 2:] * hand], 2) @ v).to(x.dtype)
        return (x[:, None] @ operator.on_nodes(rotation)).squeeze(1)

    def place(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """Each graph moved so that its known nodes lie on y in the mean, and then these on y; in the wider type of x and y.

        The last step is one of some .001 Å where a guidance has pulled at the known nodes as well.
        """
        gap = torch.where(self.known, self.values - x, 0.0)
        count = operator.graph_sum(self.known.to(gap.dtype)).clamp_min(1)
        return torch.where(self.known, self.values, x + operator.on_nodes(operator.graph_sum(gap) / count))
