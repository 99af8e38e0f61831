"""Pairs of atoms that are near, along bonds or in space, at a cost linear in their number."""

import torch
from torch import Tensor


def _ranges(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """(k of each, start[k] + 0, 1, ... count[k]-1), one after the other."""
    owner = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count)[owner]
    return owner, start[owner] + within


def within_bonds(edge_index: Tensor, num_nodes: int, start: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Pairs (k, node) at 1 to `limit` edges from node `start[k]`, `[2, P]`, and how many edges the shortest way has, `[P]`.

    Args:
        edge_index: `[2, E]`, both directions of every edge.
        num_nodes: N.
        start: nodes to begin with, `[K]`.
        limit: the longest way.
    """
    order = edge_index[0].argsort(stable=True)
    row, col = edge_index[0][order], edge_index[1][order]
    degree = torch.bincount(row, minlength=num_nodes)
    first = degree.cumsum(0) - degree
    owner, end = torch.arange(len(start), device=start.device), start
    seen, pairs, hops = owner * num_nodes + start, [], []
    for k in range(1, limit + 1):
        step, place = _ranges(first[end], degree[end])
        reached = torch.unique(owner[step] * num_nodes + col[place])
        reached = reached[~torch.isin(reached, seen)]
        seen = torch.cat([seen, reached])
        owner, end = reached // max(num_nodes, 1), reached % max(num_nodes, 1)
        pairs.append(torch.stack([owner, end]))
        hops.append(torch.full_like(owner, k))
    return torch.cat(pairs, 1), torch.cat(hops)


def near_pairs(a: Tensor, graph_a: Tensor, b: Tensor, graph_b: Tensor, cutoff: float) -> Tensor:
    """Pairs (i, j) of one graph with |a_i - b_j| < cutoff, `[2, P]`, at a cost linear in the number of points.

    By cells of the size of the cutoff; a and b are `[., 3]`, the graphs their numbers.
    """
    if not len(a) or not len(b):
        return graph_a.new_zeros(2, 0)
    low = torch.minimum(a.min(0).values, b.min(0).values) - cutoff
    cell_a, cell_b = (((x - low) / cutoff).long() for x in (a, b))
    extent = torch.maximum(cell_a.max(0).values, cell_b.max(0).values) + 2

    def key(graph: Tensor, cell: Tensor) -> Tensor:
        return ((graph * extent[0] + cell[..., 0]) * extent[1] + cell[..., 1]) * extent[2] + cell[..., 2]

    keys, order = key(graph_b, cell_b).sort()
    around = torch.cartesian_prod(*[torch.arange(-1, 2, device=a.device)] * 3)
    wanted = key(graph_a[:, None], cell_a[:, None] + around).flatten()
    start = torch.searchsorted(keys, wanted)
    owner, place = _ranges(start, torch.searchsorted(keys, wanted, right=True) - start)
    i, j = owner // len(around), order[place]
    close = (a[i] - b[j]).square().sum(1) < cutoff**2
    return torch.stack([i[close], j[close]])
