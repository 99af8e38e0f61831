"""Particle guidance: samples of one graph that are drawn together and keep their distance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..spectral import LaplacianOperator
from .guidance import EnergyGuided, Steered

NEIGHBOURS = 64  # that a sample sees at most, so that memory grows with their number and not its square


class ParticleGuided(Steered):
    r"""Samples near Π_i p(S_i) e^{-E}, E = w/(n-1) Σ_{i<j} exp(-d_ij²/2h²) over the n samples of each graph.

    d_ij is the RMSD of samples i and j of a graph after the best superposition without reflection, so E does not change as a
    sample is turned, moved or renumbered, and tells mirror images apart. Nodes are compared as they are numbered: samples
    that differ by an interchange of equivalent atoms count as different, and so repel less than they should.

    The sum over the others (Corso et al. 2024, Particle Guidance; their code divides it by n) is their mean here, so that w
    means the same for any n: what a sample that equals all others pays. Where there are more than `NEIGHBOURS` others, those
    next to it in cyclic order stand for all.

    First order in E as `EnergyGuided` is: modes far apart compared with h are hardly redistributed, since samples feel each
    other only where their estimates lie within h or so.

    E acts through `EnergyGuided`, added to the caller's own, and only as long as τ(t) > `tau`: what decides which minimum a
    sample falls into lies before, and later the push would strain what is settled.

    Args:
        denoiser: any, of signals `[num_nodes, 3]`.
        member: which of the graphs are one, `[num_graphs]`, equal integers for samples of the same graph.
        weight: of each node in d, `[num_nodes]`, >= 0, such as 1 for heavy atoms and 0 for hydrogens.
        strength: w, >= 0, in kT.
        width: h, in the data's units.
        tau: the repulsion ends here.
        energy, limit: as for `EnergyGuided`; the limit holds for the sum of both energies.

    Raises:
        ValueError: a negative strength, a width <= 0, `member` or `weight` of another shape.

    Example:
        >>> import torch
        >>> from pyg_diffusion.sample import Ancestral, ParticleGuided, time_grid
        >>> from pyg_diffusion.sde import GeometricTime, LinearSDE
        >>> from pyg_diffusion.spectral import DenseOperator, PowerSpectrum
        >>> from pyg_diffusion.testing import gaussian_denoiser
        >>> edges = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 5], [1, 0, 2, 1, 4, 3, 5, 4]])  # a path of 3 nodes, twice
        >>> L = DenseOperator.from_edges(edges, 6, batch=torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> denoiser = gaussian_denoiser(LinearSDE(GeometricTime(1e-3, 10.0)), PowerSpectrum.harmonic(), centered=True)
        >>> apart = ParticleGuided(denoiser, member=torch.tensor([0, 0]), weight=torch.ones(6), strength=10.0)
        >>> Ancestral().sample(apart, L, time_grid(10), lambda: torch.randn(6, 3, dtype=torch.float64)).shape
        torch.Size([6, 3])
    """

    def __init__(
        self,
        denoiser: Denoiser | Steered,
        member: Tensor,
        weight: Tensor,
        strength: float,
        width: float = 0.15,
        tau: float = 0.4,
        energy: Callable[[Tensor], Tensor] | None = None,
        limit: float = float("inf"),
    ):
        super().__init__(denoiser)
        if not 0 <= strength < float("inf"):
            raise ValueError(f"strength must be finite and >= 0, got {strength}")
        if not 0 < width < float("inf"):
            raise ValueError(f"width must be finite and > 0, got {width}")
        if member.dim() != 1 or weight.dim() != 1:
            raise ValueError(
                f"member must be [num_graphs] and weight [num_nodes], got {list(member.shape)} and {list(weight.shape)}"
            )
        self.weight, self.strength, self.width, self.tau = weight, strength, width, tau
        self.energy, self.limit = energy, limit
        self.pairs, self.share = _pairs(member)

    def repulsion(self, operator: LaplacianOperator, x: Tensor) -> Tensor:
        """E of every graph, `[num_graphs]`: half of what it shares with each of the others."""
        weight = operator.pack(self.weight.to(x.dtype))
        weight = (weight / weight.sum(1, keepdim=True).clamp_min(1e-12)).unsqueeze(-1)
        x = operator.pack(x)
        x = weight.sqrt() * (x - (weight * x).sum(1, keepdim=True))
        i, j = self.pairs
        # |x_i|² + |x_j|² - 2 max_R <R x_i, x_j>; the derivative of singular values needs no gap between them
        overlap = (x[i].mT @ x[j]).nan_to_num()  # for the gradient to be checked, where svd would stop
        size, stretch = x.square().sum((1, 2)), torch.linalg.svdvals(overlap)
        best = stretch[:, 0] + stretch[:, 1] + torch.linalg.det(overlap.detach()).sign() * stretch[:, 2]
        near = torch.exp(-(size[i] + size[j] - 2 * best) / (2 * self.width**2))
        half = 0.5 * self.strength * self.share.to(near) * near
        return x.new_zeros(operator.num_graphs).index_add(0, i, half).index_add(0, j, half)

    def denoise(self, operator: LaplacianOperator, w_t: Tensor, t: Tensor, context: Any = None) -> Tensor:
        energies = [] if self.energy is None else [self.energy]
        if bool((self.sde.schedule.tau(t) > self.tau).all()):
            energies.append(partial(self.repulsion, operator))
        if not energies:
            return self.denoiser.denoise(operator, w_t, t, context)
        guided = EnergyGuided(self.denoiser, lambda x: torch.stack([e(x).sum() for e in energies]).sum(), self.limit)
        return guided.denoise(operator, w_t, t, context)


def _pairs(member: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of equal members `[2, P]` and what each counts, `[P]`: 1/(others seen)."""
    order = member.argsort(stable=True)
    _, which, count = member.unique(return_inverse=True, return_counts=True)
    first, n = (count.cumsum(0) - count)[which], count[which]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(order.numel(), device=order.device)
    rank -= first
    far = (n // 2).clamp_max(NEIGHBOURS // 2)
    step = torch.arange(1, int(far.max()) + 1 if far.numel() else 1, device=order.device)
    i, k = (step <= far[:, None]).nonzero().T
    j = order[first[i] + (rank[i] + step[k]) % n[i]]
    once = torch.where(2 * step[k] == n[i], 0.5, 1.0).double()  # the pair across the cycle appears from both sides
    return torch.stack([i, j]), once / (n[i] - 1).clamp_max(NEIGHBOURS)
