"""Torsions that keep the value they have in a given geometry."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from ..data.molecule import Molecule
from .remarks import named

STRAIGHT = 175.0  # degrees; beyond, three atoms are a line, about which nothing has a torsion


def torsion(pos: np.ndarray, row: Sequence[int] | np.ndarray) -> float:
    """The torsion a-i-j-b of positions `[N, 3]` in degrees, in (-180, 180], clockwise for one who looks from i to j.

    Example:
        >>> import numpy as np
        >>> from pyg_diffusion.chem.torsions import torsion
        >>> round(torsion(np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]), (0, 1, 2, 3)), 6)
        90.0
    """
    a, i, j, b = np.asarray(pos, dtype=float)[list(row)]
    u, v, w = i - a, j - i, b - j
    across, beyond = np.cross(u, v), np.cross(v, w)
    return float(np.degrees(np.arctan2(np.linalg.norm(v) * (u @ beyond), across @ beyond)))


class _Lock(NamedTuple):
    """The torsion of a row a-i-j-b, its value in degrees, the atoms that turn for it, and the sense in which they do."""

    row: np.ndarray
    value: float
    side: np.ndarray
    sign: float


class Torsions:
    """Sets the torsions about some bonds to what they are in one geometry, by turning what lies on one side of each.

    The smaller side turns, or the one without atoms that stay; lengths, angles and all other torsions remain.

    Args:
        molecule: its graph.
        bonds: pairs of atoms (i, j), counted from 0.
        pos: the geometry that has the values, `[N, 3]`.
        stay: atoms that must not move, `[N]`; none if None.

    Raises:
        ValueError: two atoms have no bond, or one in a ring, or one about which nothing turns; or atoms on both sides stay.

    Example:
        >>> from rdkit import Chem
        >>> from rdkit.Chem.rdDistGeom import EmbedMultipleConfs
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.chem.torsions import Torsions, torsion
        >>> mol = Chem.AddHs(Chem.MolFromSmiles("CCCC"))
        >>> len(EmbedMultipleConfs(mol, 2, randomSeed=1))
        2
        >>> one, other = (conformer.GetPositions() for conformer in mol.GetConformers())
        >>> held = Torsions(molecule_from_mol(mol, conformers=False), [(1, 2)], one)
        >>> abs(torsion(held(other), held.rows[0]) - torsion(one, held.rows[0])) < 1e-9
        True
    """

    def __init__(
        self, molecule: Molecule, bonds: Sequence[tuple[int, int]], pos: np.ndarray, stay: np.ndarray | None = None
    ):
        held = np.zeros(len(molecule.z), bool) if stay is None else stay
        self.locks = [_lock(molecule, i, j, pos, held) for i, j in bonds]

    @property
    def rows(self) -> np.ndarray:
        """The atoms a-i-j-b of each, `[T, 4]`."""
        return np.array([lock.row for lock in self.locks], int).reshape(-1, 4)

    def of(self, atoms: np.ndarray) -> "Torsions":
        """Those that a part of the molecule, `atoms [n]`, has all four atoms of, in its own numbers."""
        place = np.full(1 + max([int(atoms.max()), *(int(lock.side.max()) for lock in self.locks), *self.rows.ravel()]), -1)
        place[atoms] = np.arange(len(atoms))
        part = object.__new__(Torsions)
        part.locks = [
            lock._replace(row=place[lock.row], side=place[lock.side][place[lock.side] >= 0])
            for lock in self.locks
            if (place[lock.row] >= 0).all()
        ]
        return part

    def __call__(self, pos: np.ndarray) -> np.ndarray:
        """Positions `[N, 3]` with these torsions, in double precision."""
        x = np.array(pos, dtype=float)
        for row, value, side, sign in self.locks:
            _, i, j, _ = row
            axis = (x[j] - x[i]) / max(float(np.linalg.norm(x[j] - x[i])), 1e-9)
            turn = Rotation.from_rotvec(np.radians(sign * (value - torsion(x, row))) * axis)
            x[side] = turn.apply(x[side] - x[i]) + x[i]
        return x


def _lock(molecule: Molecule, i: int, j: int, pos: np.ndarray, held: np.ndarray) -> _Lock:
    bonds = molecule.bond_index.astype(int)
    this = np.isin(bonds, (i, j)).all(1)
    if not this.any():
        raise ValueError(f"{named(molecule, [i])} and {named(molecule, [j])} have no bond to lock")
    name = f"the bond {named(molecule, [i])}-{named(molecule, [j])}"
    n = len(molecule.z)
    one, other = bonds[~this].T
    label = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(n, n)), directed=False)[1]
    if label[i] == label[j]:
        raise ValueError(f"{name} is in a ring: keep its atoms instead (--keep)")
    ends = [_end(molecule, bonds, pos, centre, across) for centre, across in ((i, j), (j, i))]
    if None in ends:
        raise ValueError(f"nothing turns about {name}")
    sides = [(np.flatnonzero(label == label[j]), 1.0), (np.flatnonzero(label == label[i]), -1.0)]
    free = [(side, sign) for side, sign in sides if not held[np.setdiff1d(side, (i, j))].any()]
    if not free:
        raise ValueError(f"{name} has atoms to keep on both sides: its torsion cannot be locked as well")
    side, sign = min(free, key=lambda choice: len(choice[0]))
    row = np.array([ends[0], i, j, ends[1]])
    return _Lock(row, torsion(pos, row), side, sign)


def _end(molecule: Molecule, bonds: np.ndarray, pos: np.ndarray, centre: int, across: int) -> int | None:
    """A neighbour to tell the torsion by, a heavy one where there is one; none that is in a line with the bond."""
    near = [int(k) for k in bonds[(bonds == centre).any(1)].ravel() if k not in (centre, across)]
    ends = []
    for k in near:
        u, v = pos[k] - pos[centre], pos[across] - pos[centre]
        cosine = u @ v / max(float(np.linalg.norm(u) * np.linalg.norm(v)), 1e-9)
        if np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))) < STRAIGHT:
            ends.append(k)
    return min(ends, key=lambda k: (molecule.z[k] == 1, k), default=None)
