"""What the coordinates of an input are worth: a drawing or a geometry, in which unit, of a whole molecule or not."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from scipy.spatial import cKDTree

from .walk import atoms_of, bonds_of

LENGTHS = (0.6, 1.4)  # of the sum of the covalent radii; in QM9, DFT8K and the Platinum set a bond has .67 to 1.18
UNIT_LENGTHS = (0.75, 1.35)  # of the median bond; there it has .88 to 1.03
UNITS = {"nm": 0.1, "Bohr": 1.8897, "pm": 100.0}  # how long an Å is in them
NEAREST = 0.5  # Å; two atoms of H2 are .74 apart
FLAT = 1e-3  # Å
FARTHEST = 1e5  # Å; coordinates beyond are none
_RADII = np.array([Chem.GetPeriodicTable().GetRcovalent(z) for z in range(119)])
_NO_BONDS = (Chem.BondType.ZERO, Chem.BondType.HYDROGEN, Chem.BondType.IONIC)
_TETRAHEDRAL = (5, 6, 7, 14, 15, 16, 32, 33, 34)  # elements that four neighbours never surround in one plane
_PYRAMIDAL = (15, 16, 33, 34, 51, 52)  # and three, beside a lone pair


class PlaceFault(NamedTuple):
    """What is wrong with a geometry.

    Attributes:
        text: for the user, atoms counted from 1.
        scale: where the whole molecule is too large or too small, the factor that mends it, else 1.
        atoms: at whose places nothing can be read.
    """

    text: str
    scale: float = 1.0
    atoms: frozenset[int] = frozenset()


def is_3d(mol: Chem.Mol) -> bool:
    """Whether the first conformer holds usable 3D coordinates: finite, not all at one place, and meant as such.

    A flat conformer is accepted where the file marks it as 3D (see `is_drawing`).
    """
    if mol.GetNumConformers() == 0:
        return False
    pos = mol.GetConformer(0).GetPositions()
    return are_places(pos) and (mol.GetConformer(0).Is3D() or len(pos) == 1)


def are_places(pos: np.ndarray) -> bool:
    """Whether positions `[N, 3]` are finite, within 10 µm of the origin and not all the same."""
    low, high = pos.min(0), pos.max(0)
    return bool((low > -FARTHEST).all() and (high < FARTHEST).all()) and (len(pos) == 1 or float((high - low).max()) > 1e-6)


def is_drawing(mol: Chem.Mol) -> bool:
    """Whether the coordinates are flat, of a molecule that cannot be: a drawing, whatever the file calls it.

    It cannot where an atom has a tetrahedron of neighbours, or a pyramid as in a sulfoxide. With z alike everywhere one such
    atom will do, whether its hydrogens are there or not: geometries without hydrogens lie in the plane of the paper by no
    chance. In another plane it has to have three of its neighbours.

    Args:
        mol: sanitized, its coordinates usable.
    """
    pos = mol.GetConformer(0).GetPositions()
    aligned = np.ptp(pos[:, 2]) < FLAT
    thickness = np.linalg.svd(pos - pos.mean(0), compute_uv=False)[-1] / len(pos) ** 0.5
    if len(pos) < 2 or (thickness > FLAT and not aligned):
        return False
    least = 0 if aligned else 3
    return any(_rises(atom) and atom.GetDegree() >= least for atom in mol.GetAtoms())


def _rises(atom: Chem.Atom) -> bool:
    """Whether an atom and its neighbours cannot lie in one plane."""
    number, degree = atom.GetAtomicNum(), atom.GetTotalDegree()
    pyramid = number in _PYRAMIDAL and degree == 3 and atom.GetTotalValence() < 5
    return (number in _TETRAHEDRAL and degree == 4) or pyramid


def fault_of(mol: Chem.Mol) -> PlaceFault | None:
    """The worst that is wrong with the first conformer, by bounds wide enough for any method; None where nothing is.

    Args:
        mol: with usable coordinates; only its own atoms and bonds are looked at.
    """
    pos = mol.GetConformer(0).GetPositions()
    bonds = bonds_of(mol)
    radius = _RADII[[a.GetAtomicNum() for a in atoms_of(mol)]]
    ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds], int).reshape(-1, 2)
    edge = pos[ends[:, 0]] - pos[ends[:, 1]]
    length = np.sqrt(np.einsum("bi,bi->b", edge, edge))
    ratio = length / np.maximum(radius[ends[:, 0]] + radius[ends[:, 1]], 0.1)
    if ((ratio < LENGTHS[0]) | (ratio > LENGTHS[1])).any():
        bonded = np.array([b.GetBondType() not in _NO_BONDS for b in bonds])
        ends, length, ratio = ends[bonded], length[bonded], ratio[bonded]
    if len(ratio):
        ordered = np.sort(ratio)  # NaN last
        usual = float(ordered[(len(ratio) - 1) // 2] + ordered[len(ratio) // 2]) / 2
        alike = bool(ordered[0] > LENGTHS[0] * usual and ordered[-1] < LENGTHS[1] * usual)
        if usual > 0 and alike and not UNIT_LENGTHS[0] < usual < UNIT_LENGTHS[1]:
            unit = next((f": coordinates in {name}?" for name, u in UNITS.items() if 0.85 < usual / u < 1.15), "")
            return PlaceFault(f"bonds are {usual:.3g} times their usual length{unit}", 1 / usual)
    wrong = (ratio < LENGTHS[0]) | (ratio > LENGTHS[1])
    near = cKDTree(pos).query_pairs(NEAREST, output_type="ndarray")
    if len(near):
        near = near[~np.isin(near @ [len(pos), 1], np.sort(ends, axis=1) @ [len(pos), 1])]
    atoms = frozenset(np.concatenate([ends[wrong].ravel(), near.ravel()]).tolist())
    if wrong.any():
        worst = np.argmax(np.abs(np.log(np.maximum(ratio, 1e-9))))
        more = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
        return PlaceFault(f"a bond that is none: {_pair(mol, ends[worst])} {length[worst]:.2f} Å{more}", atoms=atoms)
    if len(near):
        distance = np.linalg.norm(pos[near[0, 0]] - pos[near[0, 1]])
        more = f" (and {len(near) - 1} more)" if len(near) > 1 else ""
        return PlaceFault(f"two atoms at one place: {_pair(mol, near[0])} {distance:.2f} Å{more}", atoms=atoms)
    return None


def _pair(mol: Chem.Mol, atoms: Iterable[int]) -> str:
    return "-".join(f"{mol.GetAtomWithIdx(int(k)).GetSymbol()}{int(k) + 1}" for k in atoms)
