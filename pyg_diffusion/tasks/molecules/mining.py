r"""Negatives that only molecules have: other torsions, and other minima.

Both have the positive's own ε, S⁻ = φ x⁻ + σ ε, with x⁻ superposed on S_0, so that energies differ by the conformers and not
by the noise.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import huber_loss
from torch_geometric.utils import scatter

from ...data.schema import BOND_TYPES
from ...mining import Miner, Negatives, Positive
from ...regularize import superposed

KT = 0.593  # kcal/mol at 298 K
NEAR = 0.1  # Å; two conformers nearer than this are one
SINGLE = [BOND_TYPES.index(name) for name in ("single", "conjugated")]


class _OfConformers(Miner):
    """From another conformer of each molecule."""

    def placed(self, positive: Positive, x: Tensor) -> Tensor:
        """Conformers x `[N, 3]`, wherever they are, superposed on S_0."""
        return positive.project(superposed(positive.operator, positive.x_0, x, x.new_ones(x.size(0), 1)))


class TorsionNegatives(_OfConformers):
    """The conformer after `kicks` of its bonds were turned by 60 to 300 degrees: right lengths and angles, wrong torsions.

    Bonds are drawn from the single ones between atoms with two neighbours or more beside hydrogens; one that is found to be
    in a ring is no kick. Left out are molecules that are within .1 Å (root mean square) of where they were, and negatives
    that stand lower in E*.

    Args:
        kicks: how many bonds, one after the other.

    Raises:
        ValueError: kicks < 1.

    Example:
        >>> from pyg_diffusion.tasks.molecules.mining import TorsionNegatives
        >>> TorsionNegatives(kicks=1).needs
        ('z', 'edge_attr')
    """

    needs: ClassVar[tuple[str, ...]] = ("z", "edge_attr")

    def __init__(self, kicks: int = 2):
        if kicks < 1:
            raise ValueError(f"at least 1 bond must be turned, got {kicks}")
        self.kicks = kicks

    def negatives(self, positive: Positive) -> Negatives:
        operator, x = positive.operator, positive.x_0
        for _ in range(self.kicks):
            x = self._kicked(positive, x)
        x = self.placed(positive, x)
        moved = operator.graph_sum((x - positive.x_0).square()).sum(1) > NEAR**2 * operator.sizes
        negative = positive.diffuse(x, positive.noise)
        return Negatives(negative, moved & (positive.true_energy(negative) > positive.true_energy(positive.signal)))

    def _kicked(self, positive: Positive, x: Tensor) -> Tensor:
        """x with one bond of each molecule turned, where there is one."""
        told, graphs = positive.told, positive.operator.num_graphs
        (a, b), n = told.edge_index, x.size(0)
        heavy = scatter((told.z[b] > 1).long(), a, dim_size=n)
        can = torch.isin(told.edge_attr, torch.tensor(SINGLE, device=x.device)) & (heavy[a] > 1) & (heavy[b] > 1)
        drawn = torch.rand(a.numel(), generator=positive.generator, device=x.device)
        angle = (torch.rand(graphs, generator=positive.generator, device=x.device) * 4 + 1) * torch.pi / 3
        owner = told.batch[a]
        best = scatter(torch.where(can, drawn, -1.0), owner, dim_size=graphs, reduce="max")
        chosen = can & (drawn == best[owner])  # one a molecule; ties have probability 0
        # Which atoms hang on b once the bond is cut: those that have its label, the least index that reaches them.
        cut = chosen | (chosen[_reverse(told.edge_index, n)])
        label = torch.arange(n, device=x.device)
        kept_a, kept_b, before = a[~cut], b[~cut], None
        while before is None or not torch.equal(label, before):
            before, label = label, label.scatter_reduce(0, kept_b, label[kept_a], "amin")
        edge = torch.full((graphs,), -1, device=x.device).scatter(0, owner[chosen], torch.where(chosen)[0])
        has, edge = edge >= 0, edge.clamp_min(0)
        if not bool(has.any()):
            return x
        start, end = a[edge], b[edge]
        has &= label[start] != label[end]  # otherwise it is part of a ring
        moves = has[told.batch] & (label == label[end][told.batch])
        axis = torch.nn.functional.normalize(x[end] - x[start], dim=1)[told.batch]
        offset = x - x[end][told.batch]
        c, s = angle.cos()[told.batch, None].to(x), angle.sin()[told.batch, None].to(x)
        along = (offset * axis).sum(1, keepdim=True) * axis
        around = along + c * (offset - along) + s * torch.linalg.cross(axis, offset)
        return torch.where(moves[:, None], x[end][told.batch] + around, x)


def _reverse(edges: Tensor, num_nodes: int) -> Tensor:
    """The number of each edge's other direction, `[E]`."""
    forth, back = (edges[0] * num_nodes + edges[1]).sort(), (edges[1] * num_nodes + edges[0]).sort()
    reverse = torch.empty_like(forth.indices)
    reverse[back.indices] = forth.indices
    return reverse


