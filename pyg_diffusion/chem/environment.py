"""The local geometry of a molecule by class: bonds, angles, heights, twists, rings and near pairs, and what each is called.

A class names the surroundings of a term, the finest first: of a bond the full types of its ends, its kind and ring, then
less and less of them. `soundness` looks bounds up by class, benchmarks/gate_bounds.py measures them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem

from ..data.schema import ATOM_FEATURES, BOND_ORDERS, BOND_TYPES, HYBRIDIZATIONS
from ..data.store import Molecule

LARGEST_RING = 9  # larger rings are no classes of their own: they bend as chains do
_MARK = {"single": "-", "conjugated": "~", "double": "=", "triple": "#", "aromatic": ":", "other": "?"}
_KIND = dict(enumerate(["s", "1", "2", "3", "d", "x"]))
assert len(_KIND) == len(HYBRIDIZATIONS) + 1


@dataclass
class Terms:
    """Terms of one family: atoms `[T, a]` and, for each, the names of its classes, the finest first."""

    atoms: list[tuple[int, ...]] = field(default_factory=list)
    classes: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, atoms: tuple[int, ...], *classes: str) -> None:
        self.atoms.append(atoms)
        self.classes.append(classes)


class Environment:
    """The graph of a molecule as the terms need it.

    Attributes:
        near: neighbours of every atom.
        kind: name of the bond between two atoms, in both orders, of `schema.BOND_TYPES`.
        symbol: of every atom.
        short, full: the type of every atom: element, neighbours and hybridisation, "C3:2"; and the multiple bonds it has,
            "C3:2=O".
        ring: size of the smallest ring of every atom, 0 without one of at most `LARGEST_RING`.
    """

    def __init__(self, molecule: Molecule):
        self.molecule = molecule
        self.z = [int(z) for z in molecule.z]
        count = len(self.z)
        table = Chem.GetPeriodicTable()
        self.symbol = [table.GetElementSymbol(z) if z else "*" for z in self.z]
        column = {name: molecule.x[:, k].tolist() for k, name in enumerate(ATOM_FEATURES)}
        self.charge = [c - 2 for c in column["charge"]]
        self.aromatic = [bool(a) for a in column["aromatic"]]
        self.hybridization = column["hybridization"]
        self.bonds = [(int(i), int(j)) for i, j in molecule.bond_index]
        self.near: list[list[int]] = [[] for _ in range(count)]
        self.kind: dict[tuple[int, int], str] = {}
        for (i, j), kind in zip(self.bonds, molecule.bond_type.tolist(), strict=True):
            self.near[i].append(j)
            self.near[j].append(i)
            self.kind[i, j] = self.kind[j, i] = BOND_TYPES[kind]
        self.short = [
            f"{s}{len(n)}" if s == "H" else f"{s}{len(n)}:{'a' if a else _KIND[h]}"
            for s, n, a, h in zip(self.symbol, self.near, self.aromatic, self.hybridization, strict=True)
        ]
        self.full = [self.short[i] + self._multiple(i) for i in range(count)]
        self._core = self._without_leaves()
        self.bond_ring = [len(self._path(i, j)) if self._core[i] and self._core[j] else 0 for i, j in self.bonds]
        self._cyclic = {
            ends: size for (i, j), size in zip(self.bonds, self.bond_ring, strict=True) for ends in ((i, j), (j, i))
        }
        self._angle_rings: dict[tuple[int, int, int], int] = {}
        self.ring = [0] * count
        for bond, size in zip(self.bonds, self.bond_ring, strict=True):
            for atom in bond if size else ():
                self.ring[atom] = min(size, self.ring[atom] or size)

    def _multiple(self, i: int) -> str:
        kinds = [(self.kind[i, k], self.symbol[k]) for k in self.near[i]]
        return "".join(sorted(_MARK[kind] + symbol for kind, symbol in kinds if kind in ("double", "triple")))

    def _without_leaves(self) -> list[bool]:
        """Whether an atom is left when atoms with one neighbour are taken away again and again: no other is in a ring."""
        degree = [len(n) for n in self.near]
        leaves = [i for i, d in enumerate(degree) if d < 2]
        while leaves:
            i = leaves.pop()
            degree[i] = 0
            for k in self.near[i]:
                if degree[k] > 0:
                    degree[k] -= 1
                    if degree[k] == 1:
                        leaves.append(k)
        return [d > 1 for d in degree]

    def _path(self, start: int, end: int, without: Sequence[int] = (), longest: int = LARGEST_RING - 1) -> list[int]:
        """The shortest path of at most `longest` bonds, both ends in it, not the bond between them. [] if none."""
        before = {start: -1, **dict.fromkeys(without, -1)}
        queue = deque([(start, 0)])
        while queue:
            atom, length = queue.popleft()
            if length == longest:
                return []
            for k in self.near[atom]:
                if k in before or not self._core[k] or (atom == start and k == end):
                    continue
                before[k] = atom
                if k == end:
                    path = [k]
                    while path[-1] != start:
                        path.append(before[path[-1]])
                    return path[::-1]
                queue.append((k, length + 1))
        return []

    def _angle_ring(self, i: int, j: int, k: int) -> int:
        """Size of the smallest ring through an angle i-j-k, 0 without one."""
        key = (min(i, k), j, max(i, k))
        if key not in self._angle_rings:
            inside = self._cyclic.get((i, j), 0) and self._cyclic.get((j, k), 0)
            if inside and (i, k) in self.kind:
                size = 3
            else:
                path = self._path(i, k, [j], LARGEST_RING - 2) if inside else []
                size = len(path) + 1 if path else 0
            self._angle_rings[key] = size
        return self._angle_rings[key]

    def cyclic(self, i: int, j: int) -> bool:
        """Whether the bond i-j is in a ring."""
        return self._cyclic[i, j] > 0

    def in_ring(self, i: int, j: int, k: int) -> bool:
        """Whether the angle i-j-k is in a ring."""
        return self._angle_ring(i, j, k) > 0

    def bond_terms(self) -> Terms:
        """Lengths of the bonds."""
        terms = Terms()
        for (i, j), size in zip(self.bonds, self.bond_ring, strict=True):
            mark, small = _MARK[self.kind[i, j]], size if size < 7 else 0
            short = mark.join(sorted((self.short[i], self.short[j])))
            full = mark.join(sorted((self.full[i], self.full[j])))
            elements = mark.join(sorted((self.symbol[i], self.symbol[j])))
            terms.add((i, j), f"{full} r{small}", full, f"{short} r{small}", short, f"{elements} r{small}", elements)
        return terms

    def angle_terms(self) -> Terms:
        """Angles i-j-k at j, also those in rings."""
        terms = Terms()
        for j, near in enumerate(self.near):
            if len(near) > 4:  # a polyhedron
                continue
            kind = f"{self.short[j].partition(':')[2]}{len(near)}"
            for a, i in enumerate(near):
                for k in near[a + 1 :]:
                    size = self._angle_ring(i, j, k)
                    ends = "/".join(sorted(_MARK[self.kind[j, e]] + self.short[e] for e in (i, k)))
                    light = "/".join(sorted(self.symbol[e] for e in (i, k)))
                    where = f"r{size} in r{self.ring[j]}"
                    terms.add(
                        (i, j, k),
                        f"{self.full[j]} {ends} {where}",
                        f"{self.short[j]} {light} {where}",
                        f"{self.short[j]} {where}",
                        f"{kind} {where}",
                        f"{kind} r{size}",
                    )
        return terms

    def height_terms(self) -> Terms:
        """Heights of atoms with three neighbours above the plane of these."""
        terms = Terms()
        for j, near in enumerate(self.near):
            if len(near) == 3:
                rings = sum(self._angle_ring(a, j, b) > 0 for a, b in pairs_of(near))
                where = f"r{self.ring[j]} x{rings}"
                terms.add((j, *near), f"{self.full[j]} {where}", f"{self.short[j]} {where}", self.short[j])
        return terms

    def twist_terms(self) -> Terms:
        """Twists of double and aromatic bonds, and of those from an acyl group to N or O.

        The twist is the angle about the axis i-j between the lines through the neighbours of i and through those of j, where
        one has but one neighbour the line from it to that: 0 in a plane, whatever the heights of i and j. Other conjugated
        bonds turn: dienes, biaryls, anilines.
        """
        terms = Terms()
        for (i, j), size in zip(self.bonds, self.bond_ring, strict=True):
            kind = self.kind[i, j]
            sides = [[k for k in self.near[a] if k != b] for a, b in ((i, j), (j, i))]
            annulene = kind == "aromatic" and not 0 < size <= 7  # a large ring that counts as aromatic may fold
            linear = any(self.short[k].endswith(":1") for k in (i, j))
            if kind not in ("conjugated", "double", "aromatic") or annulene or linear:
                continue
            if not all(1 <= len(side) <= 2 for side in sides):
                continue
            ends = [side if len(side) == 2 else [side[0], axis] for side, axis in zip(sides, (i, j), strict=True)]
            atoms, mark = (i, j, *ends[0], *ends[1]), _MARK[kind]
            if kind == "conjugated":
                classes = self._acyl(i, j, sides[1], size) or self._acyl(j, i, sides[0], size)
                if classes:
                    terms.add(atoms, *classes)
            else:
                short = mark.join(sorted((self.short[i], self.short[j])))
                full = mark.join(sorted((self.full[i], self.full[j])))
                terms.add(atoms, f"{full} r{size}", f"{short} r{size}", f"{mark} r{size}")
        return terms

    def _acyl(self, carbon: int, other: int, beyond: Sequence[int], size: int) -> tuple[str, ...]:
        """Classes of the twist from an acyl carbon to N or O, () for other bonds; a ring of 3 at N takes its plane away."""
        if self.symbol[carbon] != "C" or self.full[carbon][4:] not in ("=O", "=S") or self.symbol[other] not in ("N", "O"):
            return ()
        ends = ",".join(sorted(self.symbol[k] + str(len(self.near[k])) for k in beyond))
        small = f" in r{self.ring[other]}" if 0 < self.ring[other] < 5 else ""
        pair = f"{self.full[carbon]}~{self.short[other]}"
        return (f"{pair}({ends}){small} r{size}", f"{pair}{small} r{size}", f"acyl~{self.symbol[other]}{small} r{size}")

    def terms(self) -> dict[str, Terms]:
        """All families that `MEASURES` knows."""
        return {
            "bond": self.bond_terms(),
            "angle": self.angle_terms(),
            "height": self.height_terms(),
            "twist": self.twist_terms(),
        }

    def ring_terms(self) -> list[tuple[int, ...]]:
        """Aromatic rings of at most 7 atoms, in order around the ring."""
        found: dict[frozenset[int], tuple[int, ...]] = {}
        for (i, j), size in zip(self.bonds, self.bond_ring, strict=True):
            if 0 < size <= 7 and self.kind[i, j] == "aromatic":
                path = self._path(i, j)
                if all(self.aromatic[k] for k in path):
                    found.setdefault(frozenset(path), tuple(path))
        return list(found.values())

    def cumulenes(self) -> list[tuple[int, ...]]:
        """Chains of two or more double bonds in a row with carbons between, end atom to end atom."""
        double = [[k for k in near if self.kind[i, k] == "double"] for i, near in enumerate(self.near)]
        inner = [len(d) == len(n) == 2 and s == "C" for d, n, s in zip(double, self.near, self.symbol, strict=True)]
        chains = []
        for start in range(len(self.near)):
            for nxt in double[start] if not inner[start] else ():
                chain = [start, nxt]
                while inner[chain[-1]]:
                    chain.append(next(k for k in double[chain[-1]] if k != chain[-2]))
                if len(chain) > 2 and start < chain[-1]:
                    chains.append(tuple(chain))
        return chains

    def bonds_apart(self, most: int) -> np.ndarray:
        """How many bonds lie between two atoms, `[N, N]`; `most + 1` for more than `most` and for fragments."""
        count = len(self.z)
        adjacent = np.zeros((count, count), np.float32)
        if self.bonds:
            i, j = np.array(self.bonds).T
            adjacent[i, j] = adjacent[j, i] = 1
        apart = np.where(np.eye(count, dtype=bool), 0, most + 1)
        reached = np.eye(count, dtype=np.float32)
        for length in range(1, most + 1):
            reached = ((reached + reached @ adjacent) > 0).astype(np.float32)
            apart = np.where((reached > 0) & (apart > length), length, apart)
        return apart

    def fragments(self) -> np.ndarray:
        """Index of the fragment of every atom, `[N]`."""
        label = np.full(len(self.z), -1)
        for start in range(len(self.z)):
            stack = [start] if label[start] < 0 else []
            label[stack] = start
            while stack:
                for k in self.near[stack.pop()]:
                    if label[k] < 0:
                        label[k] = start
                        stack.append(k)
        return label

    def lone_pairs(self, i: int) -> int:
        """Of an atom of the main groups, by its valence electrons, charge and bond orders; -1 of others."""
        outer = Chem.GetPeriodicTable().GetNOuterElecs(self.z[i]) if self.z[i] else 0
        if not outer or 20 < self.z[i] < 31 or 38 < self.z[i] < 49 or 56 < self.z[i] < 81 or self.z[i] > 87:
            return -1
        orders = sum(BOND_ORDERS.get(self.kind[i, k], 1.0) for k in self.near[i])
        return max(0, int(outer - self.charge[i] - orders) // 2)


def pairs_of(items: Sequence[int]) -> list[tuple[int, int]]:
    """Every two of them."""
    return [(a, b) for k, a in enumerate(items) for b in items[k + 1 :]]


def lengths(pos: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Distances in Å: positions `[K, N, 3]`, atoms `[T, 2]` -> `[K, T]`."""
    return np.linalg.norm(pos[:, atoms[:, 0]] - pos[:, atoms[:, 1]], axis=-1)


