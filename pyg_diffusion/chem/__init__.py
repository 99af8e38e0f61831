"""RDKit lives here: molecules in and out of files, features, stereo."""

from .conformers import add_conformers, with_positions
from .features import molecule_from_mol
from .formats import read_records, read_sdf, read_smiles
from .isomers import stereoisomers
from .records import Record, RecordError
from .soundness import has_clash, is_warped
from .stereo import Stereo, assign_stereo_from_3d, check_stereo, stereo_of

__all__ = [
    "Record",
    "RecordError",
    "Stereo",
    "add_conformers",
    "assign_stereo_from_3d",
    "check_stereo",
    "has_clash",
    "is_warped",
    "molecule_from_mol",
    "read_records",
    "read_sdf",
    "read_smiles",
    "stereo_of",
    "stereoisomers",
    "with_positions",
]
