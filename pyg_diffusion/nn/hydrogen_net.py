"""HydrogenNet: the hydrogens of a molecule whose other atoms are known."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from ..data.schema import ATOM_FEATURES, BOND_TYPES
from .base import NetworkBase
from .encodings import GaussianBasis
from .hydrogen_frames import (
    BINS,
    BONDS,
    CUTOFF,
    FIXED,
    SHAPES,
    SLOTS,
    Sites,
    find_sites,
    fit,
    frames,
    turned,
)
from .pairs import near_pairs
from .registry import NetworkKind

DRAWS = 10  # random numbers that `HydrogenNet` takes per atom
HEAVY_NOISE = 0.06  # Å, of the known atoms in training at most
JITTER = math.radians(8.0)  # of angles in training: what a bin and the choice within it leave open
LENGTH = 0.05  # Å, the scale of errors in the loss
CLEAN = 0.4  # share of training molecules without hidden angles


class _Edges(NamedTuple):
    """What a site sees: E pairs with the vectors from site to atom, in Å."""

    site: Tensor  # [E]
    source: Tensor  # [E] row of `EncodedHydrogens.said`
    hops: Tensor  # [E] 0 beyond three bonds
    offset: Tensor  # [E, 3]


class EncodedHydrogens(NamedTuple):
    """What the known atoms of a batch say, K of them; computed once, used in every evaluation."""

    atoms: Tensor  # [K] which of all atoms they are
    place: Tensor  # [N] the number of each among them
    site: Tensor  # [S, W] features of the sites' own atoms
    said: list[Tensor]  # [2K, W] for each layer: of every atom, and of hydrogens at it


class _Bonded(nn.Module):
    """h ← h + MLP(Σ over bonds of what the neighbour says)."""

    def __init__(self, width: int, basis: int):
        super().__init__()
        self.source = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(basis + len(BOND_TYPES), width)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, index: Tensor, edge: Tensor) -> Tensor:
        message = F.silu(self.source(h)[index[0]] + self.edge(edge))
        total = scatter(message, index[1], 0, dim_size=h.size(0))
        result: Tensor = h + self.out(torch.cat([h, total], dim=1))
        return result


class _Seeing(nn.Module):
    """s ← s + MLP(Σ over all that a site sees, from its own frame)."""

    def __init__(self, width: int, basis: int):
        super().__init__()
        self.source = nn.Linear(width, 2 * width, bias=False)  # of atoms, and of hydrogens at them
        self.target = nn.Linear(width, width)
        self.geometry = nn.Linear(basis + 8 + BONDS + 1, width, bias=False)
        self.gate = nn.Linear(basis, width, bias=False)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, s: Tensor, said: Tensor, edges: _Edges, geometry: Tensor, rbf: Tensor) -> Tensor:
        message = said[edges.source] + self.target(s)[edges.site] + self.geometry(geometry)
        message = F.silu(message) * self.gate(rbf)
        total = scatter(message, edges.site, 0, dim_size=s.size(0))
        result: Tensor = s + self.out(torch.cat([F.layer_norm(s, s.shape[1:]), total], dim=1))
        return result


class Placed(NamedTuple):
    """What the network says of the sites in given frames."""

    logits: Tensor  # [S, BINS] of the free angle
    shift: Tensor  # [S, SLOTS, 3] Å, from the template to the hydrogens, in the frame


class HydrogenNet(NetworkBase):
    r"""Draws hydrogens given all other atoms: angles that are a choice are sampled, all else follows.

    A site's hydrogens have an ideal shape in a frame made of its neighbours (`hydrogen_frames`); at most one angle is free.
    The network sees, from the frame of each site, what is within three bonds or 4 Å of it: pairs as edges, so that the cost
    is linear in N. It gives a categorical law of each hidden angle, and, for the angles that are set, the shifts from the
    ideal shape. Drawing takes up to three evaluations: angles that do not see one another are drawn first, the others
    given those, then all shifts. They are no evaluations of the denoiser, and where a generator counts those these are left
    out.

    Equivariant under rotations, translations and permutations (noise permuted along) by construction; trained on both hands.
    It is trained by `loss` and drawn from by `draw`; it is a `Network` in all but that it denoises nothing.

    Args:
        width: features per atom and site.
        depths: layers over bonds, layers over what a site sees.
        levels: as in `ConformerNet`.

    Example:
        >>> import torch
        >>> from rdkit import Chem
        >>> from rdkit.Chem import rdDistGeom
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.chem.skeleton import whole_data
        >>> from pyg_diffusion.nn import HydrogenNet
        >>> from pyg_diffusion.nn.hydrogen_net import DRAWS
        >>> mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
        >>> _ = rdDistGeom.EmbedMolecule(mol, randomSeed=1)
        >>> data = whole_data(molecule_from_mol(mol))
        >>> int(data.second.sum())
        6
        >>> pos = HydrogenNet(width=8, depths=(1, 1)).draw(data, torch.randn(9, DRAWS))
        >>> torch.equal(pos[~data.second], data.pos[~data.second])
        True
    """

    def __init__(self, width: int = 96, depths: tuple[int, ...] = (3, 2), levels: tuple[str, ...] = ()):
        super().__init__()
        self.atom = nn.ModuleList(nn.Embedding(size, width) for size in ATOM_FEATURES.values())
        self.hydrogens = nn.Embedding(SLOTS + 1, width)
        self.levels = tuple(levels)
        if levels:
            self.level = nn.Embedding(len(levels) + 1, width)
        self.case = nn.Embedding(4 * (SLOTS + 1) * SHAPES, width)
        self.hidden = nn.Embedding(2, width)
        self.basis = GaussianBasis()
        self.bonded_blocks = nn.ModuleList(_Bonded(width, self.basis.size) for _ in range(depths[0]))
        self.blocks = nn.ModuleList(_Seeing(width, self.basis.size) for _ in range(depths[1]))
        self.choose = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, BINS))
        self.shift = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * SLOTS))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Embeddings at their scale; ideal shapes and uniform angles at first."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
        if self.levels:
            nn.init.zeros_(self.level.weight)
        for head in (self.choose, self.shift):
            for parameter in head[2].parameters():
                nn.init.normal_(parameter, std=1e-3)

    def read(self, data: Data, sites: Sites, pos: Tensor) -> EncodedHydrogens:
        """Features of the known atoms by their chemistry and bond lengths."""
        known = ~data.second
        atoms, place = known.nonzero().squeeze(1), known.cumsum(0) - 1
        count = torch.bincount(place[sites.atom[sites.site]], minlength=len(atoms))
        h = sum(table(data.x[atoms, k]) for k, table in enumerate(self.atom)) + self.hydrogens(count)
        if self.levels:
            h = h + self._level(data)[atoms]
        inside = known[data.edge_index].all(0)
        row, col = data.edge_index[:, inside]
        length = (pos[row] - pos[col]).norm(dim=1)
        edge = torch.cat([self.basis(length), F.one_hot(data.edge_attr[inside], len(BOND_TYPES)).to(pos)], dim=1)
        for block in self.bonded_blocks:
            h = block(h, torch.stack([place[row], place[col]]), edge)
        said = []
        for block in self.blocks:
            assert isinstance(block, _Seeing)
            said.append(block.source(h).view(2 * len(h), -1))
        return EncodedHydrogens(atoms, place, h[place[sites.atom]], said)

    def _level(self, data: Data) -> Tensor:
        """Embedding of the level of theory of each atom's molecule."""
        names: Sequence[str] | str | None = data.get("level")
        graph = _graph(data)
        count = int(graph.max()) + 1 if len(graph) else 0
        names = [names or ""] * count if names is None or isinstance(names, str) else names
        number = {name: k for k, name in enumerate(self.levels)}
        places = torch.tensor([number.get(name, len(self.levels)) for name in names], device=graph.device)
        level: Tensor = self.level(places)[graph]
        return level

    def forward(self, code: EncodedHydrogens, sites: Sites, frame: Tensor, hidden: Tensor, edges: _Edges) -> Placed:
        """Angles and shifts of all sites in given frames; `hidden [S]`: where the angle is not in the frame yet."""
        case = (sites.known.clamp_max(3) * (SLOTS + 1) + sites.protons) * SHAPES + sites.shape
        s = code.site + self.case(case) + self.hidden(hidden.long())
        distance = edges.offset.norm(dim=1)
        x, y, z = ((edges.offset[:, None] @ frame[edges.site]).squeeze(1) / distance.clamp_min(1e-6)[:, None]).unbind(1)
        angular = torch.stack([x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], dim=1)
        rbf = self.basis(distance)
        fades = torch.where(edges.hops > 0, 1.0, (1 - (distance / CUTOFF).square()).clamp_min(0))
        geometry = torch.cat([rbf, angular, F.one_hot(edges.hops, BONDS + 1).to(rbf)], dim=1)
        for block, said in zip(self.blocks, code.said, strict=True):
            s = block(s, said, edges, geometry, rbf * fades[:, None])
        logits = self.choose(s).masked_fill(
            torch.arange(BINS, device=s.device) >= sites.bins[:, None].clamp_min(1), -torch.inf
        )
        return Placed(logits, LENGTH * self.shift(s).view(-1, SLOTS, 3))

    def see(
        self, code: EncodedHydrogens, sites: Sites, wanted: Tensor, pos: Tensor, graph: Tensor, frame: Tensor, hidden: Tensor
    ) -> _Edges:
        """All that sites see: atoms, and the hydrogens of the other sites whose angles are set, in their ideal places.

        Args:
            wanted: whose view is asked for, `[S]`.
            graph: of each atom, `[N]`.
        """
        n, centre = len(pos), pos[sites.atom]
        own = wanted[sites.pair[0]]
        pair, steps = sites.pair[:, own], sites.hops[own]
        looking = wanted.nonzero().squeeze(1)
        bonded = sites.pair[0] * n + sites.pair[1]  # every pair as one number
        bonded, order = bonded.sort()
        hops = sites.hops[order]

        def hops_of(site: Tensor, atom: Tensor) -> Tensor:
            key = site * n + atom
            place = torch.searchsorted(bonded, key).clamp_max(max(len(bonded) - 1, 0))
            return torch.where(bonded[place] == key, hops[place], 0) if len(bonded) else torch.zeros_like(key)

        atoms, place = code.atoms, code.place
        owner, other = near_pairs(centre[looking], graph[sites.atom[looking]], pos[atoms], graph[atoms], CUTOFF)
        owner, other = looking[owner], atoms[other]
        beyond = (hops_of(owner, other) == 0) & (other != sites.atom[owner])
        owner, other = owner[beyond], other[beyond]
        ideal = self._place(sites, pos, frame, torch.zeros_like(sites.template))
        seen = (~hidden[sites.site]).nonzero().squeeze(1)
        home = sites.atom[sites.site[seen]]
        site, proton = near_pairs(centre[looking], graph[sites.atom[looking]], ideal[seen], graph[home], CUTOFF)
        site = looking[site]
        apart = sites.site[seen[proton]] != site
        site, proton = site[apart], proton[apart]
        return _Edges(
            torch.cat([pair[0], owner, site]),
            torch.cat([2 * place[pair[1]], 2 * place[other], 2 * place[home[proton]] + 1]),
            torch.cat([steps, torch.zeros_like(owner), hops_of(site, home[proton])]),
            torch.cat([pos[pair[1]] - centre[pair[0]], pos[other] - centre[owner], ideal[seen][proton] - centre[site]]),
        )

    @staticmethod
    def _place(sites: Sites, pos: Tensor, frame: Tensor, shift: Tensor) -> Tensor:
        """Positions of the hydrogens, `[H, 3]`."""
        local = (sites.template + shift) @ frame.mT
        return pos[sites.atom[sites.site]] + local[sites.site, sites.slot]

    def loss(self, data: Data, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy of hidden angles and errors of shifts, on average over the sites of each molecule.

        Args:
            data: with `pos` of all atoms and `second`.
            noise: N(0, 1), `[num_nodes, DRAWS]`.

        Returns:
            loss, mean error of the hydrogens in Å, mean cross-entropy of hidden angles in nats: `[num_graphs]` each.
        """
        sites, graph = find_sites(data), _graph(data)
        count = int(graph.max()) + 1
        uniform = torch.special.ndtr(noise)
        first = scatter(torch.arange(len(graph), device=graph.device), graph, 0, reduce="min", dim_size=count)
        level = (2 * uniform[first, 8] - 1).clamp_min(0) * HEAVY_NOISE  # half of the molecules are clean
        pos = data.pos + level[graph, None] * noise[:, :3]
        offset = sites.slots(data.pos[sites.hydrogen] - data.pos[sites.atom[sites.site]])
        frame, angle, offset = fit(sites, frames(sites, pos, noise[sites.atom, 3:6]), offset)
        rate = ((uniform[first, 9] - CLEAN) / (1 - CLEAN)).clamp_min(0)
        mine = uniform[sites.atom]
        hidden = (mine[:, 7] < rate[graph[sites.atom]]) & (sites.free != FIXED)
        jittered = turned(frame, sites.free, angle + (2 * mine[:, 6] - 1) * JITTER)
        used = torch.where(hidden[:, None, None], frame, jittered)
        code = self.read(data, sites, pos)
        said = self(code, sites, used, hidden, self.see(code, sites, torch.ones_like(hidden), pos, graph, used, hidden))

        per = 2 * math.pi / BINS
        label = torch.remainder(torch.floor(angle / per).long(), sites.bins.clamp_min(1))
        entropy = F.cross_entropy(said.logits, label, reduction="none") * hidden
        gap = ((offset @ used - sites.template - said.shift).square().sum(-1) + 1e-12).sqrt()
        robust = (gap.square() + (0.4 * LENGTH) ** 2).sqrt() - 0.4 * LENGTH
        visible = sites.filled & ~hidden[:, None]
        of = graph[sites.atom]

        def mean(value: Tensor, weight: Tensor) -> Tensor:
            total = scatter(value * weight, of, 0, dim_size=count)
            result: Tensor = total / scatter(weight.to(value), of, 0, dim_size=count).clamp_min(1)
            return result

        shifts = mean((robust * visible).sum(1) / visible.sum(1).clamp_min(1), ~hidden)
        errors = mean((gap * visible).sum(1) / visible.sum(1).clamp_min(1), ~hidden)
        entropies = mean(entropy, hidden)
        return shifts / LENGTH + 0.5 * entropies, errors.detach(), entropies.detach()

    @torch.no_grad()
    def draw(self, data: Data, noise: Tensor) -> Tensor:
        """Positions of all atoms, `[N, 3]`: those of `data.pos`, and drawn ones where `data.second`.

        Args:
            noise: N(0, 1), `[num_nodes, DRAWS]`; the same noise gives the same hydrogens.
        """
        if not bool(data.second.any()):
            same: Tensor = data.pos.clone()
            return same
        sites, graph = find_sites(data), _graph(data)
        uniform = torch.special.ndtr(noise)[sites.atom]
        frame = frames(sites, data.pos, noise[sites.atom, 3:6])
        code = self.read(data, sites, data.pos)
        hidden = sites.free != FIXED
        first = hidden & self._foremost(sites, data.pos, graph, hidden, uniform[:, 7])
        for chosen in (first, hidden & ~first):
            if bool(chosen.any()):
                said = self(code, sites, frame, hidden, self.see(code, sites, chosen, data.pos, graph, frame, hidden))
                angle = self._sample(said.logits, uniform[:, 6])
                frame = torch.where(chosen[:, None, None], turned(frame, sites.free, angle), frame)
                hidden = hidden & ~chosen
        everyone = torch.ones_like(hidden)
        said = self(code, sites, frame, hidden, self.see(code, sites, everyone, data.pos, graph, frame, hidden))
        result: Tensor = data.pos.index_copy(0, sites.hydrogen, self._place(sites, data.pos, frame, said.shift))
        return result

    @staticmethod
    def _foremost(sites: Sites, pos: Tensor, graph: Tensor, hidden: Tensor, priority: Tensor) -> Tensor:
        """Sites with a free angle that come before all such sites that they see, `[S]` bool."""
        some = hidden.nonzero().squeeze(1)
        x, of = pos[sites.atom[some]], graph[sites.atom[some]]
        i, j = some[near_pairs(x, of, x, of, CUTOFF)]
        before: Tensor = scatter(torch.where(i == j, -1.0, priority[j]), i, 0, dim_size=len(hidden), reduce="max")
        return priority > before

    @staticmethod
    def _sample(logits: Tensor, uniform: Tensor) -> Tensor:
        """Angles by inversion: the bin, and the place within it, of one number in (0, 1) each."""
        share = logits.softmax(1)
        ends = share.cumsum(1)
        k = torch.searchsorted(ends, uniform[:, None].clamp(1e-6, 1 - 1e-6)).clamp_max(BINS - 1)
        inside = (uniform[:, None] - (ends - share).gather(1, k)) / share.gather(1, k).clamp_min(1e-9)
        return ((k + inside.clamp(0, 1)) * (2 * math.pi / BINS)).squeeze(1)


def _graph(data: Data) -> Tensor:
    """The graph of each atom, `[N]`."""
    batch = data.get("batch")
    return torch.zeros(data.num_nodes or 0, dtype=torch.long, device=data.x.device) if batch is None else batch


KIND = NetworkKind(HydrogenNet)
