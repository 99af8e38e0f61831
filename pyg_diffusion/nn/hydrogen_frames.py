r"""Where hydrogens can be: frames at the atoms that carry them, ideal shapes, and the one angle that is a choice.

A site is an atom with hydrogens that are drawn when all others are known. With n known neighbours it has an axis e₃,
opposite to the sum of their directions, and a reference e₁:

| n | e₁ | what is free |
|---|---|---|
| 1 | towards the nearest atom two or three bonds away, and off the axis | the azimuth about e₃ (OH, NH₂, CH₃, ...) |
| 2 | normal to the plane of the two bonds | the tilt of a single hydrogen out of that plane (NH; none at sp² carbon) |
| 3 or more | towards the nearest neighbour | nothing |

so that positions in a frame do not change when the molecule moves. What is degenerate takes its direction from given noise.
"""

from itertools import permutations
from math import acos, cos, pi, radians, sin
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from ..data.schema import ATOM_FEATURES, COVALENT_RADII, HYBRIDIZATIONS
from .pairs import within_bonds

SLOTS = 6  # hydrogens at one atom
BINS = 36  # of an angle, over a full turn
FIXED, AZIMUTH, TILT = range(3)  # what is free at a site
LINEAR, PLANAR_CARBON, PLANAR, OTHER = range(4)  # shapes, by hybridisation
SHAPES = 4
BONDS, CUTOFF = 3, 4.0  # a site sees atoms within so many bonds or so many Å
_FLAT, _CLOSE = 0.15, 0.3  # below: no direction of its own (of a sum of unit vectors; of an offset in Å)

# X-H bond lengths in Å from microwave spectra and neutron diffraction; elsewhere the sum of the covalent radii.
_LENGTHS = {5: 1.19, 6: 1.09, 7: 1.01, 8: 0.96, 14: 1.48, 15: 1.42, 16: 1.34, 34: 1.47}
LENGTHS = torch.full((120,), 1.6)
for _z, _radii in COVALENT_RADII.items():
    LENGTHS[_z] = _LENGTHS.get(_z, COVALENT_RADII[1][0] + _radii[0])


def _cone(polar: float, azimuths: list[float]) -> list[tuple[float, float, float]]:
    """Unit vectors at an angle to e₃, all angles in degrees."""
    a = radians(polar)
    return [(sin(a) * cos(radians(b)), sin(a) * sin(radians(b)), cos(a)) for b in azimuths]


def _template(n: int, k: int, shape: int) -> tuple[list[tuple[float, float, float]], int]:
    """Ideal directions of k hydrogens at an atom with n other neighbours, at angle 0; and what is free."""
    tetrahedral = 180 - acos(-1 / 3) * 180 / pi
    even = [360 * j / k for j in range(k)]
    if n == 0:
        if k == 4:
            return [(0.0, 0.0, 1.0), *_cone(180 - tetrahedral, [0, 120, 240])], FIXED
        return _cone({1: 0, 2: 52, 3: 68}.get(k, 80), even), FIXED
    if n == 1:
        if k == 1 and shape == LINEAR:
            return _cone(0, even), FIXED
        half = {PLANAR_CARBON: 90, PLANAR: 75}.get(shape, 60)
        polar = 60 if shape in (PLANAR, PLANAR_CARBON) else tetrahedral
        return _cone(polar, [-half, half] if k == 2 else even), AZIMUTH
    if n == 2 and k == 1:
        return _cone(0, even), FIXED if shape == PLANAR_CARBON else TILT
    if n == 2:
        return _cone(54 if k == 2 else 70, even), FIXED
    return _cone(0 if k == 1 else 50, even), FIXED


TEMPLATES = torch.zeros(4, SLOTS + 1, SHAPES, SLOTS, 3)
FREE = torch.zeros(4, SLOTS + 1, SHAPES, dtype=torch.long)
for _n in range(4):
    for _k in range(1, SLOTS + 1):
        for _shape in range(SHAPES):
            _directions, _free = _template(_n, _k, _shape)
            TEMPLATES[_n, _k, _shape, :_k], FREE[_n, _k, _shape] = torch.tensor(_directions), _free
# Orders in which k hydrogens can take their slots: of four, two make the frame; beyond four they keep theirs.
ORDERS = torch.arange(SLOTS).repeat(SLOTS + 1, 6, 1)
for _k in (2, 3):
    for _row, _order in enumerate(permutations(range(_k))):
        ORDERS[_k, _row, :_k] = torch.tensor(_order)
ORDERS[4, 1, 2:4] = torch.tensor([3, 2])


