"""Lengths and angles by class, and conformers moved to them: for what a model cannot learn from a handful of molecules.

A class is what surrounds a bond or an angle, the finest first. Values are means over GFN2-xTB minima of small and odd
molecules (datasets/odd.py writes `ideal.json`); where no class is known, covalent radii and the shapes of valence shell
electron pair repulsion (Gillespie and Nyholm 1957) stand in.
"""

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import combinations, pairwise, permutations
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from scipy.sparse import csr_array, identity
from scipy.sparse.linalg import spsolve

from ..data.schema import BOND_ORDERS, BOND_TYPES
from ..data.store import Molecule
from .closed import radii_length
from .fragments import formal_charges

SMALL = 5  # heavy atoms; molecules of no more are moved as a whole
HALOGENS = (9, 17, 35, 53)
LARGEST_RING = 6  # that a class knows of
LOOSE_ANGLE = 6.0  # degrees; a class that varies by more says nothing
ROUNDS, DAMPING, STRIDE = 80, 1e-4, 0.3  # Å that a coordinate moves at most in one round
SETTLED = 1e-3  # Å; the largest move of the last round
DENSE = 40  # atoms; beyond, matrices are sparse
_MARK = {"single": "-", "conjugated": "-", "double": "=", "triple": "#", "aromatic": ":", "other": "?"}
_ELECTRONEGATIVITY = {9: 4.0, 8: 3.4, 7: 3.0, 17: 3.2, 35: 3.0, 53: 2.7, 6: 2.5, 1: 2.2}

_AXIS, _TURN = np.array([0.0, 0.0, 1.0]), np.radians([0, 120, 240])
_TRIANGLE = np.stack([np.cos(_TURN), np.sin(_TURN), 0 * _TURN], axis=1)
_BIPYRAMID = np.concatenate([[_AXIS, -_AXIS], _TRIANGLE])
_OCTAHEDRON = np.concatenate([[_AXIS, -_AXIS], np.eye(3)[:2], -np.eye(3)[:2]])
_FIVE = 2 * np.pi / 5 * np.arange(5)
_PENTAGONAL = np.concatenate([[_AXIS, -_AXIS], np.stack([np.cos(_FIVE), np.sin(_FIVE), 0 * _FIVE], axis=1)])


def _tilted(vertices: np.ndarray, degrees: float) -> np.ndarray:
    """Vertices moved towards +z, away from a lone pair, but the one that lies there."""
    moved = vertices + np.tan(np.radians(degrees)) * _AXIS * (vertices[:, 2:] < 0.9)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def _bent(degrees: float) -> np.ndarray:
    """The equatorial vertices of a seesaw and the two axial ones."""
    half = np.radians(degrees) / 2
    return np.array([_AXIS, -_AXIS, [np.cos(half), np.sin(half), 0], [np.cos(half), -np.sin(half), 0]])


# (electron pairs, neighbours) -> directions of the neighbours, the first two of a bipyramid axial.
SHAPES: dict[tuple[int, int], np.ndarray] = {
    (5, 2): _BIPYRAMID[:2],
    (5, 3): _BIPYRAMID[:3],
    (5, 4): _bent(102.0),
    (5, 5): _BIPYRAMID,
    (6, 4): _OCTAHEDRON[2:],
    (6, 5): _tilted(_OCTAHEDRON[[0, 2, 3, 4, 5]], 5.0),
    (6, 6): _OCTAHEDRON,
    (7, 6): _OCTAHEDRON,
    (7, 7): _PENTAGONAL,
}


class Class(NamedTuple):
    """Mean and standard deviation of the lengths (Å) or angles (degrees) of a class."""

    mean: float
    spread: float


@cache
def _table() -> dict[str, dict[str, Class]]:
    text = files(__package__).joinpath("ideal.json").read_text(encoding="utf-8")
    return {family: {name: Class(*row) for name, row in rows.items()} for family, rows in json.loads(text).items()}


