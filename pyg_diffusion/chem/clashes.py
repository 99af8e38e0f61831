"""Atoms of a conformer that lie inside one another."""

import numpy as np
from rdkit import Chem

CLASH_FACTOR = 0.6  # of the sum of the van der Waals radii
CLASH_BONDS = 3  # pairs this many bonds apart or fewer are bonded, angle or torsion partners, not clashes


def has_clash(mol: Chem.Mol, pos: np.ndarray) -> np.ndarray:
    """Whether a pair more than 3 bonds apart is closer than 0.6 (r_i + r_j), van der Waals radii: `[K, N, 3] -> [K]`.

    Atoms of different fragments count as such pairs, hydrogens included.
    """
    table = Chem.GetPeriodicTable()
    i, j = np.nonzero(np.triu(Chem.GetDistanceMatrix(mol) > CLASH_BONDS, 1))
    radius = np.array([table.GetRvdw(a.GetAtomicNum()) for a in mol.GetAtoms()])
    distance = np.linalg.norm(pos[:, i] - pos[:, j], axis=-1)
    return (distance < CLASH_FACTOR * (radius[i] + radius[j])).any(-1)
