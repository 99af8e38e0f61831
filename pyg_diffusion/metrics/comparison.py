"""Several methods on the same molecules: one table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .molecule_measures import Methods, Scored, fault_counts
from .registry import Value, measured
from .result import Evaluation

DELTAS = (0.05, 0.1, 0.5)
BEST_OF = (10, 50, 250)


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        rows: method -> row -> value (see `molecule_measures`), None where there was nothing to measure.
        common: how many of the `molecules` every method solved.
        failed: method -> names of the molecules without any valid conformer.
        upper_bounds: method -> names of the molecules with more symmetric atom orders than were tried, whose RMSD may
            therefore be smaller than given.
        problems: method -> (name, reason) of the molecules that could not be evaluated; all their conformers count as
            failures.
        unmatched: method -> (position, name, reason) of each generated record that belongs to no reference.
        posebusters_tests: method -> how often each check failed.
        faults: method -> how many conformers have a fault of each kind (`chem.soundness.KINDS`).
        units: row -> unit, of those that have one.
    """

    rows: dict[str, dict[str, Value]]
    molecules: int
    common: int
    failed: dict[str, list[str]]
    upper_bounds: dict[str, list[str]]
    problems: dict[str, list[tuple[str, str]]]
    unmatched: dict[str, list[tuple[int, str, str]]]
    posebusters_tests: dict[str, dict[str, int]]
    faults: dict[str, dict[str, int]]
    units: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {
            "molecules": self.molecules,
            "solved_by_every_method": self.common,
            "methods": self.rows,
            "failed": self.failed,
            "upper_bounds": self.upper_bounds,
            "problems": {m: [list(p) for p in items] for m, items in self.problems.items()},
            "unmatched": {m: [list(u) for u in items] for m, items in self.unmatched.items()},
            "posebusters_tests": self.posebusters_tests,
            "faults": self.faults,
            "units": self.units,
        }

    def table(self, listed: int = 10) -> str:
        """Aligned text: one line per row, one column per method; then what failed (the first `listed` of each)."""
        keys = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        label = {key: f"{key} ({self.units[key]})" if key in self.units else key for key in keys}
        lines = [["", *self.rows], *([label[key], *(_text(row.get(key)) for row in self.rows.values())] for key in keys)]
        text = [f"{self.molecules} molecules, {self.common} of them solved by every method", "", *align(lines)]
        for method in self.rows:
            for what, names in (
                ("molecules without a valid conformer", self.failed[method]),
                ("molecules that could not be evaluated", [f"{n} ({why})" for n, why in self.problems[method]]),
                (
                    "molecules of more symmetric atom orders than were tried, so that their RMSD is an upper bound",
                    self.upper_bounds[method],
                ),
                ("generated records that match no reference", [f"{n} ({why})" for _, n, why in self.unmatched[method]]),
            ):
                if names:
                    more = f", and {len(names) - listed} more" if len(names) > listed else ""
                    text += ["", f"{method}: {len(names)} {what}: {', '.join(names[:listed])}{more}"]
        return "\n".join(text)

    def __str__(self) -> str:
        return self.table()


def align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first to the left, the others to the right."""
    width = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(width[0]), *(c.rjust(w) for c, w in zip(line[1:], width[1:], strict=True))]).rstrip()
        for line in lines
    ]


def _text(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)


def compare(
    results: Mapping[str, Evaluation],
    deltas: Sequence[float] = DELTAS,
    best_of: Sequence[int] = BEST_OF,
    extra: Mapping[str, Mapping[str, Value]] | None = None,
) -> Comparison:
    """One column per method, all on the same molecules in the same order, and one row or more per measure in `MEASURES`.

    Args:
        deltas: thresholds in Å for COV-R and COV-P.
        best_of: numbers of conformers for single-reference sets; used where every molecule has one reference conformer, and
            only those that every molecule was asked for under every method.
        extra: more values per method that no measure can know, such as seconds per conformer.

    Raises:
        ValueError: there is no method, or the methods were not run on the same molecules.
    """
    if not results:
        raise ValueError("no method to compare")
    keys = [[(r.name, r.smiles) for r in one.molecules] for one in results.values()]
    if any(k != keys[0] for k in keys):
        raise ValueError("the methods were not evaluated on the same reference molecules in the same order")
    among = Methods(list(results.values()))
    found = {method: measured("molecules", Scored(one, among, deltas, best_of)) for method, one in results.items()}
    return Comparison(
        rows={m: {**{key: row.value for key, row in rows.items()}, **(extra or {}).get(m, {})} for m, rows in found.items()},
        molecules=len(among.molecules),
        common=int(among.common.sum()),
        failed={m: [r.name for r in one.molecules if not r.solved] for m, one in results.items()},
        upper_bounds={m: [r.name for r in one.molecules if r.upper_bound] for m, one in results.items()},
        problems={m: [(r.name, r.problem) for r in one.molecules if r.problem] for m, one in results.items()},
        unmatched={m: [(u.index, u.name, u.reason) for u in one.unmatched] for m, one in results.items()},
        posebusters_tests={m: dict(sum((r.pb_tests for r in one.molecules), Counter())) for m, one in results.items()},
        faults={m: dict(fault_counts(one)) for m, one in results.items()},
        units={key: row.unit for rows in found.values() for key, row in rows.items() if row.unit},
    )
