"""How good are generated conformers (coverage, RMSD, validity, a table of methods) and fields (`metrics.fields`)?

The names load on first use: fields need no RDKit.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..deprecated import moved

if TYPE_CHECKING:
    from .baselines import BASELINES, BaselineError, draw_each, etkdg
    from .comparison import Comparison, compare
    from .evaluation import evaluate
    from .field_measures import compare_fields
    from .matcher import Matcher
    from .references import Ensemble, group_records, records_of
    from .registry import MEASURES, Measure, measure, measured
    from .result import Evaluation, MoleculeResult, UnusedRecord
    from .rmsd import rmsd_matrix
    from .strain import mmff_strain, xtb_strain
    from .validity import Geometry, StereoCheck, geometry, posebusters_failures

_HOMES = {
    "BASELINES": "baselines",
    "BaselineError": "baselines",
    "Comparison": "comparison",
    "Ensemble": "references",
    "Evaluation": "result",
    "Geometry": "validity",
    "MEASURES": "registry",
    "Matcher": "matcher",
    "Measure": "registry",
    "MoleculeResult": "result",
    "StereoCheck": "validity",
    "UnusedRecord": "result",
    "compare": "comparison",
    "compare_fields": "field_measures",
    "draw_each": "baselines",
    "etkdg": "baselines",
    "evaluate": "evaluation",
    "geometry": "validity",
    "group_records": "references",
    "measure": "registry",
    "measured": "registry",
    "mmff_strain": "strain",
    "posebusters_failures": "validity",
    "records_of": "references",
    "rmsd_matrix": "rmsd",
    "xtb_strain": "strain",
}
__all__ = [
    "BASELINES",
    "MEASURES",
    "BaselineError",
    "Comparison",
    "Ensemble",
    "Evaluation",
    "Geometry",
    "Matcher",
    "Measure",
    "MoleculeResult",
    "StereoCheck",
    "UnusedRecord",
    "compare",
    "compare_fields",
    "draw_each",
    "etkdg",
    "evaluate",
    "geometry",
    "group_records",
    "measure",
    "measured",
    "mmff_strain",
    "posebusters_failures",
    "records_of",
    "rmsd_matrix",
    "xtb_strain",
]
_moved = moved(__name__, {"Skipped": "metrics.result:UnusedRecord"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return _moved(name)
