"""What no conformer should have: atoms inside one another, double bonds and aromatic rings that are bent."""

import numpy as np
from rdkit import Chem

CLASH_FACTOR = 0.6  # of the sum of the van der Waals radii
CLASH_BONDS = 3  # pairs this many bonds apart or fewer are bonded, angle or torsion partners, not clashes
WARP = 0.25  # Å out of the plane, the bound of PoseBusters (Buttenschoen, Morris and Deane 2024)
DOUBLE_BOND = Chem.MolFromSmarts("[C;X3](*)(*)=[C;X3](*)*")


def has_clash(mol: Chem.Mol, pos: np.ndarray) -> np.ndarray:
    """Whether a pair more than 3 bonds apart is closer than 0.6 (r_i + r_j), van der Waals radii: `[K, N, 3] -> [K]`.

    Atoms of different fragments count as such pairs, hydrogens included.
    """
    table = Chem.GetPeriodicTable()
    i, j = np.nonzero(np.triu(Chem.GetDistanceMatrix(mol) > CLASH_BONDS, 1))
    radius = np.array([table.GetRvdw(a.GetAtomicNum()) for a in mol.GetAtoms()])
    distance = np.linalg.norm(pos[:, i] - pos[:, j], axis=-1)
    return (distance < CLASH_FACTOR * (radius[i] + radius[j])).any(-1)


def is_warped(mol: Chem.Mol, pos: np.ndarray) -> np.ndarray:
    """Whether a plane is not one: `[K, N, 3] -> [K]`.

    The planes are those of C=C between trigonal carbons with their four neighbours, and of aromatic rings of 5 and 6 atoms.
    An atom may be 0.25 Å away from its least-squares plane.
    """
    planes = [ring for ring in mol.GetRingInfo().AtomRings() if len(ring) in (5, 6) and _aromatic(mol, ring)]
    planes += mol.GetSubstructMatches(DOUBLE_BOND)
    warped = np.zeros(len(pos), dtype=bool)
    for plane in planes:
        x = pos[:, plane] - pos[:, plane].mean(1, keepdims=True)
        normal = np.linalg.svd(x, full_matrices=False)[2][:, 2]
        warped |= (np.abs(np.einsum("kni,ki->kn", x, normal)) > WARP).any(1)
    return warped


def _aromatic(mol: Chem.Mol, ring: tuple[int, ...]) -> bool:
    return all(mol.GetAtomWithIdx(k).GetIsAromatic() for k in ring)
