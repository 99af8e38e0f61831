"""What the default suite runs of each room of the package, by line and by branch: `make coverage`.

Reads the report of coverage.py, compares each room with its floor in `results/coverage.json`, and writes what it has now.
A room that has fallen below its floor ends it with status 1, and nothing is written; floors rise by themselves and never
fall. What stands below generate and train in the import chain (CONTRIBUTING.md) is held at 100 % of lines.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from machine import machine

LOWER = ("spectral", "sde", "denoise", "posterior", "loss", "mining", "sample")  # the seven rooms of the lower half
BESIDE = ("network", "regularize")  # of the lower half as well, and held to the same
SLACK = 0.5  # points that a floor of lines or branches lies below what was measured: what depends on timing
PATH = Path(__file__).parent / "results" / "coverage.json"
KEYS = {"lines": ("covered_lines", "num_statements"), "branches": ("covered_branches", "num_branches")}


def room_of(path: str) -> str:
    """The room of a file: its folder, its name where it stands alone in the lower half, else "single files"."""
    parts = Path(path).with_suffix("").parts
    inside = parts[len(parts) - parts[::-1].index("pyg_diffusion") :]
    return inside[0] if len(inside) > 1 or inside[0] in LOWER + BESIDE else "single files"


def rooms(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Lines and branches of each room, `[run, all]`, and the lines that no test runs, by file."""
    found: dict[str, dict[str, Any]] = {}
    for path, file in sorted((path, file) for path, file in report["files"].items() if file["summary"]["num_statements"]):
        room = found.setdefault(room_of(path), {"lines": [0, 0], "branches": [0, 0], "missing": {}})
        for key, names in KEYS.items():
            room[key] = [had + file["summary"][name] for had, name in zip(room[key], names, strict=True)]
        if file["missing_lines"]:
            room["missing"][path] = file["missing_lines"]
    order = (*LOWER, *BESIDE, *sorted(set(found) - {*LOWER, *BESIDE}))
    return {name: found[name] for name in order if name in found}


def percent(part: list[int]) -> float:
    """Of what there is, how much is run."""
    return 100 * part[0] / part[1] if part[1] else 100.0


def fallen(found: dict[str, dict[str, Any]], floors: dict[str, dict[str, int]]) -> list[str]:
    """A sentence for each room below its floor."""
    said = []
    for name, room in found.items():
        for key in KEYS:
            floor = 100 if key == "lines" and name in LOWER + BESIDE else floors.get(name, {}).get(key, 0)
            if percent(room[key]) < floor:
                where = "; ".join(f"{path}: {', '.join(map(str, lines))}" for path, lines in room["missing"].items())
                said.append(
                    f"{name}: {percent(room[key]):.2f} % of {key}, where {floor} % is the floor; no test runs {where}"
                )
    return said + [f"{name}: no file of it was measured" for name in sorted(set(floors) - set(found))]


def risen(found: dict[str, dict[str, Any]], floors: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The floors of today: whole percents, none lower than before."""
    return {
        name: {key: max(floors.get(name, {}).get(key, 0), math.floor(percent(room[key]) - SLACK)) for key in KEYS}
        for name, room in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path, help="what pytest --cov --cov-report=json:REPORT wrote")
    parser.add_argument("--floors", type=Path, default=PATH, help="what is compared with, and written")
    args = parser.parse_args(argv)
    floors = json.loads(args.floors.read_text(encoding="utf-8"))["floors"] if args.floors.is_file() else {}
    found = rooms(json.loads(args.report.read_text(encoding="utf-8")))
    for name, room in found.items():
        print(f"{name:>14}  {percent(room['lines']):6.2f} % of lines  {percent(room['branches']):6.2f} % of branches")
    if said := fallen(found, floors):
        print("\n".join(["", *said]))
        return 1
    counts = {name: {key: room[key] for key in KEYS} for name, room in found.items()}
    whole = {"machine": machine(), "rooms": counts, "floors": risen(found, floors)}
    args.floors.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
