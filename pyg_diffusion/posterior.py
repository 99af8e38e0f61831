r"""E[S_0 | S_t] in closed form, where the clean signals that S_t may have come from are known.

The minimiser of the denoising loss is E[S_0 | S_t]. What is random in S_0 given S_t and known beforehand (the rotation it
was given, which conformer of its molecule, which label each of several equivalent atoms got, the mirror image of an achiral
molecule) is integrated out: the same minimiser, less noise in the target. In modes, with X the clean signal before its
rotation R, rows x Rᵀ,

    p(S_t | X, R) ∝ exp(tr(Aᵀ R) - ½ Σ_m φ²/σ² |x̂_m|²),      A = Σ_m φ/σ² ŝ_t,m x̂_mᵀ.

R uniform on SO(3) is matrix-Fisher given S_t: with A = U diag(s) Vᵀ, U and V proper, s₁ >= s₂ >= |s₃|,

    c(s) = ∫ exp tr(diag(s) R) dR,    E[R] = U diag(d) Vᵀ,    d_k = ∂ log c/∂s_k

and of several X, the k-th has the weight w_k ∝ c(A_k) exp(-½ Σ φ²/σ² |x̂_k|²):  E[S_0 | S_t] = Σ_k w_k X_k E[R_k]ᵀ.
Mirror images are the candidates -X_k. All of it is done in float64: A has entries of 1e7 where noise is small.

Fields of a law that no translation changes, on a grid with periodic axes, are one of all their translations T_g X. These
commute with functions of L, so with C = corr(φ/σ² S_t, X), one number for each g, and softmax over g,

    E[S_0 | S_t] = softmax(C) * X,

a correlation and a convolution, by FFT.

Downs 1972 (matrix-Fisher); Lee 2018 (c as one integral of Bessel functions).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .spectral import DenseOperator, ExactOperator

NEGLIGIBLE = 45.0  # candidates whose log weight is further below the best than this change no digit
_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(48))


def fisher(s: Tensor) -> tuple[Tensor, Tensor]:
    r"""log c(s) and its gradient d for proper singular values s₁ >= s₂ >= |s₃|.

    For (i, j, k) a permutation of (1, 2, 3) with s_i >= s_j, I0e(y) = e^{-|y|} I₀(y) and κ_k = s_k + s_j,

        c(s) = e^{tr s} ∫₀² ½ I0e(½(s_i - s_j) x) I0e(½(s_i + s_j)(2 - x)) e^{-κ_k x} dx,    1 - d_k = E[x]

    under that integrand, so that nothing cancels at large s. x = 2 sin²(θ/2) smooths both ends; 48 Gauss-Legendre nodes on x
    up to 40/κ. Relative error below 1e-13 at s = 30, 3e-4 at s = 1e6.

    Args:
        s: `[..., 3]` float64.

    Returns:
        log c `[...]` and d `[..., 3]`.
    """
    nodes, weights = _NODES.to(s), _WEIGHTS.to(s)
    s1, s2, s3 = s.unbind(-1)
    high, low = torch.stack([s2, s1, s1], -1), torch.stack([s3, s3, s2], -1)
    kappa = (s + low).clamp_min(0)
    end = 2 * (20 / kappa.clamp_min(20)).sqrt().asin()  # θ where x = min(2, 40/κ)
    half = 0.5 * end.unsqueeze(-1)
    theta = half * (1 + nodes)
    x = 2 * (0.5 * theta).sin().square()
    density = torch.special.i0e(0.5 * (high - low).unsqueeze(-1) * x) * torch.exp(-kappa.unsqueeze(-1) * x)
    density = density * torch.special.i0e(0.5 * (high + low).unsqueeze(-1) * (2 - x)) * theta.sin() * (half * weights)
    total = density.sum(-1)
    return s.sum(-1) + (0.5 * total[..., 2]).log(), 1 - (density * x).sum(-1) / total


def proper_svd(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U, s, Vᵀ) of `[..., 3, 3]` with det U = det V = 1 and s₁ >= s₂ >= |s₃|; s₃ has the sign of det A."""
    u, s, vh = torch.linalg.svd(a)
    sides = torch.stack([torch.linalg.det(u), torch.linalg.det(vh)]).sign()
    last = s.new_tensor([0.0, 0.0, 1.0])
    flip = 1 + last * (sides.unsqueeze(-1) - 1)  # (1, 1, ±1)
    return u * flip[0].unsqueeze(-2), s * flip[0] * flip[1], vh * flip[1].unsqueeze(-1)


