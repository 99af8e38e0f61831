"""Properties of a conformer that a network can be conditioned on: numbers that its coordinates determine."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def radius_of_gyration(pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Root mean square distance of all atoms from their mean, unweighted, in Å: `[num_graphs]`."""
    count = torch.bincount(batch, minlength=num_graphs).clamp_min(1)[:, None].to(pos)
    mean = pos.new_zeros(num_graphs, pos.size(1)).index_add(0, batch, pos) / count
    square = (pos - mean[batch]).square().sum(1, keepdim=True)
    return (pos.new_zeros(num_graphs, 1).index_add(0, batch, square) / count).sqrt().squeeze(1)


PROPERTIES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"radius_of_gyration": radius_of_gyration}


def properties(names: Sequence[str], pos: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """The named properties of each graph, `[num_graphs, len(names)]`."""
    columns = [PROPERTIES[name](pos, batch, num_graphs) for name in names]
    return torch.stack(columns, 1) if columns else pos.new_zeros(num_graphs, 0)
