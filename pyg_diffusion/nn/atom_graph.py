"""What networks read of a molecule: atoms, and pairs of them that see each other."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ..data.schema import ATOM_FEATURES, BOND_TYPES
from ..spectral import LaplacianOperator
from .chirality import chirality
from .embedding import batch_vector
from .encodings import heat_signatures, mean_degree
from .pairs import near_pairs, within_bonds

BONDS = 3  # pairs along so many bonds see each other wherever they are: bonds, angles and torsions
CUTOFF = 5.0  # Å, within which all others do
HOPS = BONDS + 2  # bonds between a pair, the last for more; 0 is not used
SIDES = 3  # none, cis, trans


class AtomGraph(NamedTuple):
    """All of a batch of molecules that does not depend on the noisy signal; computed once, used in every step."""

    x: Tensor  # [N, F] columns of `schema.ATOM_FEATURES`
    batch: Tensor  # [N]
    unit: Tensor  # [num_graphs, 1] mean degree
    heat: Tensor  # [N, T] exp(-sL)_ii
    pairs: Tensor  # [2, P] (j, i) within `BONDS` bonds, sorted
    key: Tensor  # [P] j N + i, sorted
    kind: Tensor  # [P] (hops, side, bond type) as one number
    pair_heat: Tensor  # [P, T'] exp(-sL)_ij
    tetra: Tensor  # [5, T] see `MoleculeData`
    condition: Tensor | None  # [num_graphs, K]

    @classmethod
    def of(cls, data: Data, operator: LaplacianOperator) -> "AtomGraph":
        """Of a (batched) `MoleculeData`; it needs x, edge_index, edge_attr, tetra_index, ez_index and ez_attr."""
        n, edges = operator.num_nodes, data.edge_index
        pairs, hops = within_bonds(edges, n, torch.arange(n, device=edges.device), BONDS)
        key, order = (pairs[0] * n + pairs[1]).sort()
        pairs, hops = pairs[:, order], hops[order]
        bond, side = torch.zeros_like(hops), torch.zeros_like(hops)
        bond[torch.searchsorted(key, edges[0] * n + edges[1])] = data.edge_attr
        a, b = data.ez_index[0], data.ez_index[3]
        for start, end in ((a, b), (b, a)):
            side[torch.searchsorted(key, start * n + end)] = data.ez_attr
        unit = mean_degree(operator, edges, data.get("edge_weight"))
        heat, pair_heat = heat_signatures(operator, pairs, unit)
        kind = (hops * SIDES + side) * len(BOND_TYPES) + bond
        batch, condition = batch_vector(operator), data.get("condition")
        return cls(data.x, batch, unit, heat, pairs, key, kind, pair_heat, data.tetra_index, condition)

    def seen(self, pos: Tensor) -> "SeenPairs":
        """Its pairs and all others within `CUTOFF` of positions `[N, 3]`."""
        n, at = self.batch.numel(), pos.detach()
        near = near_pairs(at, self.batch, at, self.batch, CUTOFF)
        key = near[0] * n + near[1]
        near = near[:, (near[0] != near[1]) & ~torch.isin(key, self.key)]
        pairs, far = torch.cat([self.pairs, near], 1), near.size(1)
        kind = torch.cat([self.kind, self.kind.new_full((far,), (HOPS - 1) * SIDES * len(BOND_TYPES))])
        heat = torch.cat([self.pair_heat, self.pair_heat.new_zeros(far, self.pair_heat.size(1))])
        order = pairs[1].argsort(stable=True)  # as a CSR adjacency has them
        j, i = pairs = pairs[:, order]
        bonded = kind[order] < (HOPS - 1) * SIDES * len(BOND_TYPES)
        length = length_of(pos[j] - pos[i])
        fade = 0.5 * (1 + torch.cos(math.pi * (length / CUTOFF).clamp_max(1)))
        return SeenPairs(pairs, kind[order], heat[order], torch.where(bonded, 1.0, fade))


class SeenPairs(NamedTuple):
    """Pairs of atoms that see each other in a given geometry."""

    pairs: Tensor  # [2, P] (j, i), sorted by i
    kind: Tensor  # [P]
    heat: Tensor  # [P, T']
    weight: Tensor  # [P] 1 along bonds; otherwise falls smoothly to 0 at the cutoff


def length_of(vector: Tensor) -> Tensor:
    """√(|v|² + 10⁻⁴), `[..., 3] -> [...]`: in Å, with derivatives of any order at 0."""
    return (vector.square().sum(-1) + 1e-4).sqrt()


def handedness(pos: Tensor, tetra: Tensor) -> tuple[Tensor, Tensor]:
    """What stereocentres say of their atoms: (χ at the centre, Σ χ at its neighbours) `[N, 2]`, which do not change when a
    molecule turns, or is reflected and told as the other enantiomer; and `[N, 3]`, the direction that makes them more so."""
    chi, gradient = chirality(pos, tetra, pos.new_ones(tetra.size(1), 1))
    ends, none = tetra[1:].reshape(-1), pos.new_zeros(pos.size(0), 1)
    at_center = none.index_add(0, tetra[0], chi)
    at_ends = none.index_add(0, ends, chi.repeat(4, 1))
    parity = torch.zeros_like(pos).index_add(0, ends, gradient.reshape(-1, 3))
    return torch.cat([at_center, at_ends], dim=1), parity


class AtomTypes(nn.Module):
    """Sum of embeddings of the columns of `schema.ATOM_FEATURES`: element, charge, hybridisation, aromaticity, smallest ring
    and number of neighbours, `[N, F] -> [N, width]`."""

    def __init__(self, width: int):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in ATOM_FEATURES.values())
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([table(x[:, k]) for k, table in enumerate(self.tables)]).sum(0)