class Sites(NamedTuple):
    """The sites of a batch of molecules, S of them with H hydrogens; depends on the graphs alone."""

    atom: Tensor  # [S] the atom of each
    hydrogen: Tensor  # [H]
    site: Tensor  # [H] which each hydrogen belongs to
    slot: Tensor  # [H] its number there
    protons: Tensor  # [S] how many hydrogens
    known: Tensor  # [S] other neighbours
    shape: Tensor  # [S]
    template: Tensor  # [S, SLOTS, 3] Å
    free: Tensor  # [S]
    bins: Tensor  # [S] of the free angle that differ; 0 where there is none
    pair: Tensor  # [2, P] (site, atom) within three bonds
    hops: Tensor  # [P]

    def slots(self, x: Tensor) -> Tensor:
        """`[H, ...] -> [S, SLOTS, ...]`, zeros where there is no hydrogen."""
        out = x.new_zeros(len(self.atom), SLOTS, *x.shape[1:])
        return out.index_put((self.site, self.slot), x)

    @property
    def filled(self) -> Tensor:
        """Which slots hold a hydrogen, `[S, SLOTS]`."""
        return torch.arange(SLOTS, device=self.protons.device) < self.protons[:, None]


def find_sites(data: Data) -> Sites:
    """The sites of a (batched) `MoleculeData` with `second [N]`: which atoms are hydrogens to be drawn.

    Raises:
        ValueError: an atom has more than SLOTS of them.
    """
    second, n = data.second, int(data.num_nodes or 0)
    row, col = data.edge_index
    leaf = second[row]
    hydrogen, order = row[leaf].sort()
    atom, site = torch.unique(col[leaf][order], return_inverse=True)
    count = torch.bincount(site, minlength=len(atom))
    if len(count) and int(count.max()) > SLOTS:
        raise ValueError(f"{int(count.max())} hydrogens at one atom; there is room for {SLOTS}")
    by_site = site.argsort(stable=True)
    slot = torch.empty_like(site)
    slot[by_site] = torch.arange(len(site), device=site.device) - (count.cumsum(0) - count)[site[by_site]]

    inside = ~(second[row] | second[col])
    row, col = row[inside], col[inside]
    pair, hops = within_bonds(torch.stack([row, col]), n, atom, BONDS)

    degree = torch.bincount(row, minlength=n)
    known = degree[atom]
    hybridization = data.x[atom, list(ATOM_FEATURES).index("hybridization")]
    planar = torch.where(data.z[atom] == 6, PLANAR_CARBON, PLANAR)
    shape = torch.where(hybridization == HYBRIDIZATIONS.index("SP2"), planar, OTHER)
    shape = torch.where(hybridization == HYBRIDIZATIONS.index("SP"), LINEAR, shape)
    case = known.clamp_max(3), count, shape
    free = FREE.to(atom.device)[case]
    length = LENGTHS.to(atom.device)[data.z[atom].clamp_max(len(LENGTHS) - 1)]
    return Sites(
        atom, hydrogen, site, slot, count, known, shape,
        TEMPLATES.to(atom.device)[case] * length[:, None, None],
        free,
        torch.where(free == FIXED, 0, torch.where((free == AZIMUTH) & (count == 3), BINS // 3, BINS)),
        pair, hops,
    )  # fmt: skip


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return unit


def _across(x: Tensor, axis: Tensor, otherwise: Tensor, least: float) -> Tensor:
    """The unit vector of x's part across the axis; of `otherwise`, then of any direction, where that is too short."""
    for candidate in (otherwise, x.new_tensor([1.0, 0.0, 0.0]).expand_as(x), x.new_tensor([0.0, 1.0, 0.0]).expand_as(x)):
        part = x - (x * axis).sum(-1, keepdim=True) * axis
        x = torch.where(part.norm(dim=-1, keepdim=True) > least, x, candidate)
        least = 1e-3 if least > 1e-3 else least
    return _unit(x - (x * axis).sum(-1, keepdim=True) * axis)


def _nearest(site: Tensor, distance: Tensor, count: int) -> Tensor:
    """Pairs by site and then by distance: the number of the first of each site, `[count]`, -1 where it has none."""
    order = distance.argsort(stable=True)
    order = order[site[order].argsort(stable=True)]
    have = torch.bincount(site, minlength=count)
    first = (have.cumsum(0) - have).clamp_max(max(len(order) - 1, 0))
    return torch.where(have > 0, order[first], -1) if len(order) else torch.full_like(have, -1)


def frames(sites: Sites, pos: Tensor, noise: Tensor) -> Tensor:
    """(e₁, e₂, e₃) as columns, `[S, 3, 3]`, right-handed: reference frames, at angle 0.

    Args:
        pos: `[N, 3]`, of which those of the hydrogens are not read.
        noise: `[S, 3]`, directions for what is degenerate.
    """
    s, count = sites.pair[0], len(sites.atom)
    offset = pos[sites.pair[1]] - pos[sites.atom[s]]
    distance = offset.norm(dim=1)
    bonded = sites.hops == 1
    total = scatter(_unit(offset[bonded]), s[bonded], 0, dim_size=count)
    zero = pos.new_zeros(1, 3)
    candidates = torch.cat([offset, zero])  # the last: none
    one = _nearest(s, torch.where(bonded, distance, torch.inf), count)
    rest = torch.where(bonded, distance, torch.inf).index_fill(0, one[one >= 0], torch.inf)
    two = _nearest(s, rest, count)
    first, second = candidates[torch.where(sites.known > 0, one, -1)], candidates[torch.where(sites.known > 1, two, -1)]
    normal = torch.linalg.cross(_unit(first), _unit(second))
    has_normal = normal.norm(dim=1, keepdim=True) > _FLAT

    flat = torch.where(has_normal, normal, _across(noise, _unit(first), noise, 0.0))
    axis = torch.where(total.norm(dim=1, keepdim=True) > _FLAT, -total, flat)
    axis = _unit(torch.where((sites.known == 0)[:, None], noise, axis))

    along = (offset * axis[s]).sum(1)
    aside = (distance.square() - along.square()).clamp_min(0).sqrt() > _CLOSE
    further = torch.where((sites.hops >= 2) & aside, distance, torch.inf)
    third = _nearest(s, further, count)
    third = torch.where(torch.isfinite(torch.cat([further, further.new_full((1,), torch.inf)])[third]), third, -1)
    reference = torch.where((sites.known == 1)[:, None], candidates[third], first)
    reference = torch.where((sites.known == 2)[:, None] & has_normal, normal, reference)
    e1 = _across(reference, axis, noise, 1e-3)
    return torch.stack([e1, torch.linalg.cross(axis, e1), axis], dim=-1)


def turned(frame: Tensor, free: Tensor, angle: Tensor) -> Tensor:
    """Frames with their free angle, `[S]`, put in: turned about e₃, or e₃ tilted towards e₁."""
    e1, e2, e3 = frame.unbind(-1)
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    azimuth = torch.stack([c * e1 + s * e2, c * e2 - s * e1, e3], dim=-1)
    tilt = torch.stack([c * e1 - s * e3, e2, c * e3 + s * e1], dim=-1)
    free = free[:, None, None]
    return torch.where(free == AZIMUTH, azimuth, torch.where(free == TILT, tilt, frame))


def fit(sites: Sites, frame: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The angle and the order that bring the template nearest to given hydrogens.

    Args:
        frame: from `frames`; lone sites (no other neighbour) get one from their hydrogens instead.
        offset: of each slot's hydrogen from the site, `[S, SLOTS, 3]`, 0 where there is none.

    Returns:
        (frames `[S, 3, 3]` at angle 0, angles `[S]`, offsets in the order of the template).
    """
    total, some = offset.sum(1), offset[:, 0]
    spread = total.norm(dim=1, keepdim=True) < _CLOSE
    axis = _unit(torch.where(spread, some, total))
    e1 = _across(torch.where(spread, offset[:, 1], some), axis, frame[..., 0], _FLAT)
    own = torch.stack([e1, torch.linalg.cross(axis, e1), axis], dim=-1)
    frame = torch.where((sites.known == 0)[:, None, None], own, frame)

    orders = ORDERS.to(offset.device)[sites.protons]  # [S, 6, SLOTS]
    index = orders[..., None].expand(-1, -1, -1, 3)
    ordered = offset[:, None].expand(-1, 6, -1, -1).gather(2, index)  # [S, 6, SLOTS, 3]
    local = ordered @ frame[:, None]
    template = sites.template[:, None]
    dot = (local[..., :2] * template[..., :2]).sum((-1, -2))
    cross = (template[..., 0] * local[..., 1] - template[..., 1] * local[..., 0]).sum(-1)
    azimuth = torch.atan2(cross, dot)
    free = sites.free[:, None]
    score = torch.where(free == AZIMUTH, torch.hypot(cross, dot), (local * template).sum((-1, -2)))
    best = score.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    tilt = torch.atan2(local[:, 0, 0, 0], local[:, 0, 0, 2])
    angle = torch.where(sites.free == AZIMUTH, azimuth[rows, best], torch.where(sites.free == TILT, tilt, 0.0))
    return frame, angle, ordered[rows, best]
