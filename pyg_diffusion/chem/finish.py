"""What can be done to sampled conformers afterwards: relaxed, given energies and populations, ranked, cut to a window of
energy, freed of near-duplicates."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from .acceptance import Acceptance
from .conformers import with_positions
from .relax import FREE, RELAX, Hold, energy, require
from .similarity import distinct, groups_of_equals, torsion_distinct

PRUNED = "conformers left out as near-duplicates"
ABOVE = "conformers left out above the window of energy"
NO_ENERGY = "conformers without an energy, left out of the window"
UNSOUND = "unsound conformers written, with what is wrong in the data field 'unsound'"
LEFT_OUT = (PRUNED, ABOVE, NO_ENERGY)
FIELDS = (  # of the output
    "confidence", "relaxed", "strain_before_kcal_mol", "energy_level", "energy_kcal_mol", "population", "equal_conformers",
    "unsound",
)  # fmt: skip
GAS_CONSTANT = 1.987204259e-3  # kcal/(mol K), CODATA 2018
EQUAL = 0.1  # Å; conformers nearer than this are one minimum to `populations`
OWN = " (input)"  # behind the name of an input's data field that has one of these names


def with_own_aside(mol: Chem.Mol, names: Iterable[str] = FIELDS) -> tuple[Chem.Mol, list[str]]:
    """A copy whose own data fields do not have these names, and which did: what the input says of its conformer is kept, and
    says nothing of others. One set aside before stays what it was."""
    copy = Chem.Mol(mol)
    moved = [name for name in names if copy.HasProp(name)]
    for name in moved:
        if not copy.HasProp(name + OWN):
            copy.SetProp(name + OWN, copy.GetProp(name))
        copy.ClearProp(name)
    return copy, moved


class Finished(NamedTuple):
    """A conformer `[N, 3]` in Å and what is written beside it."""

    pos: np.ndarray
    properties: dict[str, str]


@dataclass(frozen=True)
class Finish:
    """Conformers come out by energy where there are energies, else by confidence, the best first.

    Attributes:
        relax: a surface of `chem.relax`: move each to the nearest minimum. What cannot be relaxed, or would lose its stereo
            or become unsound, stays as it was, and is counted.
        energies: of which surface; that of `relax` where only that is given.
        prune: conformers nearer than this many Å (best RMSD over heavy atoms and polar hydrogens) to a better one are left
            out; 0 keeps all.
        prune_torsions: those whose torsion fingerprint deviates by less than this from a better one's
            (`similarity.torsion_distinct`); 0 keeps all.
        window: those more than this many kcal/mol above the lowest are left out, and those of unknown energy; needs
            energies.
        kelvin: temperature of the property "population"; 0 for none; needs energies. Conformers within `EQUAL` Å of each
            other are one minimum, whose population they share; "equal_conformers" says how many they are.
    """

    relax: str = ""
    energies: str = ""
    prune: float = 0.0
    prune_torsions: float = 0.0
    window: float = math.inf
    kelvin: float = 0.0

    def __post_init__(self) -> None:
        require(level for level in (self.relax, self.energies) if level)
        for name in ("prune", "prune_torsions", "window", "kelvin"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if (self.window < math.inf or self.kelvin) and not self.level:
            name = "window" if self.window < math.inf else "kelvin"
            raise ValueError(f"{name} needs energies: relax, or give them a surface ({', '.join(RELAX)})")

    @property
    def level(self) -> str:
        """The surface of the energies, "" for none."""
        return self.energies or self.relax

    def __call__(
        self,
        mol: Chem.Mol,
        accept: Acceptance,
        positions: np.ndarray,
        confidence: np.ndarray | None = None,
        hold: Hold = FREE,
    ) -> tuple[list[Finished], Counter[str]]:
        """The conformers `[k, N, 3]` that remain, in order, and how many could not be relaxed or were left out; relaxing
        moves nothing of what is held.

        Unsound ones have the property "unsound" with what is wrong.
        """
        notes: Counter[str] = Counter()
        positions = np.array(positions, dtype=np.float64)
        properties: list[dict[str, str]] = [{} for _ in positions]
        score = np.zeros(len(positions)) if confidence is None else -np.asarray(confidence, dtype=float)
        if confidence is not None:
            for text, value in zip(properties, confidence, strict=True):
                text["confidence"] = f"{value:.3f}"
        placed = with_positions(mol, positions)
        if self.relax:
            for k, text in enumerate(properties):
                found = RELAX[self.relax](placed, k, hold=hold)
                good = found is not None and accept.no_worse(found.pos, positions[k])
                if found is not None and good:
                    positions[k] = found.pos
                    text["strain_before_kcal_mol"] = f"{found.strain:.2f}"
                else:
                    notes[f"conformers that {self.relax} could not relax"] += 1
                text["relaxed"] = self.relax if good else "no"
            placed = with_positions(mol, positions)
        if self.level:
            values = np.array([energy(placed, self.level, k) for k in range(len(positions))], dtype=float)
            score = np.where(np.isfinite(values), values, np.inf)
            lowest = score.min(initial=np.inf)
            for text, value in zip(properties, values, strict=True):
                text["energy_level"] = self.level
                text["energy_kcal_mol"] = f"{value - lowest:.2f}" if np.isfinite(value) else "unknown"
        for pos, text in zip(positions, properties, strict=True):
            if words := accept.words(pos):
                text["unsound"] = words
        kept = self._kept(mol, positions, score, notes)
        if self.kelvin:
            self._populate(mol, positions, score, kept, properties)
        notes[UNSOUND] += sum("unsound" in properties[k] for k in kept)
        return [Finished(positions[k], properties[k]) for k in kept], +notes

    def _kept(self, mol: Chem.Mol, positions: np.ndarray, score: np.ndarray, notes: Counter[str]) -> list[int]:
        """The conformers that remain, the best first."""
        order = np.argsort(score, kind="stable")
        if self.window < math.inf:
            notes[NO_ENERGY] += int(np.isinf(score).sum())
            within = score[order] <= score.min(initial=np.inf) + self.window
            within &= np.isfinite(score[order])
            notes[ABOVE] += int(np.isfinite(score).sum() - within.sum())
            order = order[within]
        kept = [order[k] for k in distinct(mol, positions[order], self.prune)]
        kept = [kept[k] for k in torsion_distinct(mol, positions[kept], self.prune_torsions)]
        notes[PRUNED] += len(order) - len(kept)
        return kept

    def _populate(
        self, mol: Chem.Mol, positions: np.ndarray, score: np.ndarray, kept: list[int], properties: list[dict[str, str]]
    ) -> None:
        """Give the remaining conformers their populations."""
        energies = score[kept]
        of = groups_of_equals(mol, positions[kept], EQUAL)
        for k, share, equals in zip(kept, *populations(energies, of, self.kelvin), strict=True):
            properties[k]["population"] = f"{share:.4f}" if np.isfinite(score[k]) else "unknown"
            properties[k]["equal_conformers"] = str(equals)


def populations(energies: np.ndarray, of: np.ndarray, kelvin: float) -> tuple[np.ndarray, np.ndarray]:
    """Boltzmann populations of conformers, equal ones of which are one minimum: (population, how many are equal), `[K]`.

    A minimum m of energy E_m, the lowest of its conformers, has p_m = exp(-E_m / RT) / Σ exp(-E / RT), which its conformers
    share alike. Entropy is left out: minima of unlike width or symmetry count by energy alone.

    Args:
        energies: `[K]` in kcal/mol; infinite where unknown, which has none.
        of: the minimum of each, `[K]`, any numbers.
        kelvin: T > 0.

    Example:
        >>> import numpy as np
        >>> from pyg_diffusion.chem.finish import populations
        >>> shares, equal = populations(np.array([0.0, 0.0, 0.0]), np.array([0, 0, 1]), 298.15)
        >>> shares.tolist(), equal.tolist()
        ([0.25, 0.25, 0.5], [2, 2, 1])
    """
    _, which, count = np.unique(of, return_inverse=True, return_counts=True)
    lowest = np.full(len(count), np.inf)
    np.minimum.at(lowest, which, energies)
    known = np.isfinite(lowest)
    above = np.where(known, lowest, 0.0) - lowest[known].min(initial=np.inf) if known.any() else np.zeros(len(lowest))
    weight = np.where(known, np.exp(-above / (GAS_CONSTANT * kelvin)), 0.0)
    share = weight / max(weight.sum(), 1e-300)
    return (share / count)[which], count[which]
