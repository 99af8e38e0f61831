"""The measures of conformers.

They are taken per molecule first, then as mean and median over molecules. AMR comes twice:

- `AMR-R`, `AMR-P`: over the molecules that every method solved (AMR-P over their valid conformers);
- `AMR-R all`, `AMR-P all`: over all molecules, each failure at the worst method's value: for AMR-R of an unsolved molecule
  the largest AMR-R of any method on that molecule; for AMR-P each conformer that is not valid enters with the largest
  min_i r_ij of any method's conformer on that molecule. Where no method solved a molecule, the largest such value on any
  molecule stands in.

Strain is the median over the conformers of the subsample that have one (`strain ... known` says how many). Conformers that
MMFF94s or GFN2-xTB has relaxed have none by that measure, so it says nothing of them: read the other one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .registry import Value, measure
from .result import OK, STATUSES, WRONG_STEREO, Evaluation, MoleculeResult

if TYPE_CHECKING:  # which needs RDKit
    from .validity import Geometry

SHARES = (0.5, 1.0, 2.0)  # Å


@dataclass(frozen=True)
class Methods:
    """Several methods on the same molecules: what a measure of one may need of the others."""

    every: Sequence[Evaluation]

    @cached_property
    def molecules(self) -> list[tuple[MoleculeResult, ...]]:
        """Each molecule under every method."""
        return list(zip(*(one.molecules for one in self.every), strict=True))

    @cached_property
    def common(self) -> np.ndarray:
        """Which molecules every method solved, `[M]` bool."""
        return np.array([all(r.solved for r in row) for row in self.molecules], bool)

    @cached_property
    def worst_r(self) -> np.ndarray:
        """AMR-R of the worst method on each molecule, `[M]`."""
        return _worst([[r.amr_r for r in row] for row in self.molecules])

    @cached_property
    def worst_p(self) -> np.ndarray:
        """min_i r_ij of the worst conformer of any method on each molecule, `[M]`."""
        return _worst([[_worst_entry(r) for r in row] for row in self.molecules])

    def worst_of(self, n: int) -> np.ndarray:
        """The best of n conformers of the worst method on each molecule, `[M]`."""
        return _worst([[r.best_of(n) for r in row] for row in self.molecules])


@dataclass(frozen=True)
class Scored:
    """One method's evaluation, which is what measures of conformers are given.

    Attributes:
        evaluation: of this method.
        among: all methods, this one included.
        deltas: thresholds of COV in Å.
        best_of: numbers of conformers of `best of n`.
    """

    evaluation: Evaluation
    among: Methods
    deltas: Sequence[float] = ()
    best_of: Sequence[int] = ()

    @property
    def molecules(self) -> list[MoleculeResult]:
        """Of this method."""
        return self.evaluation.molecules

    @cached_property
    def counts(self) -> Counter[str]:
        """Status -> conformers."""
        return sum((m.counts for m in self.molecules), Counter())

    @cached_property
    def shapes(self) -> list[Geometry]:
        """Of the molecules with a conformer of the right graph."""
        return [m.geometry for m in self.molecules if m.geometry is not None]

    @cached_property
    def bests(self) -> list[int]:
        """Those of `best_of` that every molecule was asked for; none where a molecule has more than one reference."""
        single = bool(self.molecules) and all(r.rmsd.shape[0] == 1 for r in self.molecules)
        least = min((r.rmsd.shape[1] for row in self.among.molecules for r in row), default=0)
        return [n for n in self.best_of if single and n <= least]


def _finite(value: float) -> float | None:
    """JSON knows neither NaN nor ∞; a median is ∞ where half of the molecules failed."""
    return float(value) if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    kept = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(kept)) if kept else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _centre(name: str, values: Sequence[float]) -> dict[str, Value]:
    """Mean and median over molecules."""
    return {
        f"{name} mean": _finite(float(np.mean(values))) if len(values) else None,
        f"{name} median": _finite(float(np.median(values))) if len(values) else None,
    }


def _worst(per_molecule: Sequence[Sequence[float]]) -> np.ndarray:
    """Of each molecule the largest finite value of any method, else the largest anywhere (NaN if there is none), `[M]`."""
    values = np.array(per_molecule, float).reshape(len(per_molecule), -1)
    values[~np.isfinite(values)] = -np.inf
    largest = values.max(1, initial=-np.inf)
    overall = largest.max(initial=-np.inf)
    return np.where(np.isfinite(largest), largest, overall if np.isfinite(overall) else np.nan)


def _worst_entry(molecule: MoleculeResult) -> float:
    values = molecule.precision_minima
    return float(values[np.isfinite(values)].max(initial=-np.inf))


def fault_counts(evaluation: Evaluation) -> Counter[str]:
    """Kind of fault (`chem.soundness.KINDS`) -> conformers that have one."""
    return sum((m.geometry.faults for m in evaluation.molecules if m.geometry is not None), Counter())


# How many there are, and of what kind


@measure("molecules")
def conformers(scored: Scored) -> int:
    """Conformers asked for."""
    return scored.counts.total()


@measure("molecules")
def status(scored: Scored) -> dict[str, Value]:
    """How many conformers have each status."""
    return {name: scored.counts[name] for name in STATUSES}


@measure("molecules")
def unmatched(scored: Scored) -> int:
    """Generated records that belong to no reference."""
    return len(scored.evaluation.unmatched)


@measure("molecules")
def valid(scored: Scored) -> float | None:
    """Share of the conformers asked for that are valid."""
    return _ratio(scored.counts[OK], scored.counts.total())


@measure("molecules")
def unsolved(scored: Scored) -> int:
    """Molecules without any valid conformer."""
    return sum(not m.solved for m in scored.molecules)


@measure("molecules")
def upper_bounds(scored: Scored) -> int:
    """Molecules with more symmetric atom orders than were tried."""
    return sum(m.upper_bound for m in scored.molecules)


@measure("molecules")
def stereo(scored: Scored) -> float | None:
    """Share with the right stereo, of the conformers of the right graph of molecules that have any."""
    counts: Counter[str] = sum((m.counts for m in scored.molecules if m.has_stereo), Counter())
    return _ratio(counts[OK], counts[OK] + counts[WRONG_STEREO])


# How near they are


@measure("molecules")
def coverage(scored: Scored) -> dict[str, Value]:
    """COV-R and COV-P at each threshold."""
    rows: dict[str, Value] = {}
    for delta in scored.deltas:
        rows |= _centre(f"COV-R({delta:g})", [r.cov_r(delta) for r in scored.molecules])
        rows |= _centre(f"COV-P({delta:g})", [r.cov_p(delta) for r in scored.molecules])
    return rows


@measure("molecules", unit="Å")
def amr_r(scored: Scored) -> dict[str, Value]:
    """AMR-R over the molecules that every method solved."""
    return _centre("AMR-R", [r.amr_r for r, c in zip(scored.molecules, scored.among.common, strict=True) if c])


@measure("molecules", unit="Å")
def amr_p(scored: Scored) -> dict[str, Value]:
    """AMR-P over the valid conformers of the molecules that every method solved."""
    return _centre("AMR-P", [r.amr_p() for r, c in zip(scored.molecules, scored.among.common, strict=True) if c])


@measure("molecules", unit="Å")
def amr_r_all(scored: Scored) -> dict[str, Value]:
    """AMR-R over all molecules, unsolved ones at the worst method's."""
    worst = scored.among.worst_r
    return _centre("AMR-R all", [r.amr_r if r.solved else w for r, w in zip(scored.molecules, worst, strict=True)])