class Surroundings:
    """The graph of a molecule as classes need it.

    Attributes:
        near: neighbours of every atom.
        mark: of the bond between two atoms, in both orders: "-", "=", "#", ":" or "?".
        full: element, charge, ring of three or four, and bonds of every atom, "O+(-H -H -H)"; short: the number of
            neighbours in place of the bonds, "Cr34".
        lone: lone pairs of every atom, -1 for transition metals.
    """

    def __init__(self, molecule: Molecule):
        table = Chem.GetPeriodicTable()
        self.z = [int(z) for z in molecule.z]
        self.symbol = [table.GetElementSymbol(z) if z else "*" for z in self.z]
        self.bonds = [(int(i), int(j)) for i, j in molecule.bond_index]
        self.kind = [BOND_TYPES[int(k)] for k in molecule.bond_type]
        self.near: list[list[int]] = [[] for _ in self.z]
        self.mark: dict[tuple[int, int], str] = {}
        order = [0.0] * len(self.z)
        for (i, j), kind in zip(self.bonds, self.kind, strict=True):
            self.near[i].append(j)
            self.near[j].append(i)
            self.mark[i, j] = self.mark[j, i] = _MARK[kind]
            for k in (i, j):
                order[k] += BOND_ORDERS.get(kind, 1.0)
        charge = formal_charges(molecule)
        named = [s + ("+" * c if c > 0 else "-" * -c) for s, c in zip(self.symbol, charge.tolist(), strict=True)]
        strained = [
            min((r for a, b in combinations(near, 2) if 0 < (r := self.ring(a, i, b)) < 5), default=0)
            for i, near in enumerate(self.near)
        ]
        ringed = [f"{name}{f'r{r}' if r else ''}" for name, r in zip(named, strained, strict=True)]
        self.short = [f"{name}{len(near)}" for name, near in zip(ringed, self.near, strict=True)]
        self.full = [
            f"{ringed[i]}({' '.join(sorted(self.mark[i, k] + named[k] for k in near))})" for i, near in enumerate(self.near)
        ]
        outer = [table.GetNOuterElecs(z) if z else 0 for z in self.z]
        metal = [21 <= z <= 30 or 39 <= z <= 48 or 57 <= z <= 80 or z >= 89 for z in self.z]
        self.lone = [
            -1 if metal[i] else max(0, int(outer[i] - charge[i] - order[i] + 0.01) // 2) for i in range(len(self.z))
        ]

    def ring(self, *path: int) -> int:
        """Size of the smallest ring of at most `LARGEST_RING` atoms that runs along a path of bonded atoms, 0 if none."""
        start, end, inside = path[0], path[-1], {*path[1:-1]}
        queue = deque([(start, len(path) - 1)])
        seen = {start}
        while queue:
            atom, length = queue.popleft()
            for k in self.near[atom]:
                if k == end and atom != path[-2] and not (len(path) == 2 and atom == start):
                    return length + 1 if length + 1 <= LARGEST_RING else 0
                if k not in seen and k not in inside and k != end and length + 1 < LARGEST_RING:
                    seen.add(k)
                    queue.append((k, length + 1))
        return 0

    def bond_classes(self, i: int, j: int) -> list[list[str]]:
        """Names of the classes of a bond, by level."""
        mark, ring = self.mark[i, j], f" r{self.ring(i, j)}"
        return [
            [mark.join(sorted((self.full[i], self.full[j]))) + ring],
            [self.full[i] + mark + self.short[j] + ring, self.full[j] + mark + self.short[i] + ring],
            [mark.join(sorted((self.short[i], self.short[j]))) + ring],
            [mark.join(sorted((self.short[i], self.short[j])))],
            [mark.join(sorted((self.symbol[i], self.symbol[j])))],
        ]

    def angle_classes(self, i: int, j: int, k: int) -> list[list[str]]:
        """Names of the classes of the angle at j, by level."""
        ring = f" r{self.ring(i, j, k)}"
        short, light = ("/".join(sorted(self.mark[j, e] + text[e] for e in (i, k))) for text in (self.short, self.symbol))
        return [
            [f"{self.full[j]} {short}{ring}"],
            [f"{self.full[j]} {light}{ring}"],
            [f"{self.short[j]} lone {self.lone[j]} {light}{ring}"],
            [f"{self.short[j]} lone {self.lone[j]}{ring}"],
        ]

    def shape(self, j: int) -> np.ndarray | None:
        """Directions of the neighbours of a centre with more than four electron pairs; None for others and in rings."""
        degree, lone = len(self.near[j]), self.lone[j]
        if any(self.ring(a, j, b) for a, b in combinations(self.near[j], 2)):
            return None
        return SHAPES[6, 6] if lone < 0 and degree == 6 else SHAPES.get((degree + lone, degree))

    def branch(self, j: int, k: int) -> list[int]:
        """The atoms beyond a bond j-k that is in no ring."""
        found, stack = {j, k}, [k]
        while stack:
            new = [m for m in self.near[stack.pop()] if m not in found]
            found.update(new)
            stack += new
        return sorted(found - {j})

    def cumulenes(self) -> list[list[int]]:
        """Chains of double bonds in a row, end atom to end atom."""
        inner = [len(n) == 2 and all(self.mark[i, k] == "=" for k in n) for i, n in enumerate(self.near)]
        chains = []
        for start, near in enumerate(self.near):
            for k in near:
                if inner[start] or self.mark[start, k] != "=" or not inner[k]:
                    continue
                chain = [start, k]
                while inner[chain[-1]]:
                    chain.append(next(m for m in self.near[chain[-1]] if m != chain[-2]))
                if start < chain[-1]:
                    chains.append(chain)
        return chains


def _known(family: str, levels: Sequence[Sequence[str]]) -> Class | None:
    for names in levels:
        found = [_table()[family][name] for name in names if name in _table()[family]]
        if found:
            return Class(sum(c.mean for c in found) / len(found), max(c.spread for c in found))
    return None


class Ideal:
    """Moves conformers of a molecule of one fragment to tabulated lengths and angles, by Gauss-Newton steps on distances.

    Where the model is not to be trusted: all over molecules of five heavy atoms and fewer (but rings of five) and those
    without carbon; in others at cumulated double bonds, triple bonds in a row, halogens with more than one neighbour, atoms
    with more than four electron pairs or of elements that the model never saw, and at what is bound to these. The rest keeps
    its shape.

    Args:
        molecule: its graph.
        elements: that the model knows.
        kept: of every atom whether it stays where it is.

    Attributes:
        atoms: where values are tabulated ones, in ascending order; empty if nowhere.
    """

    def __init__(self, molecule: Molecule, elements: Collection[int], kept: np.ndarray | None = None):
        self.free = np.ones(len(molecule.z)) if kept is None else np.where(kept, 0.0, 1.0)
        self.around = around = Surroundings(molecule)
        odd = {i for i in range(len(around.z)) if self._beyond(i, elements)}.union(*around.cumulenes())
        odd = odd.union(*(around.near[i] for i in odd))
        few = sum(z > 1 for z in around.z) <= SMALL and all(around.ring(*bond) != 5 for bond in around.bonds)
        small = few or 6 not in around.z
        self.atoms = list(range(len(around.z))) if small else sorted(odd)
        touched = {*self.atoms} if around.bonds else set()
        self.shapes = {j: shape for j in touched if (shape := around.shape(j)) is not None}
        self.lengths = [
            self._length(i, j, kind) if i in touched or j in touched else None
            for (i, j), kind in zip(around.bonds, around.kind, strict=True)
        ]
        self.angles = [
            row
            for j in (range(len(around.z)) if touched else ())
            if j not in self.shapes
            for row in self._angles_at(j, j in touched)
        ]

    def _beyond(self, i: int, elements: Collection[int]) -> bool:
        around = self.around
        marks = [around.mark[i, k] for k in around.near[i]]
        if around.z[i] not in elements:
            return True
        if len(marks) > 4 or (len(marks) > 1 and (around.lone[i] + len(marks) > 4 or around.z[i] in HALOGENS)):
            return True
        chained = any(around.mark[k, m] == "#" for k in around.near[i] for m in around.near[k] if m != i)
        return len(marks) <= 2 and "#" in marks and chained

    def _length(self, i: int, j: int, kind: str) -> float:
        found = _known("bond", self.around.bond_classes(i, j))
        return radii_length(self.around.z[i], self.around.z[j], kind) if found is None else found.mean

    def _angles_at(self, j: int, tabulated: bool) -> list[tuple[int, int, int, float | None]]:
        rows = [(i, j, k, self._angle(i, j, k) if tabulated else None) for i, k in combinations(self.around.near[j], 2)]
        known = [degrees for *_, degrees in rows if degrees is not None]
        if len(self.around.near[j]) == len(known) == 3 and not self.around.lone[j]:  # classes one by one miss the plane
            rows = [(i, j, k, degrees and degrees * 360 / sum(known)) for i, j, k, degrees in rows]
        return rows

    def _angle(self, i: int, j: int, k: int) -> float | None:
        """Degrees; None where the class does not say."""
        around = self.around
        if around.ring(i, j, k) == 3:
            return None
        found = _known("angle", around.angle_classes(i, j, k))
        if found is not None:
            return found.mean if found.spread <= LOOSE_ANGLE else None
        lone, heavy = around.lone[j], around.z[j] > 10
        if around.ring(i, j, k) or lone < 0:
            return None
        usual = {(2, 0): 180.0, (3, 0): 120.0, (3, 1): 116.0, (4, 0): 109.5, (4, 1): 97.0 if heavy else 106.0}
        usual[4, 2] = 95.0 if heavy else 104.5
        return usual.get((len(around.near[j]) + lone, lone))

    def __call__(self, pos: np.ndarray) -> np.ndarray:
        """Coordinates `[N, 3]` moved."""
        given, pos = pos, np.array(pos, dtype=float)
        if not self.atoms or not self.around.bonds or not np.isfinite(pos).all():
            return given
        x = pos - pos.mean(0)
        if self.free.all():
            for j, shape in self.shapes.items():
                x = self._arranged(x, j, shape)
        pairs, target, weight = self._distances(x)
        for _ in range(ROUNDS):
            step = _step(x, pairs, target, weight, self.free)
            x = x + step * min(1.0, STRIDE / max(float(np.abs(step).max()), 1e-9))
            if np.abs(step).max() < SETTLED:
                break
        return (x + pos.mean(0)).astype(given.dtype)

    def _distances(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs `[T, 2]`, their distances and how much each counts: bonds most, what is not tabulated as it is."""
        length = {}
        rows: list[tuple[int, int, float, float]] = []
        for (i, j), value in zip(self.around.bonds, self.lengths, strict=True):
            own = float(np.linalg.norm(pos[i] - pos[j]))
            length[i, j] = length[j, i] = own if value is None else value
            rows.append((i, j, length[i, j], 1.0))
        for i, j, k, degrees in self.angles:
            if degrees is None:
                if j in self.around.near[i] and self.around.ring(i, j, k) == 3:
                    continue
                u, v = pos[i] - pos[j], pos[k] - pos[j]
                cosine = float(u @ v / max(np.linalg.norm(u) * np.linalg.norm(v), 1e-9))
            else:
                cosine = float(np.cos(np.radians(degrees)))
            a, b = length[i, j], length[j, k]
            rows.append((i, k, float(np.sqrt(max(a * a + b * b - 2 * a * b * cosine, 0.01))), 0.3 if degrees else 0.1))
        for j, shape in self.shapes.items():
            near = self.around.near[j]
            order = self._placed(j, pos, shape)
            for (a, u), (b, v) in combinations(zip(near, shape[list(order)], strict=True), 2):
                p, q = length[j, a], length[j, b]
                rows.append((a, b, float(np.sqrt(p * p + q * q - 2 * p * q * float(u @ v))), 0.5))
        table = np.array([*rows, *self._planes(pos, length)])
        return table[:, :2].astype(int), table[:, 2], table[:, 3]

    def _arranged(self, x: np.ndarray, j: int, shape: np.ndarray) -> np.ndarray:
        """What is bound to a centre turned about it, each branch as a whole, until it stands at its vertex."""
        near = self.around.near[j]
        arms = x[near] - x[j]
        arms /= np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
        wanted = shape[list(self._placed(j, x, shape))]
        u, _, vt = np.linalg.svd(arms.T @ wanted)
        wanted = wanted @ (u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt).T
        x = x.copy()
        for k, old, new in zip(near, arms, wanted, strict=True):
            branch = self.around.branch(j, k)
            turned = (x[branch] - x[k]) @ _turn(old, new).T
            length = max(float(np.linalg.norm(x[k] - x[j])), 1.0)  # not on one another
            x[branch] = turned + x[j] + length * new
        return x

    def _placed(self, j: int, pos: np.ndarray, shape: np.ndarray) -> tuple[int, ...]:
        """Which neighbour goes to which vertex: in bipyramids the most electronegative to the axis, then as they lie."""
        near = self.around.near[j]
        arms = pos[near] - pos[j]
        arms /= np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
        cosines, wanted = arms @ arms.T, shape @ shape.T
        pull = [_ELECTRONEGATIVITY.get(self.around.z[k], 2.0) - 2.0 * (self.around.mark[j, k] == "=") for k in near]
        axial = len(near) + self.around.lone[j] == 5 and len(near) > 2

        def cost(order: tuple[int, ...]) -> float:
            put = list(order)
            off = float(((cosines - wanted[np.ix_(put, put)]) ** 2).sum())
            return off - (100.0 * sum(pull[n] for n, vertex in enumerate(put) if vertex < 2) if axial else 0.0)

        return min(permutations(range(len(near))), key=cost)

    def _planes(self, pos: np.ndarray, length: dict[tuple[int, int], float]) -> Iterator[tuple[int, int, float, float]]:
        """Distances across double bonds and cumulenes between tabulated atoms: in one plane, or perpendicular."""
        around, touched = self.around, {*self.atoms}
        double = [[i, j] for (i, j), kind in zip(around.bonds, around.kind, strict=True) if kind == "double"]
        double = [chain for chain in double if touched.issuperset(chain) and not around.ring(*chain)]
        inner = {k for chain in around.cumulenes() for k in chain[1:-1]}
        for chain in [*(c for c in double if not inner.intersection(c)), *around.cumulenes()]:
            span = sum(length[bond] for bond in pairwise(chain))
            sides = []
            for end, nxt in ((chain[0], chain[1]), (chain[-1], chain[-2])):
                own = {(i, k): d for i, j, k, d in self.angles if j == end and d is not None and nxt in (i, k)}
                own |= {(k, i): d for (i, k), d in own.items()}
                sides.append([(k, own[nxt, k], length[end, k]) for k in around.near[end] if k != nxt and (nxt, k) in own])
            across = len(chain) % 2 == 1
            yield from _across(pos, (chain[0], chain[-1]), sides, span, across)


def _across(
    pos: np.ndarray, ends: tuple[int, int], sides: list[list[tuple[int, float, float]]], span: float, across: bool
) -> Iterator[tuple[int, int, float, float]]:
    """Distances over an axis of length `span` between what stands at its ends: (atom, angle to it, bond length) each."""
    axis = pos[ends[1]] - pos[ends[0]]
    arms = [
        [np.cross(axis, pos[k] - pos[end]) * (-1) ** n for n, (k, *_) in enumerate(side)]
        for end, side in zip(ends, sides, strict=True)
    ]
    first = 0.0 if across else float(np.sign(sum(u @ v for u in arms[0] for v in arms[1]))) or 1.0
    for p, (a, angle, near) in enumerate(sides[0]):
        for q, (b, other, far) in enumerate(sides[1]):
            along = span - near * np.cos(np.radians(angle)) - far * np.cos(np.radians(other))
            h, k = near * np.sin(np.radians(angle)), far * np.sin(np.radians(other))
            yield a, b, float(np.sqrt(along**2 + h * h + k * k - 2 * h * k * first * (-1) ** (p + q))), 0.3


def _turn(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The shortest rotation of one unit vector to another, `[3, 3]`."""
    axis, cosine = np.cross(old, new), float(old @ new)
    if cosine < -0.9999:  # about any axis across
        across = np.cross(old, np.eye(3)[np.abs(old).argmin()])
        across /= np.linalg.norm(across)
        return 2 * np.outer(across, across) - np.eye(3)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def _step(x: np.ndarray, pairs: np.ndarray, target: np.ndarray, weight: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The damped Gauss-Newton step of Σ w² (|x_i - x_j| - d)², `[N, 3]`."""
    i, j = pairs.T
    apart = x[i] - x[j]
    distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-3)
    unit = apart * (weight / distance)[:, None]
    row = np.repeat(np.arange(len(pairs)), 3)
    column = (3 * np.stack([i, j])[:, :, None] + np.arange(3)).reshape(2, -1)
    values = np.stack([unit * free[i, None], -unit * free[j, None]]).reshape(2, -1)
    residual = weight * (distance - target)
    if len(x) > DENSE:
        jacobian = csr_array((values.ravel(), (np.tile(row, 2), column.ravel())), shape=(len(pairs), x.size))
        matrix = jacobian.T @ jacobian + DAMPING * identity(x.size, format="csr")
        return -spsolve(matrix.tocsc(), jacobian.T @ residual).reshape(-1, 3)
    dense = np.zeros((len(pairs), x.size))
    dense[row, column[0]], dense[row, column[1]] = values
    return -np.linalg.solve(dense.T @ dense + DAMPING * np.eye(x.size), dense.T @ residual).reshape(-1, 3)
