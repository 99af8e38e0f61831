"""The table of what `evaluate` measured of signals: each method in a column, beside the floor."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..console import Output
from ..metrics import MEASURES

OURS, FLOOR = "pyg_diffusion", "held-out samples"
ERRORS = (
    "spectrum", "covariance", "sliced_wasserstein", "mmd", "smoothness_wasserstein",
    "binned_spectrum", "values_wasserstein", "roughness_wasserstein",
)  # fmt: skip


def table(result: Mapping[str, Any]) -> str:
    """Metrics by method, errors also as multiples of the floor where there is one."""
    methods = result["methods"]
    names = list(methods)
    rows = list(dict.fromkeys(row for name in names for row in methods[name]))
    width = max(map(len, rows)) + 2
    columns = [max(18, len(name) + 2) for name in names]
    lines = [" " * width + "".join(name.rjust(c) for name, c in zip(names, columns, strict=True))]
    for row in rows:
        cells = []
        for name in names:
            text = f"{methods[name][row]:.4g}" if row in methods[name] else "-"
            error = row in MEASURES and MEASURES[row].error and row in methods[name]
            if error and name != FLOOR and methods.get(FLOOR, {}).get(row, 0) > 0:
                text += f" ({methods[name][row] / methods[FLOOR][row]:.2f}x)"
            cells.append(text)
        lines.append(row.ljust(width) + "".join(t.rjust(c) for t, c in zip(cells, columns, strict=True)))
    return "\n".join(lines)


def evaluate_to(args: argparse.Namespace, score: Callable[[], Mapping[str, Any]]) -> int:
    """Print the table of what `score` finds, and write it where `-o` says; returns the exit status."""
    out = Output(args.output, [args.generated, args.reference or ""]) if args.output else None
    result = score()
    if out is not None:
        with out:
            out.write(json.dumps(result, indent=1) + "\n")
    print(table(result))
    for note in result.get("notes", []):
        print(note)
    return 0
