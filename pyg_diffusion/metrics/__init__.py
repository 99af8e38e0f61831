"""How good are generated conformers (coverage, RMSD, validity, a table of methods) and fields (`metrics.fields`)?

The names load on first use: fields need no RDKit.
"""

from importlib import import_module
from typing import Any

from ..deprecated import moved

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
__all__ = list(_HOMES)
_moved = moved(__name__, {"Skipped": "metrics.result:UnusedRecord"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return _moved(name)
