"""Generated conformers of a molecule against its reference ensemble: RMSD, coverage.

For a molecule with references i = 1..K and generated conformers j = 1..n, r_ij the symmetry-aware heavy-atom RMSD in Å,

    COV-R(δ) = 1/K Σ_i [min_j r_ij < δ]      AMR-R = 1/K Σ_i min_j r_ij
    COV-P(δ) = 1/n Σ_j [min_i r_ij < δ]      AMR-P = 1/n Σ_j min_i r_ij

A generated conformer that is missing, unreadable, of the wrong graph or of the wrong stereo has r_ij = ∞ for all i.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # which needs RDKit
    from .validity import Geometry

OK, WRONG_STEREO, WRONG_GRAPH, UNREADABLE, MISSING = "ok", "wrong stereo", "wrong graph", "unreadable", "missing"
STATUSES = (OK, WRONG_STEREO, WRONG_GRAPH, UNREADABLE, MISSING)


@dataclass(frozen=True)
class UnusedRecord:
    """A record that could not be used: position in its file, name, reason."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class MoleculeResult:
    """What one method made of one molecule.

    Attributes:
        name, smiles: of the reference.
        status: of each generated conformer in the order of generation, the missing ones at the end; n entries.
        rmsd: r_ij `[K, n]` in Å, ∞ in the columns that are not "ok".
        has_stereo: the molecule has stereo to get wrong.
        geometry: None where no conformer has the right graph.
        checked: how many of its conformers are in the subsample for the slow checks.
        pb_passed, pb_tests: PoseBusters: how many of those passed, and failures per check.
        strain: method -> kcal/mol of those, one entry each; None where it cannot be had (no parameters, not converged,
            wrong graph).
        upper_bound: the molecule has more symmetric atom orders than were tried, so each r_ij may be too large.
        problem: why it could not be evaluated, which makes failures of all its conformers; "" as a rule.
        messages: what RDKit and PoseBusters would have printed, and how often.
    """

    name: str
    smiles: str
    status: tuple[str, ...]
    rmsd: np.ndarray
    has_stereo: bool = False
    fragments: int = 1
    geometry: Geometry | None = None
    checked: int = 0
    pb_passed: int = 0
    pb_tests: Counter[str] = field(default_factory=Counter)
    strain: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    upper_bound: bool = False
    problem: str = ""
    messages: Counter[str] = field(default_factory=Counter)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many conformers have each status."""
        return Counter(self.status)

    @property
    def solved(self) -> bool:
        """Whether any conformer is valid."""
        return self.counts[OK] > 0

    @cached_property
    def recall_minima(self) -> np.ndarray:
        """min_j r_ij, `[K]`; ∞ where unsolved."""
        return self.rmsd.min(1, initial=np.inf)

    @cached_property
    def precision_minima(self) -> np.ndarray:
        """min_i r_ij, `[n]`; ∞ for failures."""
        return self.rmsd.min(0, initial=np.inf)

    def cov_r(self, delta: float) -> float:
        """Share of references within δ of a generated conformer."""
        return float((self.recall_minima < delta).mean())

    def cov_p(self, delta: float) -> float:
        """Share of asked-for conformers within δ of a reference."""
        return float((self.precision_minima < delta).mean()) if len(self.status) else 0.0

    @property
    def amr_r(self) -> float:
        """Å; ∞ where unsolved."""
        return float(self.recall_minima.mean())

    def amr_p(self, failure: float | None = None) -> float:
        """Å, over the valid conformers, or over all with `failure` Å for each that is not valid; ∞ where there is none."""
        values = self.precision_minima
        values = values[np.isfinite(values)] if failure is None else np.where(np.isfinite(values), values, failure)
        return float(values.mean()) if len(values) else float("inf")

    def best_of(self, n: int) -> float:
        """RMSD in Å of the best of the first n conformers, mean over the references; ∞ where none is valid."""
        return float(self.rmsd[:, :n].min(1, initial=np.inf).mean())


@dataclass(frozen=True)
class Evaluation:
    """One method on a set of reference molecules.

    Attributes:
        molecules: in the order of the references, every one of them.
        unmatched: generated records that belong to no reference.
        seconds: wall time of the evaluation.
        cap: at most this many conformers went to PoseBusters and the strain (0: none; None: all), drawn with seed `seed`
            out of `eligible`; `refused` molecules have several fragments and were left out.
    """

    molecules: list[MoleculeResult]
    unmatched: list[UnusedRecord]
    seconds: float = 0.0
    cap: int | None = 0
    seed: int = 0
    eligible: int = 0
    refused: int = 0
