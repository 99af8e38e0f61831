"""Names that were here, for one release."""

from ..deprecated import moved

_HOMES = {
    "references": ("Ensemble", "flat_smiles", "group_records", "isomeric_smiles", "records_of"),
    "matcher": ("Matcher",),
    "rmsd": ("MAX_MATCHES", "rmsd_matrix", "too_symmetric"),
    "result": ("MISSING", "OK", "STATUSES", "UNREADABLE", "WRONG_GRAPH", "WRONG_STEREO", "Evaluation", "MoleculeResult"),
    "evaluation": ("evaluate",),
}
__getattr__ = moved(
    __name__,
    {name: f"metrics.{home}" for home, names in _HOMES.items() for name in names}
    | {"Skipped": "metrics.result:UnusedRecord"},
)
