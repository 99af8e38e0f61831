"""Properties of a conformer that a network can be conditioned on: numbers that its coordinates determine."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def radius_of_gyration(pos: Tensor, mask: Tensor) -> Tensor:
    """Root mean square distance of all atoms from their mean, unweighted, in Å: `[B, N, 3]`, `[B, N]` -> `[B]`."""
    weight = mask.to(pos).unsqueeze(-1)
    count = weight.sum(1).clamp_min(1)
    centred = (pos - (pos * weight).sum(1, keepdim=True) / count.unsqueeze(1)) * weight
    return (centred.square().sum((1, 2)) / count.squeeze(1)).sqrt()


PROPERTIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"radius_of_gyration": radius_of_gyration}


def properties(names: Sequence[str], pos: Tensor, mask: Tensor) -> Tensor:
    """The named properties of each graph, `[B, len(names)]`, of padded positions `[B, N, 3]` and the mask of atoms."""
    return torch.stack([PROPERTIES[name](pos, mask) for name in names], 1)