class MinimumNegatives(_OfConformers):
    r"""Another minimum of the molecule, of higher energy U, as if it had the weight of the one drawn.

    Where noise is small, σ(L) near one number s, and minima lie far apart beside it, the density of S_t about a minimum is
    in proportion to its Boltzmann weight, and E is s times its negative logarithm. So the gap is regressed on

    .. math:: E(S^-) - E(S^+) = s\,(U^- - U^+)/k_B T

    which slopes within one basin do not tell, by the Huber loss in units of k_B T. Left out are molecules without a higher
    minimum of known energy in the store, and those that noise may carry from one to the other, |φ (x⁻ - S_0)| < `apart` s.

    Args:
        apart: least distance of the minima in units of s.
        most: energies are not told apart beyond this many k_B T, at which hardly any conformer is left.

    Raises:
        ValueError: either is not positive.

    Example:
        >>> from pyg_diffusion.tasks.molecules.mining import MinimumNegatives
        >>> MinimumNegatives(apart=4.0).needs
        ('minima_pos',)
    """

    needs: ClassVar[tuple[str, ...]] = ("minima_pos",)

    def __init__(self, apart: float = 6.0, most: float = 10.0):
        if not (apart > 0 and most > 0):
            raise ValueError(f"apart and most must be positive, got {apart} and {most}")
        self.apart, self.most = apart, most

    def negatives(self, positive: Positive) -> Negatives:
        operator, told, x_0 = positive.operator, positive.told, positive.x_0
        graph, above = told.minima_batch, told.minima_energy
        drawn = torch.rand(graph.numel(), generator=positive.generator, device=x_0.device)
        drawn = torch.where(above > 0, drawn, -1 - torch.arange(graph.numel(), device=x_0.device))  # one of each is largest
        chosen = drawn == scatter(drawn, graph, dim_size=operator.num_graphs, reduce="max")[graph]
        rows = chosen.repeat_interleave(operator.sizes[graph], output_size=told.minima_pos.size(0))
        negative = positive.diffuse(self.placed(positive, told.minima_pos[rows].to(x_0)), positive.noise)
        apart = operator.graph_sum((negative - positive.signal).square()).sum(1).sqrt()
        unit, above = self._scale(positive), above[chosen].to(x_0)
        true_gap = unit * (above / KT).clamp_max(self.most)
        return Negatives(negative, (above > 0) & (apart > self.apart * unit), true_gap, unit.clamp_min(1e-12))

    def loss(self, gap: Tensor, true_gap: Tensor) -> Tensor:
        return huber_loss(gap, true_gap, reduction="none")

    def _scale(self, positive: Positive) -> Tensor:
        """s: root mean square of σ over the modes that the noise has, `[num_graphs]`."""
        operator, noise = positive.operator, positive.noise
        spread = operator.graph_sum(operator.apply(positive.parts.sigma, noise).square()).sum(1)
        return (spread / operator.graph_sum(noise.square()).sum(1).clamp_min(1e-12)).sqrt()
