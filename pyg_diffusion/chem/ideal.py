"""Conformers moved to tabulated lengths and angles (`surroundings`): where a model has seen too little to be trusted.

Where no class is known, covalent radii and the usual angles of valence shell electron pair repulsion stand in.
"""

from collections.abc import Collection, Iterator
from itertools import combinations, pairwise, permutations
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, identity
from scipy.sparse.linalg import spsolve

from ..data.store import Molecule
from .closed import radii_length
from .surroundings import Surroundings, known

SMALL = 5  # heavy atoms; molecules of no more are moved as a whole
HALOGENS = (9, 17, 35, 53)
LOOSE_ANGLE, VAGUE_ANGLE = 6.0, 15.0  # degrees; a class that varies by more says little, nothing
BOND, ANGLE, SHAPE, VAGUE = 1.0, 0.3, 0.5, 0.1  # how much distances count
ROUNDS, DAMPING, STRIDE = 80, 1e-4, 0.3  # Å that a coordinate moves at most in one round
SETTLED = 1e-3  # Å; the largest move of the last round
DENSE = 40  # atoms; beyond, matrices are sparse
_ELECTRONEGATIVITY = {9: 4.0, 8: 3.4, 7: 3.0, 17: 3.2, 35: 3.0, 53: 2.7, 6: 2.5, 1: 2.2}


class _Angle(NamedTuple):
    """The angle i-j-k: degrees, None where it is as drawn, and how much it counts."""

    i: int
    j: int
    k: int
    degrees: float | None = None
    weight: float = VAGUE


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
        found = known("bond", self.around.bond_classes(i, j))
        return radii_length(self.around.z[i], self.around.z[j], kind) if found is None else found.mean

    def _angles_at(self, j: int, tabulated: bool) -> list[_Angle]:
        near = self.around.near[j]
        rows = [self._angle(i, j, k) if tabulated else _Angle(i, j, k) for i, k in combinations(near, 2)]
        found = [row.degrees for row in rows if row.degrees is not None]
        if len(near) == len(found) == 3 and not self.around.lone[j]:  # classes one by one miss the plane
            rows = [row._replace(degrees=degrees * 360 / sum(found)) for row, degrees in zip(rows, found, strict=True)]
        return rows

    def _angle(self, i: int, j: int, k: int) -> _Angle:
        around = self.around
        if around.ring(i, j, k) == 3:
            return _Angle(i, j, k)
        found = known("angle", around.angle_classes(i, j, k))
        if found is not None:
            if found.spread > VAGUE_ANGLE:
                return _Angle(i, j, k)
            return _Angle(i, j, k, found.mean, ANGLE if found.spread <= LOOSE_ANGLE else VAGUE)
        lone, heavy = around.lone[j], around.z[j] > 10
        if around.ring(i, j, k) or lone < 0:
            return _Angle(i, j, k)
        usual = {(2, 0): 180.0, (3, 0): 120.0, (3, 1): 116.0, (4, 0): 109.5, (4, 1): 97.0 if heavy else 106.0}
        usual[4, 2] = 95.0 if heavy else 104.5
        return _Angle(i, j, k, usual.get((len(around.near[j]) + lone, lone)), ANGLE)

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
            rows.append((i, j, length[i, j], BOND))
        for i, j, k, degrees, counts in self.angles:
            if degrees is None:
                if j in self.around.near[i] and self.around.ring(i, j, k) == 3:
                    continue
                u, v = pos[i] - pos[j], pos[k] - pos[j]
                cosine = float(u @ v / max(np.linalg.norm(u) * np.linalg.norm(v), 1e-9))
            else:
                cosine = float(np.cos(np.radians(degrees)))
            a, b = length[i, j], length[j, k]
            rows.append((i, k, float(np.sqrt(max(a * a + b * b - 2 * a * b * cosine, 0.01))), counts))
        for j, shape in self.shapes.items():
            near = self.around.near[j]
            order = self._placed(j, pos, shape)
            for (a, u), (b, v) in combinations(zip(near, shape[list(order)], strict=True), 2):
                p, q = length[j, a], length[j, b]
                rows.append((a, b, float(np.sqrt(p * p + q * q - 2 * p * q * float(u @ v))), SHAPE))
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
                own = {(i, k): d for i, j, k, d, _ in self.angles if j == end and d is not None and nxt in (i, k)}
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
            yield a, b, float(np.sqrt(along**2 + h * h + k * k - 2 * h * k * first * (-1) ** (p + q))), ANGLE


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
