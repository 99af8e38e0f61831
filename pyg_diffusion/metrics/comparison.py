"""Several methods on the same molecules: one table.

Measures are taken per molecule first, then as mean and median over molecules. AMR comes twice:

- `amr_r`, `amr_p`: over the molecules that every method solved (AMR-P over their valid conformers);
- `amr_r_all`, `amr_p_all`: over all molecules, each failure at the worst method's value: for AMR-R of an unsolved molecule
  the largest AMR-R of any method on that molecule; for AMR-P each conformer that is not valid enters with the largest
  min_i r_ij of any method's conformer on that molecule. Where no method solved a molecule, the largest such value on any
  molecule stands in.

Strain is the median over the conformers of the subsample that have one (`strain ... known` says how many). Conformers that
MMFF94s or GFN2-xTB has relaxed have none by that measure, so it says nothing of them: read the other one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .conformers import OK, STATUSES, WRONG_STEREO, Evaluation, MoleculeResult

DELTAS = (0.05, 0.1, 0.5)
BEST_OF = (10, 50, 250)
SHARES = (0.5, 1.0, 2.0)

Value = float | int | str | None


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        rows: method -> measure -> value; RMSD and lengths in Å, angles in degrees, strain in kcal/mol, shares in
            [0, 1]. None where there was nothing to measure.
        common: how many of the `molecules` every method solved.
        failed: method -> names of the molecules without any valid conformer.
        upper_bounds: method -> names of the molecules with more symmetric atom orders than were tried, whose RMSD may
            therefore be smaller than given.
        problems: method -> (name, reason) of the molecules that could not be evaluated; all their conformers count as
            failures.
        unmatched: method -> (position, name, reason) of each generated record that belongs to no reference.
        posebusters_tests: method -> how often each check failed.
        faults: method -> how many conformers have a fault of each kind (`chem.soundness.KINDS`).
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
        }

    def table(self, listed: int = 10) -> str:
        """Aligned text: one line per measure, one column per method; then what failed (the first `listed` of each)."""
        measures = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        lines = [["", *self.rows], *([key, *(_text(row.get(key)) for row in self.rows.values())] for key in measures)]
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


def _finite(value: float) -> float | None:
    """JSON knows neither NaN nor ∞; a median is ∞ where half of the molecules failed."""
    return float(value) if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    kept = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(kept)) if kept else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _worst(per_method: Sequence[Sequence[float]]) -> np.ndarray:
    """Per molecule the largest finite value of any method, else the largest anywhere (NaN if there is none), `[M]`."""
    values = np.array(per_method, float)
    values[~np.isfinite(values)] = -np.inf
    largest = values.max(0, initial=-np.inf)
    overall = largest.max(initial=-np.inf)
    return np.where(np.isfinite(largest), largest, overall if np.isfinite(overall) else np.nan)


def _worst_entry(molecule: MoleculeResult) -> float:
    values = molecule.precision_minima
    return float(values[np.isfinite(values)].max(initial=-np.inf))


def _centre(row: dict[str, Value], key: str, values: Sequence[float]) -> None:
    row[f"{key} mean"] = _finite(float(np.mean(values))) if len(values) else None
    row[f"{key} median"] = _finite(float(np.median(values))) if len(values) else None


def _counts(row: dict[str, Value], evaluation: Evaluation) -> None:
    molecules = evaluation.molecules
    total = sum((m.counts for m in molecules), Counter())
    row["conformers"] = total.total()
    for status in STATUSES:
        row[status] = total[status]
    row["unmatched"] = len(evaluation.unmatched)
    row["yield"] = _ratio(total[OK], total.total())
    row["unsolved molecules"] = sum(not m.solved for m in molecules)
    row["RMSD an upper bound"] = sum(m.upper_bound for m in molecules)
    stereo = sum((m.counts for m in molecules if m.has_stereo), Counter())
    row["stereo right"] = _ratio(stereo[OK], stereo[OK] + stereo[WRONG_STEREO])


def _faults(evaluation: Evaluation) -> Counter[str]:
    """Kind of fault -> conformers that have one."""
    return sum((m.geometry.faults for m in evaluation.molecules if m.geometry is not None), Counter())


def _soundness(row: dict[str, Value], evaluation: Evaluation) -> None:
    shapes = [m.geometry for m in evaluation.molecules if m.geometry is not None]
    row["bond MAE"] = _mean(g.bond_mae for g in shapes)
    row["angle MAE"] = _mean(g.angle_mae for g in shapes)
    row["bond MAE heavy"] = _mean(g.heavy_bond_mae for g in shapes)
    row["angle MAE heavy"] = _mean(g.heavy_angle_mae for g in shapes)
    row["sound"] = _mean(g.sound for g in shapes)
    row["clashes"] = _mean(g.faults["contact"] / g.conformers for g in shapes)
    faults, count = _faults(evaluation), sum(g.conformers for g in shapes)
    row["faults"] = ", ".join(f"{kind} {100 * n / count:.1f} %" for kind, n in faults.most_common(3)) or None
    if evaluation.cap != 0:
        checked = sum(m.checked for m in evaluation.molecules)
        row["PoseBusters pass"] = _ratio(sum(m.pb_passed for m in evaluation.molecules), checked)
        row["PoseBusters checked"] = f"{checked} of {evaluation.eligible}"
        row["PoseBusters refused molecules"] = evaluation.refused
        for name in dict.fromkeys(name for m in evaluation.molecules for name in m.strain):
            values = [v for m in evaluation.molecules for v in m.strain.get(name, ())]
            known = [v for v in values if v is not None]
            row[f"strain {name} median"] = float(np.median(known)) if known else None
            row[f"strain {name} known"] = f"{len(known)} of {len(values)}"


def compare(
    results: Mapping[str, Evaluation],
    deltas: Sequence[float] = DELTAS,
    best_of: Sequence[int] = BEST_OF,
    extra: Mapping[str, Mapping[str, Value]] | None = None,
) -> Comparison:
    """One row per method, all on the same molecules in the same order.

    Args:
        deltas: thresholds in Å for COV-R and COV-P.
        best_of: numbers of conformers for single-reference sets; used where every molecule has one reference conformer, and
            only those that every molecule was asked for under every method.
        extra: more measures per method that this module cannot know, such as seconds per conformer.

    Raises:
        ValueError: there is no method, or the methods were not run on the same molecules.
    """
    methods = list(results)
    if not methods:
        raise ValueError("no method to compare")
    table = [results[m].molecules for m in methods]
    keys = [[(r.name, r.smiles) for r in row] for row in table]
    if any(k != keys[0] for k in keys):
        raise ValueError("the methods were not evaluated on the same reference molecules in the same order")
    common = np.array([all(row[k].solved for row in table) for k in range(len(table[0]))], bool)
    worst_r = _worst([[r.amr_r for r in row] for row in table])
    worst_p = _worst([[_worst_entry(r) for r in row] for row in table])
    single = len(table[0]) > 0 and all(r.rmsd.shape[0] == 1 for r in table[0])
    least = min((r.rmsd.shape[1] for row in table for r in row), default=0)

    rows: dict[str, dict[str, Value]] = {}
    for method, molecules in zip(methods, table, strict=True):
        row = rows[method] = {}
        _counts(row, results[method])
        for delta in deltas:
            _centre(row, f"COV-R({delta:g})", [r.cov_r(delta) for r in molecules])
            _centre(row, f"COV-P({delta:g})", [r.cov_p(delta) for r in molecules])
        _centre(row, "AMR-R", [r.amr_r for r, c in zip(molecules, common, strict=True) if c])
        _centre(row, "AMR-P", [r.amr_p() for r, c in zip(molecules, common, strict=True) if c])
        _centre(row, "AMR-R all", [r.amr_r if r.solved else w for r, w in zip(molecules, worst_r, strict=True)])
        _centre(row, "AMR-P all", [r.amr_p(w) for r, w in zip(molecules, worst_p, strict=True)])
        _soundness(row, results[method])
        row.update((extra or {}).get(method, {}))
    if single:
        for n in (n for n in best_of if n <= least):
            _best_of(rows, dict(zip(methods, table, strict=True)), n)
    return Comparison(
        rows=rows,
        molecules=len(table[0]),
        common=int(common.sum()),
        failed={m: [r.name for r in row if not r.solved] for m, row in zip(methods, table, strict=True)},
        upper_bounds={m: [r.name for r in row if r.upper_bound] for m, row in zip(methods, table, strict=True)},
        problems={m: [(r.name, r.problem) for r in row if r.problem] for m, row in zip(methods, table, strict=True)},
        unmatched={m: [(u.index, u.name, u.reason) for u in results[m].unmatched] for m in methods},
        posebusters_tests={m: dict(sum((r.pb_tests for r in results[m].molecules), Counter())) for m in methods},
        faults={m: dict(_faults(results[m])) for m in methods},
    )


def _best_of(rows: dict[str, dict[str, Value]], table: Mapping[str, list[MoleculeResult]], n: int) -> None:
    """Best of the first n: failures are ∞ in the median and the shares, and at the worst method's value in the mean."""
    values = {m: np.array([r.best_of(n) for r in row]) for m, row in table.items()}
    worst = _worst([list(v) for v in values.values()])
    for method, v in values.items():
        row = rows[method]
        row[f"best of {n} median"] = _finite(float(np.median(v)))
        row[f"best of {n} mean all"] = _finite(float(np.where(np.isfinite(v), v, worst).mean()))
        for bound in SHARES:
            row[f"best of {n} < {bound:g}"] = float((v < bound).mean())
