"""One denoiser that obeys everything asked of a sample: condition, energy, known nodes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from .guidance import ClassifierFree, EnergyGuided, Steered
from .inpainting import Inpainted


def steer(
    denoiser: Denoiser | Steered,
    guidance: float = 1.0,
    unconditional: Any = None,
    energy: Callable[[Tensor], Tensor] | None = None,
    limit: float = float("inf"),
    fixed: Tensor | None = None,
    turned: bool = False,
) -> Denoiser | Steered:
    """The denoiser under guidance, then energy, then known nodes, which so hold exactly; as it is if nothing is asked.

    Args:
        guidance, unconditional: of `ClassifierFree`; 1 leaves it out.
        energy, limit: of `EnergyGuided`.
        fixed, turned: known values `[num_nodes, C]`, NaN at the others; and as for `Inpainted`.

    Example:
        >>> from pyg_diffusion.sample import steer
        >>> from pyg_diffusion.testing import gaussian_example
        >>> denoiser, L, noise = gaussian_example()
        >>> steer(denoiser) is denoiser
        True
        >>> type(steer(denoiser, energy=lambda x: x.square().sum())).__name__
        'EnergyGuided'
    """
    steered: Denoiser | Steered = denoiser
    if guidance != 1:
        steered = ClassifierFree(steered, guidance, unconditional)
    if energy is not None:
        steered = EnergyGuided(steered, energy, limit)
    if fixed is not None:
        known = torch.isfinite(fixed)
        whole = bool((known.all(1) == known.any(1)).all())
        steered = Inpainted(steered, known.all(1) if whole or turned else known, fixed, turned=turned)
    return steered
