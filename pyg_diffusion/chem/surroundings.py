"""Lengths and angles by class: what surrounds a bond or an angle, the finest first, and the shapes of centres.

Values are means over GFN2-xTB minima of small and odd molecules (datasets/odd.py writes `ideal.json`); the shapes are those
of valence shell electron pair repulsion (Gillespie and Nyholm 1957).
"""

import json
from collections import deque
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from ..data.schema import BOND_ORDERS, BOND_TYPES
from ..data.store import Molecule
from .fragments import formal_charges

LARGEST_RING = 6  # that a class knows of
_MARK = {"single": "-", "conjugated": "-", "double": "=", "triple": "#", "aromatic": ":", "other": "?"}

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


def known(family: str, levels: Sequence[Sequence[str]]) -> Class | None:
    """The mean of the classes of the first level that the table ("bond" or "angle") has any of; None if it has none."""
    for names in levels:
        found = [_table()[family][name] for name in names if name in _table()[family]]
        if found:
            return Class(sum(c.mean for c in found) / len(found), max(c.spread for c in found))
    return None


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
