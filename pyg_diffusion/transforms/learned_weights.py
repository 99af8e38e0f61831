"""Bond weights from conformers, by maximum likelihood."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..spectral import DenseOperator
from .bond_kinds import kinds_of, names_of


class _Part:
    """What one batch of conformers tells: its bonds, their kinds, and the square of their lengths."""

    def __init__(self, data: Data):
        self.edges, self.nodes, self.batch = data["edge_index"], int(data.num_nodes or 0), data.get("batch")
        self.kinds = kinds_of(data["z"], self.edges, data["edge_attr"])
        i, j = self.edges
        self.square = (data["pos"][i] - data["pos"][j]).double().square().sum(1)

    def spread(self, weight: Tensor, gamma: float, lambda0: float) -> Tensor:
        """γ b_eᵀ (γL + λ₀)⁺ b_e, b_e = e_i - e_j, of every bond for weights `[E]`."""
        operator = DenseOperator.from_edges(self.edges, self.nodes, weight, self.batch)

        def inverse(lam: Tensor) -> Tensor:  # of a null mode whatever: b_e has no part in it
            return gamma / torch.where(lam > 0, gamma * lam + lambda0, 1.0)

        covariance = operator.matrix(inverse).flatten(0, 1)
        row, m = operator.slots, max(operator.max_nodes, 1)
        (i, j), (a, b) = row[self.edges], row[self.edges] % m
        return covariance[i, a] + covariance[j, b] - 2 * covariance[i, b]


def fit_bond_weights(
    conformers: Iterable[Data], gamma: float = 1.0, lambda0: float = 0.0, tol: float = 1e-4, rounds: int = 100
) -> dict[str, float]:
    r"""The weight of each kind of bond (two elements and a class) under which conformers are likeliest by N(0, (γL + λ₀)⁻¹).

    With L = Σ_e w_e b_e b_eᵀ the log-likelihood ½ Σ (3 log det⁺(γL + λ₀) - γ Σ_e w_e d_e²) is concave in the weights and, by
    Cauchy and Binet, log det is convex in their logarithms. Replacing it by its tangent gives a bound that

        w_k ← w_k · 3 Σ_e γ b_eᵀ (γL + λ₀)⁺ b_e / Σ_e γ d_e²,        sums over all bonds e of kind k,

    maximises: the likelihood rises in every round, to its only maximum, without a step size and without a gradient through
    eigenvectors. There bonds of each kind have under the prior the mean square length that they have in the conformers; a
    bond of no ring gets w = 3/(γ⟨d²⟩) at once. That is all the weights learn: the shape beyond bonds is p(λ)'s and the
    network's business.

    Args:
        conformers: `Data` or batches with `z`, `edge_index`, `edge_attr` (`schema.BOND_TYPES`) and `pos [N, 3]` in Å; gone
            through once.
        gamma, lambda0: of the process, γ > 0.
        tol: the fit ends when no weight changes by more than this, relatively.
        rounds: or after so many.

    Returns:
        By name as "6-8 double", and for kinds that were not there of each class ("double") and of "any" the mean, each kind
        counted by its Σ d²: where no bond is in a ring, the one weight that gives all of them their mean square length.

    Raises:
        ValueError: γ <= 0, no bonds at all, or bonds of no length.

    Example:
        >>> from torch_geometric.data import Data
        >>> import torch
        >>> from pyg_diffusion.transforms import fit_bond_weights
        >>> water = Data(
        ...     z=torch.tensor([8, 1, 1]),
        ...     edge_index=torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]]),
        ...     edge_attr=torch.ones(4, dtype=torch.long),
        ...     pos=torch.tensor([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]),
        ... )
        >>> {name: round(w, 3) for name, w in fit_bond_weights([water]).items()}  # 3/d²
        {'1-8 single': 3.254, 'single': 3.254, 'any': 3.254}
    """
    if not gamma > 0:
        raise ValueError(f"weights are fitted to N(0, (γL + λ₀)⁻¹), which needs γ > 0, got {gamma}")
    parts = [_Part(data) for data in conformers]
    every = torch.cat([part.kinds for part in parts]) if parts else torch.zeros(0)
    if not every.numel():
        raise ValueError("no bonds to fit weights to")
    square = torch.cat([part.square for part in parts])
    kinds, place = every.unique(return_inverse=True)
    places, count = place.split([len(part.kinds) for part in parts]), kinds.numel()

    def total(values: Tensor, group: Tensor, groups: int) -> Tensor:
        return values.new_zeros(groups).index_add(0, group, values)

    lengths = total(square, place, count)
    if not bool((lengths > 0).all()):
        name = names_of(int(kinds[lengths <= 0][0]))[0]
        raise ValueError(f"bonds {name} have no length: their atoms lie in one place")
    weight = torch.ones(count, dtype=torch.float64, device=square.device)
    for _ in range(rounds):
        spread = torch.cat([part.spread(weight[own], gamma, lambda0) for part, own in zip(parts, places, strict=True)])
        change = 3 * total(spread, place, count) / (gamma * lengths)
        weight = weight * change
        if float((change - 1).abs().max()) < tol:
            break
    found = {names_of(kind)[0]: w for kind, w in zip(kinds.tolist(), weight.tolist(), strict=True)}
    for level in (1, 2):
        names = [names_of(kind)[level] for kind in kinds.tolist()]
        for name in dict.fromkeys(names):
            mine = torch.tensor([other == name for other in names], device=weight.device)
            found[name] = float((weight * lengths)[mine].sum() / lengths[mine].sum())
    return found
