"""How good are generated conformers (coverage, RMSD, validity, a table of methods) and fields (`metrics.fields`)?

The names load on first use: fields need no RDKit.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BASELINES": "baselines",
    "BaselineError": "baselines",
    "Comparison": "comparison",
    "Ensemble": "conformers",
    "Evaluation": "conformers",
    "Geometry": "validity",
    "Matcher": "conformers",
    "MoleculeResult": "conformers",
    "Skipped": "conformers",
    "StereoCheck": "validity",
    "compare": "comparison",
    "draw_each": "baselines",
    "compare_fields": "fields",
    "etkdg": "baselines",
    "evaluate": "conformers",
    "geometry": "validity",
    "group_records": "conformers",
    "mmff_strain": "strain",
    "posebusters_failures": "validity",
    "records_of": "conformers",
    "rmsd_matrix": "conformers",
    "xtb_strain": "strain",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
