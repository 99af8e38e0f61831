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


def with_positions(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """A copy of the molecule with these conformers `[k, N, 3]` (ids 0 to k-1) in place of its own."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    add_conformers(copy, positions)
    return copy
