"""The gate: is a geometry one that the molecule can have? Lengths, angles, planes, cumulenes, polyhedra, contacts.

Bounds are those of training conformers by class of the surroundings (`environment`; `bounds.json`, which
benchmarks/gate_bounds.py measures), the finest class that was seen often enough. For what was never seen: covalent radii,
the number of electron pairs, van der Waals radii. Small molecules and those of rare elements, of which the classes know
little, may have the tabulated lengths and angles (`surroundings`) in any case.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from ..data.schema import BOND_ORDERS, COVALENT_RADII
from ..data.store import Molecule
from .environment import MEASURES, Environment, angles, lengths, near_pairs, out_of_plane, pairs_of, ring_class, twists
from .surroundings import Class, Surroundings, known

BOUNDS = Path(__file__).parent / "bounds.json"
FAMILIES = ("bond", "angle", "height", "twist", "ring", "contact")  # of `bounds.json`
# What a fault counts as one step of: two geometries are compared by their sums. Å, degrees.
STEP = {"bond": 0.1, "angle": 10.0, "height": 0.1, "twist": 15.0, "ring": 0.1, "contact": 0.3}
KINDS = ("bond length", "bond angle", "plane", "cumulene", "polyhedron", "contact", "not finite")
_KIND = {"bond": "bond length", "angle": "bond angle", "height": "plane", "twist": "plane", "contact": "contact"}

FEW = 5  # heavy atoms
ORDINARY = {1, 6, 7, 8, 9, 15, 16, 17, 35, 53}
TABULATED = {"bond": 0.04, "angle": 6.0}  # Å, degrees; about a tabulated value

CLASH_FACTOR = 0.6  # of the sum of the van der Waals radii
NO_PLANE = 75.0  # degrees; a class that was seen twisted by more has no plane
TWIST = 40.0  # degrees; of double and aromatic bonds of unknown class
SOFT = (90.0, 180.0)  # degrees; at the nitrogen of HN=C=O and its like
RING_WARP = 0.25  # Å out of the plane, of rings of unknown class: the bound of PoseBusters (Buttenschoen et al. 2024)
CUMULENE, CUMULENE_SOFT = 25.0, 45.0  # degrees; soft: in a small ring, or ending in a nitrogen with one substituent
POLYHEDRON, POLYHEDRON_CHELATE = 20.0, 30.0  # degrees; with a ring at the centre

# Lengths of diatomic molecules in Å that additive radii miss by more than 4 %, by elements and bond order.
# Huber and Herzberg 1979, Constants of Diatomic Molecules; hydrogen halides for completeness.
DIATOMIC = {
    (1, 1, 1.0): 0.741,
    (1, 8, 1.0): 0.964,
    (1, 9, 1.0): 0.917,
    (1, 17, 1.0): 1.275,
    (1, 35, 1.0): 1.414,
    (1, 53, 1.0): 1.609,
    (8, 8, 2.0): 1.208,
    (9, 9, 1.0): 1.412,
}

# (electron pairs, neighbours) -> the angles of the shapes there are, in ascending order. A lone pair takes a place of its
# own and bends its neighbours by some degrees, which the tolerance covers.
_BIPYRAMID = [90.0] * 6 + [120.0] * 3 + [180.0]
_SQUARE_PYRAMID = [87.0] * 4 + [103.0] * 4 + [152.0] * 2
_OCTAHEDRON = [90.0] * 12 + [180.0] * 3
_PENTAGONAL = [72.0] * 5 + [90.0] * 10 + [144.0] * 5 + [180.0]
POLYHEDRA: dict[tuple[int, int], tuple[str, list[list[float]]]] = {
    (5, 2): ("linear", [[180.0]]),
    (5, 3): ("T-shaped", [[88.0] * 2 + [176.0]]),
    (5, 4): ("a seesaw", [[88.0] * 4 + [105.0] + [174.0]]),
    (5, 5): ("a trigonal bipyramid", [_BIPYRAMID]),
    (6, 4): ("square planar", [[90.0] * 4 + [180.0] * 2]),
    (6, 5): ("a square pyramid", [[84.0] * 4 + [89.0] * 4 + [168.0] * 2]),
    (6, 6): ("an octahedron", [_OCTAHEDRON]),
    (7, 6): ("an octahedron", [_OCTAHEDRON]),
    (7, 7): ("a pentagonal bipyramid", [_PENTAGONAL]),
}


class Fault(NamedTuple):
    """What is wrong with a geometry: one of `KINDS`, in words with 1-based atoms, and how far beyond the bound, in steps."""

    kind: str
    text: str
    excess: float


class Check(NamedTuple):
    """Values of many terms within bounds: positions `[K, N, 3]` -> `[K, T]`; of every term its step and its words.

    Those of one family have the atoms `[T, a]` of that, and what is usual for each in `middle`.
    """

    kind: str
    measure: Callable[[np.ndarray], np.ndarray]
    low: np.ndarray
    high: np.ndarray
    step: float
    text: Callable[[int, float], str]
    family: str = ""
    atoms: np.ndarray = np.zeros((0, 0), int)
    middle: np.ndarray = np.zeros(0)


@cache
def _table() -> dict[str, dict[str, tuple[float, ...]]]:
    text = BOUNDS.read_text(encoding="utf-8")
    return {family: {name: tuple(row) for name, row in rows.items()} for family, rows in json.loads(text)["bounds"].items()}


class Soundness:
    """The gate for conformers of one molecule.

    Args:
        molecule: its graph; positions and stereo are not looked at.
        table: bounds by family and class instead of those of the package.
    """

    def __init__(self, molecule: Molecule, table: dict | None = None):
        self.table = _table() if table is None else table
        self.environment = Environment(molecule)
        self.name = [f"{symbol}{k}" for k, symbol in enumerate(self.environment.symbol, 1)]
        self.checks = [check for check in self._checks() if len(check.low)]

    def excess(self, pos: np.ndarray) -> np.ndarray:
        """How far geometries `[K, N, 3]` are beyond the bounds, in steps, summed over the faults, `[K]`; 0 if sound."""
        pos = np.asarray(pos, dtype=np.float64)
        total = np.zeros(len(pos))
        with np.errstate(invalid="ignore", over="ignore"):
            for check in self.checks:
                total += _beyond(check, check.measure(pos)).sum(1)
        return np.where(np.isfinite(pos).all((1, 2)), total, np.inf)

    def faults(self, pos: np.ndarray) -> list[list[Fault]]:
        """The faults of every geometry `[K, N, 3]`, the worst first."""
        pos = np.asarray(pos, dtype=np.float64)
        found: list[list[Fault]] = [[] for _ in pos]
        finite = np.isfinite(pos).all((1, 2))
        for k in np.flatnonzero(~finite):
            found[k].append(Fault("not finite", "coordinates that are not finite", np.inf))
        for check in self.checks if finite.any() else ():
            values = check.measure(pos[finite])
            beyond = _beyond(check, values)
            for row, t in np.argwhere(beyond > 0):
                text = check.text(t, values[row, t])
                found[np.flatnonzero(finite)[row]].append(Fault(check.kind, text, float(beyond[row, t])))
        return [sorted(row, key=lambda f: -f.excess) for row in found]

    def _checks(self) -> Iterator[Check]:
        environment = self.environment
        shapes = {i: shape for i in range(len(environment.near)) if (shape := self._shape(i)) is not None}
        tabulated = self._tabulated()
        for family, terms in environment.terms().items():
            kept, limits = [], []
            for term, classes in zip(terms.atoms, terms.classes, strict=True):
                if family == "angle" and term[1] in shapes:
                    continue
                alone = family == "bond" and all(len(environment.near[k]) == 1 for k in term)  # as no bond that was seen
                seen = (self.table[family][name] for name in classes if name in self.table[family])
                limit = SOFT if family == "angle" and self._soft(term[1]) else None if alone else next(seen, None)
                limit = self._unseen(family, term) if limit is None else limit
                if family == "twist" and limit[1] > NO_PLANE:
                    continue
                kept.append(term)
                low, high, middle = (*limit, sum(limit[:2]) / 2)[:3]
                if (value := tabulated.get(term)) is not None:
                    low, high = min(low, value - TABULATED[family]), max(high, value + TABULATED[family])
                limits.append((low, high, middle))
            if kept:
                atoms, (low, high, middle) = np.array(kept), np.array(limits).T
                measure = partial(_measured, MEASURES[family], atoms)
                text = partial(self._text, family, kept)
                yield Check(_KIND[family], measure, low, high, STEP[family], text, family, atoms, middle)
        yield from self._rings()
        yield from (self._polyhedron(i, *shape) for i, shape in shapes.items())
        yield from self._cumulenes()
        yield from self._contacts()

    def _tabulated(self) -> dict[tuple[int, ...], float]:
        """Tabulated lengths and angles, by atoms, of a small molecule or one of rare elements; of others none."""
        z = self.environment.z
        if sum(a > 1 for a in z) > FEW and 6 in z and ORDINARY.issuperset(z):
            return {}
        around = Surroundings(self.environment.molecule)
        found: dict[tuple[int, ...], Class | None] = {}
        for i, j in around.bonds:
            found[i, j] = known("bond", around.bond_classes(i, j))
        for j, near in enumerate(around.near):
            for i, k in pairs_of(near):
                found[i, j, k] = known("angle", around.angle_classes(i, j, k))
        return {atoms: row.mean for atoms, row in found.items() if row is not None}

    def _rings(self) -> Iterator[Check]:
        for ring in self.environment.ring_terms():
            name = ring_class(self.environment, ring)
            high = self.table["ring"].get(name, (0.0, RING_WARP))[1]
            words = f"aromatic ring {'-'.join(self.name[k] for k in ring)} bent by {{}} Å"
            limits = np.zeros(1), np.array([high])
            yield Check("plane", partial(_bent, ring), *limits, STEP["ring"], partial(_filled, words, _number))

    def _shape(self, i: int) -> tuple[str, list[list[float]]] | None:
        """The coordination polyhedron of an atom, None where angles by class are right."""
        environment = self.environment
        degree, lone = len(environment.near[i]), environment.lone_pairs(i)
        chelate = environment.ring[i] > 0
        if lone < 0:
            bridged = any(environment.kind.get(pair) for pair in pairs_of(environment.near[i]))
            return POLYHEDRA[6, 6] if degree == 6 and not bridged else None
        if (degree + lone, degree) == (5, 5) and chelate:
            return "a trigonal bipyramid or square pyramid", [_BIPYRAMID, _SQUARE_PYRAMID]
        return POLYHEDRA.get((degree + lone, degree))

    def _polyhedron(self, i: int, name: str, shapes: list[list[float]]) -> Check:
        terms = np.array([(a, i, b) for a, b in pairs_of(self.environment.near[i])])
        soft = self.environment.ring[i] > 0 or self.environment.lone_pairs(i) < 0
        wanted = np.array(shapes)

        def off(pos: np.ndarray) -> np.ndarray:
            """Largest difference to the angles of the nearest shape, `[K, 1]`."""
            found = np.sort(angles(pos, terms), axis=1)
            return np.abs(found[:, None] - wanted).max(2).min(1)[:, None]

        limit = np.array([POLYHEDRON_CHELATE if soft else POLYHEDRON])
        words = f"{self.name[i]} is not {name}: an angle off by {{}}°"
        return Check("polyhedron", off, np.zeros(1), limit, STEP["angle"], partial(_filled, words, _degrees))

    def _cumulenes(self) -> Iterator[Check]:
        environment = self.environment
        for chain in environment.cumulenes():
            start, end = chain[0], chain[-1]
            sides = [[k for k in environment.near[a] if k not in chain] for a in (start, end)]
            if not all(1 <= len(side) <= 2 for side in sides):
                continue
            lines = [side if len(side) == 2 else [side[0], a] for side, a in zip(sides, (start, end), strict=True)]
            atoms = np.array([[start, end, *lines[0], *lines[1]]])
            soft = environment.ring[chain[1]] > 0 or min(len(side) for side in sides) == 1
            across = len(chain) % 2 == 1  # an even number of double bonds: the end groups stand across
            limit = CUMULENE_SOFT if soft else CUMULENE
            low, high = (90.0 - limit, 90.0) if across else (0.0, limit)
            words = f"end groups of {'='.join(self.name[k] for k in chain)} at {{}}°, not {90 if across else 0}°"
            measure, text = partial(_measured, twists, atoms), partial(_filled, words, _degrees)
            limits, middle = (np.array([low]), np.array([high])), np.array([90.0 if across else 0.0])
            yield Check("cumulene", measure, *limits, STEP["twist"], text, "twist", atoms, middle)

    def _contacts(self) -> Iterator[Check]:
        environment = self.environment
        pairs, classes = near_pairs(environment)
        names, index = np.unique(classes, return_inverse=True)
        nearest = [self.table["contact"].get(name, (0.0, 0.0))[0] for name in names]
        low = np.array(nearest, dtype=float)[index] if len(names) else np.zeros(0)
        beyond = np.array([1.0 if name.endswith("5") else 0.75 for name in names])[index] if len(names) else np.zeros(0)
        low = np.where(low > 0, low, beyond * self._touch(pairs))
        label = environment.fragments()
        apart = np.argwhere(np.triu(label[:, None] != label, 1))
        low, pairs = np.concatenate([low, self._touch(apart)]), np.concatenate([pairs, apart])

        def text(t: int, value: float) -> str:
            i, j = pairs[t]
            return f"{self.name[i]}...{self.name[j]} {_number(value)} Å apart"

        limits = low, np.full(len(low), np.inf)
        yield Check("contact", partial(_measured, lengths, pairs), *limits, STEP["contact"], text, "contact", pairs)

    def _touch(self, pairs: np.ndarray) -> np.ndarray:
        """How near atoms without a bond may come: .6 of the van der Waals radii; to a metal, .8 of the covalent ones."""
        table, z = Chem.GetPeriodicTable(), self.environment.z
        outer = np.array([self.environment.lone_pairs(k) < 0 or table.GetNOuterElecs(a) < 3 for k, a in enumerate(z)])
        metal, hydrogen = outer & (np.array(z) > 2), np.array(z) == 1
        away, covalent = (np.array([r(a) for a in z])[pairs].sum(1) for r in (table.GetRvdw, table.GetRcovalent))
        near = metal[pairs].any(1) & ~hydrogen[pairs].any(1)
        return np.where(near, np.minimum(CLASH_FACTOR * away, 0.8 * covalent), CLASH_FACTOR * away)

    def _unseen(self, family: str, term: Sequence[int]) -> tuple[float, ...]:
        """Bounds of a term of no known class, and what is usual, where that is not their middle."""
        if family == "bond":
            return self._unseen_length(*term)
        if family == "angle":
            return self._unseen_angle(*term)
        if family == "twist":
            return (0.0, TWIST if self.environment.kind[term[0], term[1]] in ("double", "aromatic") else 90.0)
        return (0.0, np.inf)

    def _soft(self, i: int) -> bool:
        """Whether an atom is a nitrogen at the end of a cumulene, as of HN=C=O or CH3N=C=S, which bends easily."""
        environment = self.environment
        ends = [k for k in environment.near[i] if environment.kind[i, k] == "double"]
        return environment.z[i] == 7 and len(environment.near[i]) == 2 and any(len(environment.near[k]) == 2 for k in ends)

    def _unseen_length(self, i: int, j: int) -> tuple[float, float]:
        environment = self.environment
        (a, b), kind = sorted((environment.z[i], environment.z[j])), environment.kind[i, j]
        order = BOND_ORDERS.get(kind)
        if order and len(environment.near[i]) == len(environment.near[j]) == 1 and (a, b, order) in DIATOMIC:
            return 0.95 * DIATOMIC[a, b, order], 1.05 * DIATOMIC[a, b, order]
        if order is None or a not in COVALENT_RADII or b not in COVALENT_RADII:
            length = sum(Chem.GetPeriodicTable().GetRcovalent(z) for z in (a, b))
            return 0.75 * length, 1.3 * length
        single, double, triple = ([r[min(k, len(r) - 1)] for r in (COVALENT_RADII[a], COVALENT_RADII[b])] for k in range(3))
        polar = (a == 5 or b > 10) and (a in (7, 8, 9) or b in (7, 8, 9))  # shorter than the radii say, as in PF6- or ClO4-
        if kind in ("conjugated", "aromatic") or (polar and order == 1):
            return 0.9 * sum(double), 1.1 * sum(single)
        length = sum({1.0: single, 2.0: double, 3.0: triple}[order])
        repelled = order == 1 and {a, b} <= {
            7,
            8,
            9,
        }  # lone pairs on both: 1.43 Å in CH3OF, radii 1.27
        return 0.9 * length, (1.25 if repelled else 1.12) * length

    def _unseen_angle(self, i: int, j: int, k: int) -> tuple[float, ...]:
        environment = self.environment
        pairs = len(environment.near[j]) + environment.lone_pairs(j)
        if environment.in_ring(i, j, k):
            return 30.0, 180.0
        if environment.lone_pairs(j) < 0:
            return 55.0, 180.0
        usual = {2: (155.0, 180.0, 180.0), 3: (90.0, 150.0, 120.0), 4: (80.0, 140.0, 109.5)}
        return usual.get(pairs, (60.0, 180.0))

    def _text(self, family: str, terms: Sequence[tuple[int, ...]], t: int, value: float) -> str:
        term = terms[t]
        name = [self.name[k] for k in term]
        if family == "bond":
            return f"{name[0]}-{name[1]} {_number(value)} Å"
        if family == "angle":
            return f"angle {'-'.join(name)} {value:.0f}°"
        if family == "height":
            return f"{name[0]} {_number(value)} Å off the plane of {', '.join(name[1:])}"
        return f"{self._bond_name(term[0], term[1])} twisted by {value:.0f}°"

    def _bond_name(self, i: int, j: int) -> str:
        environment = self.environment
        kind = environment.kind[i, j]
        if kind == "double":
            return f"double bond {self.name[i]}={self.name[j]}"
        for a, b in ((i, j), (j, i)):
            if kind == "conjugated" and environment.symbol[a] == "C" and environment.full[a].endswith("=O"):
                group = {"N": "amide ", "O": "ester or acid "}.get(environment.symbol[b], "conjugated bond ")
                return f"{group}{self.name[a]}-{self.name[b]}"
        return f"{kind} bond {self.name[i]}-{self.name[j]}"


def _measured(measure: Callable[[np.ndarray, np.ndarray], np.ndarray], atoms: np.ndarray, pos: np.ndarray) -> np.ndarray:
    return measure(pos, atoms)


def _bent(ring: tuple[int, ...], pos: np.ndarray) -> np.ndarray:
    return out_of_plane(pos, ring)[:, None]


def _filled(words: str, number: Callable[[float], str], t: int, value: float) -> str:
    return words.format(number(value))


def _beyond(check: Check, values: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(check.low - values, values - check.high), 0.0) / check.step


def _number(value: float) -> str:
    """Two digits, as .57 or 1.28."""
    return f"{value:.2f}".removeprefix("0")


def _degrees(value: float) -> str:
    return f"{value:.0f}"


def reason(faults: Sequence[Fault], most: int = 2) -> str:
    """The worst faults in words."""
    more = f" and {len(faults) - most} more" if len(faults) > most else ""
    return ", ".join(fault.text for fault in faults[:most]) + more
