"""Molecules and grids as PyG data, the HDF5 store molecules live in, and the choice of the operator."""

from .grid import grid_graph
from .molecule import Molecule
from .molecule_data import MoleculeData
from .operator import edge_weights, laplacian_operator
from .store import MoleculeStore
from .store_layout import StoreError
from .store_write import write_store

__all__ = [
    "Molecule",
    "MoleculeData",
    "MoleculeStore",
    "StoreError",
    "edge_weights",
    "grid_graph",
    "laplacian_operator",
    "write_store",
]