def _trace_of_proper(a: Tensor) -> Tensor:
    """s₁ + s₂ + s₃ of the proper decomposition, an upper bound of log c, from the cubic of AᵀA without decomposing it."""
    m = a.mT @ a
    mean = m.diagonal(dim1=-2, dim2=-1).mean(-1)
    rest = m - mean[..., None, None] * torch.eye(3, dtype=a.dtype, device=a.device)
    spread = (rest.square().sum((-2, -1)) / 6).sqrt().clamp_min(torch.finfo(a.dtype).tiny)
    angle = (torch.linalg.det(rest / spread[..., None, None]) / 2).clamp(-1, 1).acos() / 3
    turns = angle.unsqueeze(-1) + angle.new_tensor([0.0, 4 * torch.pi / 3, 2 * torch.pi / 3])  # largest to smallest
    values: Tensor = (mean.unsqueeze(-1) + 2 * spread.unsqueeze(-1) * turns.cos()).clamp_min(0).sqrt()
    smallest: Tensor = values[..., 2] * torch.linalg.det(a).sign()
    return values[..., 0] + values[..., 1] + smallest


class Origins(Protocol):
    """Clean signals that S_t may have come from, `drawn [num_nodes, C]` among them."""

    @property
    def drawn(self) -> Tensor: ...

    def mean_given(self, operator: ExactOperator, phi: Tensor, sigma: Tensor, w_t: Tensor, centered: bool = False) -> Tensor:
        """E[S_0 | S_t], `[num_nodes, C]` float64, with φ and σ of the modes, `[num_graphs, M, 1]`, and S_t in modes."""
        ...


class Translations(NamedTuple):
    """All translations of the drawn fields along the periodic axes of a grid, equally likely before noise.

    Example:
        >>> import torch
        >>> from pyg_diffusion import GridOperator
        >>> from pyg_diffusion.posterior import Translations
        >>> L, x = GridOperator((4,), "cycle"), torch.tensor([[1.0], [0.0], [0.0], [0.0]])
        >>> every = Translations(x, (4,), (True,))
        >>> one = torch.ones(1, 4, 1)
        >>> every.mean_given(L, one, 0.1 * one, L.to_modes(x)).round(decimals=3).flatten().tolist()  # S_t tells which
        [1.0, 0.0, 0.0, 0.0]
        >>> every.mean_given(L, one, 100 * one, L.to_modes(x)).round(decimals=3).flatten().tolist()  # S_t tells nothing
        [0.25, 0.25, 0.25, 0.25]
    """

    drawn: Tensor  # [num_nodes, C]
    shape: Sequence[int]  # of the grid
    periodic: Sequence[bool]  # which of its axes are

    def mean_given(self, operator: ExactOperator, phi: Tensor, sigma: Tensor, w_t: Tensor, centered: bool = False) -> Tensor:
        """E[S_0 | S_t], as of `Origins`."""
        pull = operator.to(torch.float64).from_modes(phi.double() / sigma.double().square() * w_t.double())
        x, u = (v.double().view(-1, *self.shape, v.size(1)) for v in (self.drawn, pull))
        axes = [1 + a for a, round_ in enumerate(self.periodic) if round_]
        others = [1 + a for a, round_ in enumerate(self.periodic) if not round_] + [x.dim() - 1]
        of_x = torch.fft.fftn(x, dim=axes)
        match = torch.fft.ifftn(torch.fft.fftn(u, dim=axes) * of_x.conj(), dim=axes).real.sum(others, keepdim=True)
        share = match.flatten(1).softmax(1).view_as(match)
        mean: Tensor = torch.fft.ifftn(torch.fft.fftn(share, dim=axes) * of_x, dim=axes).real
        return mean.reshape(pull.shape)


