"""Molecules in and out of files, features, stereo, skeletons. RDKit lives here.

The names below load on first use: `chem.skeleton` works on arrays, and training has no RDKit.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conformers import add_conformers, with_positions
    from .features import molecule_from_mol
    from .formats import read_records, read_sdf, read_smiles
    from .isomers import stereoisomers
    from .records import Record, RecordError
    from .soundness import Fault, Soundness
    from .stereo import Stereo, assign_stereo_from_3d, check_stereo, stereo_of

__all__ = [
    "Fault",
    "Record",
    "RecordError",
    "Soundness",
    "Stereo",
    "add_conformers",
    "assign_stereo_from_3d",
    "check_stereo",
    "molecule_from_mol",
    "read_records",
    "read_sdf",
    "read_smiles",
    "stereo_of",
    "stereoisomers",
    "with_positions",
]

_HOMES = {
    "Fault": "soundness",
    "Record": "records",
    "RecordError": "records",
    "Soundness": "soundness",
    "Stereo": "stereo",
    "add_conformers": "conformers",
    "assign_stereo_from_3d": "stereo",
    "check_stereo": "stereo",
    "molecule_from_mol": "features",
    "read_records": "formats",
    "read_sdf": "formats",
    "read_smiles": "formats",
    "stereo_of": "stereo",
    "stereoisomers": "isomers",
    "with_positions": "conformers",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
