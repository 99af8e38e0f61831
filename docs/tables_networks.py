"""Tables of networks for molecules trained for equal time: one function each, named as in the pages."""

from typing import Any

from tables import read, rendered, table


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@table
def molecule_networks() -> str:
    """Networks at equal time, and ETKDGv3."""
    found = read("molecule_networks")
    rows: list[list[Any]] = []
    for name, row in found["rows"].items():
        values = [mean(row["values"][key]) for key in ("AMR-R", "AMR-P", "COV-R(0.5)")]
        shares = [None if row[key] is None else 100 * row[key] for key in ("stereo", "sound", "made")]
        said = "ETKDGv3" if name == "etkdg" else name
        rows.append([said, *values, *shares, 1000 * row["seconds"], row.get("steps"), row.get("parameters")])
    head = ["", "AMR-R, Å", "AMR-P, Å", "COV-R at .5 Å", "stereo, %", "and sound, %", "made, %", "ms per conformer"]
    return rendered([*head, "steps", "parameters"], rows, "molecule_networks")