class Candidates(NamedTuple):
    """Clean signals that each graph of a batch may have come from, equally likely before noise; the drawn one is among them.

    Each stands for all its rotations. What a network is told must be the same for all candidates of a graph. Rows of a
    candidate are the nodes of its graph in order, and candidates follow one another. `of` makes them.
    """

    drawn: Tensor  # [num_nodes, C] the one that S_t was made of
    signal: Tensor  # [R, C] rows of all candidates
    node: Tensor  # [R] node that a row stands for
    owner: Tensor  # [R] candidate that a row belongs to
    graph: Tensor  # [T] graph of each candidate
    conformer: Tensor  # [T] of which conformer each is a relabelling
    conformer_graph: Tensor  # [K] graph of each conformer
    mirror: Tensor | None = None  # [num_graphs] whether -X is as likely as X
    rotations: bool = True  # False: the orientation is known, candidates stand for themselves

    @classmethod
    def of(
        cls,
        operator: DenseOperator,
        x_0: Tensor,
        ensemble: tuple[Tensor, Tensor] | None = None,
        labels: tuple[Tensor, Tensor] | None = None,
        mirror: Tensor | None = None,
        rotations: bool = True,
    ) -> "Candidates":
        """Every conformer under every labelling.

        Args:
            x_0: the drawn signal, `[num_nodes, C]`.
            ensemble: conformers, all equally likely, as rows `[Σ N, C]` one after the other, in any orientation but in the
                handedness that the network is told of, and the graph of each, ascending, `[K]`. x_0 alone if None.
            labels: permutations, as rows `[Σ N]` of node numbers (node i takes the signal of node `rows[i]`) one after the
                other, and the graph of each, ascending, `[P]`. Those of a graph are a group of automorphisms of all that
                its network reads. The identity alone if None.
            mirror, rotations: as the attributes.
        """
        sizes, device = operator.sizes, operator.device
        first, graphs = sizes.cumsum(0) - sizes, torch.arange(sizes.numel(), device=device)
        nodes = torch.arange(operator.num_nodes, device=device)
        rows, conformer_graph = (x_0, graphs) if ensemble is None else ensemble
        order, label_graph = (nodes, graphs) if labels is None else labels
        labellings = torch.bincount(label_graph, minlength=sizes.numel())
        each = labellings[conformer_graph]
        # How many of each there are is known without waiting for a GPU, unless both are given.
        count, height = label_graph.numel(), order.numel()
        if ensemble is not None:
            both = labels is not None
            count = int(each.sum()) if both else conformer_graph.numel()
            height = int((each * sizes[conformer_graph]).sum()) if both else rows.size(0)
        conformer, label = _ragged(each, count)
        graph = conformer_graph[conformer]
        owner, local = _ragged(sizes[graph], height)
        block = labellings * sizes  # rows of all labellings of a graph
        named = order[((block.cumsum(0) - block)[graph] + label * sizes[graph])[owner] + local]
        start = sizes[conformer_graph].cumsum(0) - sizes[conformer_graph]
        of = graph[owner]
        signal = rows[named - first[of] + start[conformer][owner]]
        return cls(x_0, signal, first[of] + local, owner, graph, conformer, conformer_graph, mirror, rotations)

    def mean_given(self, operator: ExactOperator, phi: Tensor, sigma: Tensor, w_t: Tensor, centered: bool = False) -> Tensor:
        """E[S_0 | S_t], as of `Origins`.

        Raises:
            TypeError: an operator without a dense eigenbasis.
        """
        if not isinstance(operator, DenseOperator):
            raise TypeError(f"exact targets need a DenseOperator (backend=DenseOperator.from_laplacian), got {operator!r}")
        return posterior_mean(operator, phi, sigma, w_t, self, centered)


