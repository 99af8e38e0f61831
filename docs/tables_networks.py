"""Tables of networks and miners trained for equal time: one function each, named as in the pages."""

from typing import Any

from tables import number, read, rendered, table


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def of_seeds(seeds: list[float]) -> str:
    """Their mean, and their range where there are several."""
    text = number(mean(seeds))
    return text if len(set(seeds)) < 2 else f"{text} ({number(min(seeds))} to {number(max(seeds))})"


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


@table
def mining_fields() -> str:
    """What negatives are worth to an energy of fields."""
    keys = ("rank on", "rank off", "slope on", "slope off", "samples", "steps")
    rows = [
        [miner, *[of_seeds([run[key] for run in seeds]) for key in keys]]
        for miner, seeds in read("mining_fields")["runs"].items()
    ]
    head = ["negatives", "rank on", "rank off", "slope, error on", "slope, error off", "samples, error over the floor"]
    return rendered([*head, "steps"], rows, "mining_fields")
