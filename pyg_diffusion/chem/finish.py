"""What can be done to sampled conformers afterwards: relaxed, given energies, ranked, freed of near-duplicates."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from .acceptance import Acceptance
from .conformers import with_positions
from .relax import RELAX, energy, require
from .similarity import distinct

PRUNED = "conformers left out as near-duplicates"
UNSOUND = "unsound conformers written, with what is wrong in the data field 'unsound'"
FIELDS = ("confidence", "relaxed", "strain_before_kcal_mol", "energy_level", "energy_kcal_mol", "unsound")  # of the output
OWN = " (input)"  # behind the name of an input's data field that has one of these names


def with_own_aside(mol: Chem.Mol) -> tuple[Chem.Mol, list[str]]:
    """A copy whose own data fields do not have the names of `FIELDS`, and which did: what the input says of its conformer is
    kept, and says nothing of others. One set aside before stays what it was."""
    copy = Chem.Mol(mol)
    moved = [name for name in FIELDS if copy.HasProp(name)]
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
    """

    relax: str = ""
    energies: str = ""
    prune: float = 0.0

    def __post_init__(self) -> None:
        require(level for level in (self.relax, self.energies) if level)
        if self.prune < 0:
            raise ValueError(f"prune must be >= 0, got {self.prune}")

    def __call__(
        self, mol: Chem.Mol, accept: Acceptance, positions: np.ndarray, confidence: np.ndarray | None = None
    ) -> tuple[list[Finished], Counter[str]]:
        """The conformers `[k, N, 3]` that remain, in order, and how many could not be relaxed or were left out.

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
                found = RELAX[self.relax](placed, k)
                good = found is not None and self._no_worse(accept, found.pos, positions[k])
                if found is not None and good:
                    positions[k] = found.pos
                    text["strain_before_kcal_mol"] = f"{found.strain:.2f}"
                else:
                    notes[f"conformers that {self.relax} could not relax"] += 1
                text["relaxed"] = self.relax if good else "no"
            placed = with_positions(mol, positions)
        level = self.energies or self.relax
        if level:
            values = np.array([energy(placed, level, k) for k in range(len(positions))], dtype=float)
            score = np.where(np.isfinite(values), values, np.inf)
            lowest = score.min(initial=np.inf)
            for text, value in zip(properties, values, strict=True):
                text["energy_level"] = level
                text["energy_kcal_mol"] = f"{value - lowest:.2f}" if np.isfinite(value) else "unknown"
        for pos, text in zip(positions, properties, strict=True):
            if words := accept.words(pos):
                text["unsound"] = words
        order = np.argsort(score, kind="stable")
        kept = [order[k] for k in distinct(mol, positions[order], self.prune)]
        notes[PRUNED] += len(order) - len(kept)
        notes[UNSOUND] += sum("unsound" in properties[k] for k in kept)
        return [Finished(positions[k], properties[k]) for k in kept], +notes

    @staticmethod
    def _no_worse(accept: Acceptance, pos: np.ndarray, before: np.ndarray) -> bool:
        """Whether `[N, 3]` is of the right stereo, and sound or nearer to it than what was there."""
        excess = accept.gate.excess(np.stack([pos, before]))
        return bool(accept.right(pos[None])[0] and (excess[0] == 0 or excess[0] < excess[1]))
