"""Samples near one that is given: noised so far, and back."""

from collections.abc import Callable

from torch import Tensor

from ..denoise import Denoiser
from ..spectral import LaplacianOperator
from .guidance import Steered


class Renoised(Steered):
    """S_T = φ_T X + σ_T z for a given X in the place of the start from the prior, whatever T a time grid begins at.

    What comes back is a draw of p(S_0 | S_T), the same law that X is a draw of where X is a sample of the data: so twice the
    posterior's variance lies between them. For Gaussian data with the spectrum p, per channel,

        E |S_0 - X|² = 2 Σ_m c_out²(λ_m, T).

    Fine detail is drawn anew at a small T, coarse shape only at a large one.

    Args:
        denoiser: any.
        signal: X `[num_nodes, C]`.

    Raises:
        ValueError: X is not finite.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import Ancestral, Renoised, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> given = torch.linspace(-1, 1, 6)[:, None].expand(6, 2)
        >>> near, far = (
        ...     Ancestral().sample(Renoised(denoiser, given), L, time_grid(10, start), noise) for start in (0.2, 1.0)
        ... )
        >>> bool((near - given).norm() < (far - given).norm())
        True
    """

    def __init__(self, denoiser: Denoiser | Steered, signal: Tensor):
        super().__init__(denoiser)
        if not bool(signal.isfinite().all()):
            raise ValueError("the signal to stay near is not finite")
        self.signal = signal

    def start(self, operator: LaplacianOperator, t: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        parts = self.parts(t)
        x = self.project(operator, operator.to_work(self.signal))
        return operator.combine((parts.phi, x), (parts.sigma, noise()))
