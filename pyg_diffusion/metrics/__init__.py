"""How good are generated conformers? Coverage, RMSD, validity, and the table that compares methods."""

from .comparison import Comparison, compare
from .conformers import (
    Ensemble,
    Evaluation,
    Matcher,
    MoleculeResult,
    Skipped,
    etkdg,
    evaluate,
    group_records,
    records_of,
    rmsd_matrix,
)
from .strain import mmff_strain, xtb_strain
from .validity import Geometry, StereoCheck, geometry, has_clash, posebusters_failures

__all__ = [
    "Comparison",
    "Ensemble",
    "Evaluation",
    "Geometry",
    "Matcher",
    "MoleculeResult",
    "Skipped",
    "StereoCheck",
    "compare",
    "etkdg",
    "evaluate",
    "geometry",
    "group_records",
    "has_clash",
    "mmff_strain",
    "posebusters_failures",
    "records_of",
    "rmsd_matrix",
    "xtb_strain",
]