def angles(pos: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Angles at the middle atom in degrees: atoms `[T, 3]` -> `[K, T]`."""
    u, v = pos[:, atoms[:, 0]] - pos[:, atoms[:, 1]], pos[:, atoms[:, 2]] - pos[:, atoms[:, 1]]
    # atan2 rather than arccos: accurate at 180 degrees too
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1)))


def heights(pos: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Distances of the first atom from the plane of the three others in Å: atoms `[T, 4]` -> `[K, T]`."""
    centre, a, b, c = (pos[:, atoms[:, k]] for k in range(4))
    normal = np.cross(b - a, c - a)
    return np.abs(((centre - a) * normal).sum(-1)) / np.maximum(np.linalg.norm(normal, axis=-1), 1e-9)


def twists(pos: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Angles between two lines about an axis in degrees, 0 to 90: atoms (i, j, a, b, c, d) `[T, 6]` -> `[K, T]`."""
    i, j, a, b, c, d = (pos[:, atoms[:, k]] for k in range(6))
    axis = (j - i) / np.maximum(np.linalg.norm(j - i, axis=-1, keepdims=True), 1e-9)
    u, v = ((w - (w * axis).sum(-1, keepdims=True) * axis) for w in (a - b, c - d))
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), np.abs((u * v).sum(-1))))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "bond": lengths,
    "angle": angles,
    "height": heights,
    "twist": twists,
}


def out_of_plane(pos: np.ndarray, ring: Sequence[int]) -> np.ndarray:
    """Largest distance of an atom from the least-squares plane of all in Å: `[K, N, 3]` -> `[K]`."""
    x = pos[:, list(ring)]
    x = x - x.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(x.swapaxes(1, 2) @ x)
    return np.abs((x @ axes[..., :1])[..., 0]).max(-1)


def ring_class(environment: Environment, ring: Sequence[int]) -> str:
    """Class of an aromatic ring: its size, and how many of its atoms belong to other rings too."""
    shared = sum(sum(environment.cyclic(i, k) for k in environment.near[i]) > 2 for i in ring)
    return f"{len(ring)} x{shared}"


def near_pairs(environment: Environment) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one fragment three bonds apart and farther, `[P, 2]`, and the name of the class of each, `[P]`.

    The class is the elements, and how far they are apart: 3, 4, or 5 for all beyond.
    """
    apart, fragment = environment.bonds_apart(4), environment.fragments()
    i, j = np.nonzero(np.triu((apart > 2) & (fragment[:, None] == fragment), 1))
    symbols, element = np.unique(environment.symbol, return_inverse=True)
    light, heavy = np.sort(np.stack([element[i], element[j]]), axis=0)
    names = np.array([[[f"{a}/{b} {d}" for d in range(6)] for b in symbols] for a in symbols])
    return np.stack([i, j], axis=1), names[light, heavy, apart[i, j]]
