"""Coordinates into RDKit molecules."""

import numpy as np
from rdkit import Chem


def add_conformers(mol: Chem.Mol, positions: np.ndarray) -> list[int]:
    """Append conformers `[k, N, 3]` in Å to a molecule; returns their ids."""
    ids = []
    for position in positions:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.Set3D(True)
        conformer.SetPositions(np.ascontiguousarray(position, dtype=np.float64))
        ids.append(mol.AddConformer(conformer, assignId=True))
    return ids


def coincident(positions: np.ndarray, nearest: float = 0.1) -> tuple[int, int] | None:
    """The first two of `[N, 3]` positions closer than `nearest` Å, which no bond is; None if there are none."""
    gaps = np.linalg.norm(positions[:, None] - positions, axis=-1)
    pairs = np.argwhere(np.triu(gaps < nearest, 1))
    return (int(pairs[0, 0]), int(pairs[0, 1])) if len(pairs) else None


def with_positions(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """A copy of the molecule with these conformers `[k, N, 3]` (ids 0 to k-1) in place of its own."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    add_conformers(copy, positions)
    return copy
