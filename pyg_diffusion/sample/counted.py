"""How many network evaluations does a sample take? Counted where the network is asked, whatever samples or steers."""

from typing import Any

from torch import Tensor

from ..deadline import check_time
from ..denoise import Denoiser
from ..spectral import LaplacianOperator
from .guidance import Steered


class Counted(Steered):
    """A denoiser that counts how often it is asked for D, or for its energy's slope; put beneath what steers it, that is
    every network evaluation.

    Attributes:
        evaluations: so far; one is of the whole batch, so each of its graphs has had as many.

    Example:
        >>> from pyg_diffusion.sample import Counted, Exponential, time_grid
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> counted = Counted(denoiser)
        >>> made = Exponential(3).sample(counted, L, time_grid(10), noise)
        >>> counted.evaluations  # one for every time, and one more for the first step
        12
    """

    def __init__(self, denoiser: Denoiser | Steered):
        super().__init__(denoiser)
        self.evaluations = 0

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        check_time()
        self.evaluations += 1
        return self.denoiser.denoise(operator, w_t, t, context)

    def slope(self, operator: LaplacianOperator, x_t: Tensor, t: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        check_time()
        self.evaluations += 1
        return self.denoiser.slope(operator, x_t, t, context)