def _ragged(lengths: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """(group, place within it) of each of `total` = Σ lengths entries of consecutive groups."""
    group = torch.arange(lengths.numel(), device=lengths.device).repeat_interleave(lengths, output_size=total)
    return group, torch.arange(total, device=lengths.device) - (lengths.cumsum(0) - lengths)[group]


def _energies(operator: DenseOperator, weight: Tensor, candidates: Candidates, centered: bool) -> Tensor:
    """½ Σ_m φ²/σ² |x̂_m|² of every conformer, `[K]`; `weight` is φ²/σ², `[num_graphs, M, 1]`."""
    graph, m = candidates.conformer_graph, operator.max_nodes
    lead = torch.zeros(graph.numel(), dtype=torch.long, device=graph.device)  # any labelling: it does not matter which
    lead = lead.scatter(0, candidates.conformer, torch.arange(candidates.graph.numel(), device=graph.device))
    place = torch.full((candidates.graph.numel(),), graph.numel(), device=graph.device)
    place = place.scatter(0, lead, torch.arange(graph.numel(), device=graph.device))  # the rest lands in one spare block
    slot = place[candidates.owner] * m + operator.slots[candidates.node] % max(m, 1)
    padded = weight.new_zeros((graph.numel() + 1) * m, candidates.signal.size(1))
    padded = padded.index_copy(0, slot, candidates.signal.double()).view(-1, m, padded.size(1))[:-1]
    modes = operator.eigenvectors.mT[graph].to(padded) @ padded
    if centered:
        modes = operator.center(modes)
    return 0.5 * (weight[graph] * modes.square()).sum((1, 2))


def _largest(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Maximum over the members of each group."""
    return values.new_full((count,), -torch.inf).scatter_reduce(0, group, values, "amax")


def _softmax(values: Tensor, group: Tensor, count: int) -> Tensor:
    """exp(values), normalised over the members of each group."""
    e = (values - _largest(values, group, count)[group]).exp()
    return e / e.new_zeros(count).index_add(0, group, e)[group]


def posterior_mean(
    operator: DenseOperator, phi: Tensor, sigma: Tensor, w_t: Tensor, candidates: Candidates, centered: bool = False
) -> Tensor:
    """E[S_0 | S_t] given that S_0 is a rotation of one of the candidates.

    Args:
        operator: of the batch.
        phi, sigma: φ and σ of its modes, `[num_graphs, M, 1]`.
        w_t: S_t in modes, `[num_graphs, M, C]`; C is 3 where candidates stand for their rotations.
        candidates: see there.
        centered: the global translation is no part of the signals (and absent from w_t).

    Returns:
        `[num_nodes, C]` float64, up to a translation of each graph where `centered`.
    """
    exact, num_graphs = operator.to(torch.float64), operator.num_graphs
    phi, var = phi.double(), sigma.double().square()
    x, owner, graph = candidates.signal.double(), candidates.owner, candidates.graph
    pull = exact.from_modes(phi / var * w_t.double())
    count, width = graph.numel(), x.size(1)
    a = x.new_zeros(count, width, width).index_add(0, owner, pull[candidates.node].unsqueeze(2) * x.unsqueeze(1))
    prior = x.new_zeros(count)
    if candidates.conformer_graph.numel() > num_graphs:
        prior = -_energies(exact, phi.square() / var, candidates, centered)[candidates.conformer]
    of = torch.arange(count, device=graph.device)
    sign = x.new_ones(count)
    if candidates.mirror is not None:
        absent = torch.where(candidates.mirror[graph], 0.0, -torch.inf)
        a, of, sign = torch.cat([a, -a]), torch.cat([of, of]), torch.cat([sign, -sign])
        graph, prior = torch.cat([graph, graph]), torch.cat([prior, prior + absent])
    if not candidates.rotations:
        share = _softmax(prior + a.diagonal(dim1=1, dim2=2).sum(-1), graph, num_graphs)
        turn = torch.eye(width, dtype=x.dtype, device=x.device) * (share * sign)[:, None, None]
    else:
        if a.size(0) > num_graphs and not a.is_cuda:  # a GPU would wait for the count, longer than it computes
            bound = prior + _trace_of_proper(a)
            near = (bound > _largest(bound, graph, num_graphs)[graph] - NEGLIGIBLE).nonzero().squeeze(1)
            a, of, sign, graph, prior = (v[near] for v in (a, of, sign, graph, prior))
        u, s, vh = proper_svd(a)
        log_c, d = fisher(s)
        share = _softmax(prior + log_c, graph, num_graphs)
        turn = (u * (d * (share * sign).unsqueeze(1)).unsqueeze(1)) @ vh
    turn = x.new_zeros(count, width, width).index_add(0, of, turn)
    rows = (turn[owner] @ x.unsqueeze(2)).squeeze(2)
    return torch.zeros_like(pull).index_add(0, candidates.node, rows)
