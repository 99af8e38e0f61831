"""The layout of a store: a ragged HDF5 file of molecules and their conformers.

Layout, version 2. Every ragged column is one flat dataset; `molecule/*_ptr` says where each molecule begins.

    attrs       format, version, features, complete, molecules, conformers, levels (names of levels of theory)
    molecule/   atom_ptr bond_ptr tetra_ptr ez_ptr pos_ptr name_ptr smiles_ptr conformer_ptr
    atom/       z uint8, x uint8 [., F]
    bond/       index uint16 [., 2] (one direction), type uint8
    tetra/      index uint16 [., 5]
    ez/         index uint16 [., 4], type uint8
    conformer/  pos int32 [., 3] in units of 1e-4 Å, the conformers of a molecule one after the other;
                level uint8, index into levels; energy float32 in kcal/mol above the lowest of its ensemble, NaN if unknown
    text/       name uint8, smiles uint8 (UTF-8)

Spectra are never inside: they follow from the bonds. `complete` is written last and the file is moved into place when whole,
with a checksum (see `sealed`).
"""

import numpy as np

from . import schema
from .molecule import Molecule

FORMAT = "pyg_diffusion.store"
VERSION = 2
UNIT = 1e-4  # Å per stored integer

# ragged column -> (pointer, dtype, trailing shape)
COLUMNS: dict[str, tuple[str, type, tuple[int, ...]]] = {
    "atom/z": ("atom", np.uint8, ()),
    "atom/x": ("atom", np.uint8, (len(schema.ATOM_FEATURES),)),
    "bond/index": ("bond", np.uint16, (2,)),
    "bond/type": ("bond", np.uint8, ()),
    "tetra/index": ("tetra", np.uint16, (5,)),
    "ez/index": ("ez", np.uint16, (4,)),
    "ez/type": ("ez", np.uint8, ()),
    "conformer/pos": ("pos", np.int32, (3,)),
    "conformer/level": ("conformer", np.uint8, ()),
    "conformer/energy": ("conformer", np.float32, ()),
    "text/name": ("name", np.uint8, ()),
    "text/smiles": ("smiles", np.uint8, ()),
}
# pointer -> the first column that it cuts, whose lengths define it
POINTERS: dict[str, str] = {pointer: name for name, (pointer, _, _) in reversed(COLUMNS.items())}


class StoreError(ValueError):
    """A file that is not a whole store of this version."""


def columns_of(molecule: Molecule) -> dict[str, np.ndarray]:
    """A molecule as it is stored, but for the levels, which are names.

    Raises:
        ValueError: levels or energies that are not one for each conformer, or coordinates that a store cannot hold.
    """
    for given in (molecule.levels, molecule.energies):
        if given and len(given) != len(molecule.pos):
            raise ValueError(f"{molecule.name!r}: {len(given)} levels or energies for {len(molecule.pos)} conformers")
    pos = [np.asarray(p, dtype=np.float64) for p in molecule.pos]
    pos = [np.round((p - p.mean(0)) / UNIT) if np.isfinite(p).all() else p for p in pos]
    if any(not (np.abs(p) <= np.iinfo(np.int32).max).all() for p in pos):  # NaN is not either
        raise ValueError(f"{molecule.name!r}: coordinates that are not finite, or farther apart than a store can hold")
    return {
        "atom/z": molecule.z,
        "atom/x": molecule.x,
        "bond/index": molecule.bond_index,
        "bond/type": molecule.bond_type,
        "tetra/index": molecule.tetra,
        "ez/index": molecule.ez,
        "ez/type": molecule.ez_type,
        "conformer/pos": np.concatenate(pos) if pos else np.zeros((0, 3)),
        "conformer/level": np.array(molecule.levels or [""] * len(pos), object),
        "conformer/energy": np.array(molecule.energies or [np.nan] * len(pos), np.float32),
        "text/name": np.frombuffer(molecule.name.encode(), np.uint8),
        "text/smiles": np.frombuffer(molecule.smiles.encode(), np.uint8),
    }