@measure("molecules", unit="Å")
def amr_p_all(scored: Scored) -> dict[str, Value]:
    """AMR-P over all molecules, invalid conformers at the worst conformer's of any method."""
    return _centre("AMR-P all", [r.amr_p(w) for r, w in zip(scored.molecules, scored.among.worst_p, strict=True)])


@measure("molecules", unit="Å")
def best_of(scored: Scored) -> dict[str, Value]:
    """RMSD of the best of the first n: failures are ∞ in the median, and at the worst method's value in the mean."""
    rows: dict[str, Value] = {}
    for n in scored.bests:
        values = np.array([r.best_of(n) for r in scored.molecules])
        rows[f"best of {n} median"] = _finite(float(np.median(values)))
        rows[f"best of {n} mean all"] = _finite(
            float(np.where(np.isfinite(values), values, scored.among.worst_of(n)).mean())
        )
    return rows


@measure("molecules")
def best_of_shares(scored: Scored) -> dict[str, Value]:
    """Share of molecules whose best of the first n is nearer than each of `SHARES`."""
    rows: dict[str, Value] = {}
    for n in scored.bests:
        values = np.array([r.best_of(n) for r in scored.molecules])
        rows |= {f"best of {n} < {bound:g}": float((values < bound).mean()) for bound in SHARES}
    return rows


