"""The handedness of stereocentres, as networks read it."""

import torch
from torch import Tensor


def chirality(pos: Tensor, tetra: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Signed volume of each stereocentre and its gradient, both scaled to be of order 1.

    With edges e₁ = a-d, e₂ = b-d, e₃ = c-d and ρ their root mean square length: χ = e₁·(e₂×e₃)/ρ³, positive in the wanted
    configuration, and ∂V/∂a/ρ² = (e₂×e₃)/ρ² for a (likewise b, c; d takes the negative sum), the direction that
    makes the centre more so.

    Args:
        pos: `[nodes, 3]`; tetra: `[5, T]`; weight: `[T, 1]`.

    Returns:
        χ `[T, 1]` and gradients `[4, T, 3]` for a, b, c, d. Under a reflection χ changes sign.
    """
    a, b, c, d = (pos[tetra[k]] for k in range(1, 5))
    e1, e2, e3 = a - d, b - d, c - d
    rho2 = (e1.square().sum(-1, keepdim=True) + e2.square().sum(-1, keepdim=True) + e3.square().sum(-1, keepdim=True)) / 3
    rho2 = rho2 + 0.01
    ga, gb, gc = (torch.linalg.cross(u, v) * (weight / rho2) for u, v in ((e2, e3), (e3, e1), (e1, e2)))
    chi = (e1 * ga).sum(-1, keepdim=True) * rho2.rsqrt()
    return chi, torch.stack([ga, gb, gc, -(ga + gb + gc)])
