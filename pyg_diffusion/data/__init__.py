"""Molecules as PyG data, and the HDF5 store they live in."""

from .molecule import MoleculeData, laplacian_operator
from .store import Molecule, MoleculeStore, StoreError, write_store

__all__ = ["Molecule", "MoleculeData", "MoleculeStore", "StoreError", "laplacian_operator", "write_store"]