# How sound they are


@measure("molecules", unit="Å")
def bond_mae(scored: Scored) -> float | None:
    """Mean error of bond lengths."""
    return _mean(g.bond_mae for g in scored.shapes)


@measure("molecules", unit="°")
def angle_mae(scored: Scored) -> float | None:
    """Mean error of bond angles."""
    return _mean(g.angle_mae for g in scored.shapes)


@measure("molecules", unit="Å")
def heavy_bond_mae(scored: Scored) -> float | None:
    """The same of bonds between heavy atoms."""
    return _mean(g.heavy_bond_mae for g in scored.shapes)


@measure("molecules", unit="°")
def heavy_angle_mae(scored: Scored) -> float | None:
    """The same of angles between heavy atoms."""
    return _mean(g.heavy_angle_mae for g in scored.shapes)


@measure("molecules")
def sound(scored: Scored) -> float | None:
    """Share that passes the gate (`chem.Soundness`)."""
    return _mean(g.sound for g in scored.shapes)


@measure("molecules")
def clashes(scored: Scored) -> float | None:
    """Share with atoms in contact."""
    return _mean(g.faults["contact"] / g.conformers for g in scored.shapes)


@measure("molecules")
def faults(scored: Scored) -> str | None:
    """The three most frequent faults and the share of conformers that have them."""
    total = sum(g.conformers for g in scored.shapes)
    found = fault_counts(scored.evaluation).most_common(3)
    return ", ".join(f"{kind} {100 * n / total:.1f} %" for kind, n in found) or None


@measure("molecules")
def posebusters(scored: Scored) -> dict[str, Value]:
    """Share of the subsample that passes PoseBusters."""
    evaluation = scored.evaluation
    if evaluation.cap == 0:
        return {}
    checked = sum(m.checked for m in scored.molecules)
    return {
        "PoseBusters pass": _ratio(sum(m.pb_passed for m in scored.molecules), checked),
        "PoseBusters checked": f"{checked} of {evaluation.eligible}",
        "PoseBusters refused molecules": evaluation.refused,
    }


def _strains(scored: Scored) -> dict[str, list[float | None]]:
    """Method -> the strain of each conformer of the subsample."""
    names = dict.fromkeys(name for m in scored.molecules for name in m.strain) if scored.evaluation.cap != 0 else ()
    return {name: [v for m in scored.molecules for v in m.strain.get(name, ())] for name in names}


@measure("molecules", unit="kcal/mol")
def strain(scored: Scored) -> dict[str, Value]:
    """Median over the subsample, where it can be had."""
    known = {name: [v for v in values if v is not None] for name, values in _strains(scored).items()}
    return {f"strain {name} median": float(np.median(v)) if v else None for name, v in known.items()}


@measure("molecules")
def strain_known(scored: Scored) -> dict[str, Value]:
    """For how many of the subsample it can be had."""
    return {
        f"strain {name} known": f"{sum(v is not None for v in values)} of {len(values)}"
        for name, values in _strains(scored).items()
    }
