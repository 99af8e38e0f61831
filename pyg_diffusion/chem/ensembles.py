"""Conformer ensembles from a molecule's graph alone: ETKDGv3 starts, relaxed on one level of theory, without duplicates."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from .conformers import with_positions
from .heavy import identity_smiles
from .relax import MMFF_LEVELS, RELAX, relax_mmff, relax_xtb
from .similarity import distinct
from .stereo import check_stereo, stereo_of

LEVELS = ("ETKDGv3", *RELAX)
XTB_GRADIENT = 5e-4  # Hartree/Bohr: a few thousandths of an Å from the minimum


class Conformer(NamedTuple):
    """Positions `[N, 3]` in Å and energy in kcal/mol above the lowest of its ensemble (NaN for ETKDGv3, which has none)."""

    pos: np.ndarray
    energy: float


@dataclass(frozen=True)
class EnsembleOptions:
    """starts: ETKDGv3 embeddings per molecule; level: one of `LEVELS`; window: kcal/mol above the lowest that are kept;
    rmsd: conformers nearer than this are one, over heavy atoms and hydrogens on heteroatoms, in Å (0 keeps every one);
    keep: at most this many, the lowest in energy (0: all). The defaults of window and rmsd are CREST's (Pracht, Bohle and
    Grimme 2020)."""

    starts: int
    level: str = "GFN2-xTB"
    window: float = 6.0
    rmsd: float = 0.125
    keep: int = 0

    def __post_init__(self) -> None:
        if self.starts < 1:
            raise ValueError(f"starts must be at least 1, got {self.starts}")
        if self.level not in LEVELS:
            raise ValueError(f"no level {self.level!r}; there are {', '.join(LEVELS)}")
        if self.window <= 0 or self.rmsd < 0 or self.keep < 0:
            raise ValueError("window must be > 0, rmsd and keep >= 0")


def ensemble(mol: Chem.Mol, options: EnsembleOptions, notes: Counter[str] | None = None) -> list[Conformer]:
    """The conformers found, by energy.

    Starts relax by MMFF94s (where it has parameters) before GFN2-xTB; what changes its stereo or breaks on the way is left
    out and counted in `notes`. The seed follows from the molecule's SMILES, so the same graph gives the same starts.

    Args:
        mol: sanitized, with explicit hydrogens; its own conformers are not used.

    Raises:
        ValueError: no start can be embedded, or none survives.
    """
    notes = Counter() if notes is None else notes
    work = Chem.Mol(mol)
    work.RemoveAllConformers()
    parameters = rdDistGeom.ETKDGv3()
    text = identity_smiles(work)
    # not 0: RDKit multiplies its seed by the conformer's number
    parameters.randomSeed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1 | 1  # type: ignore[assignment]
    with rdBase.BlockLogs():
        ids = list(rdDistGeom.EmbedMultipleConfs(work, options.starts, parameters))
    if not ids:
        raise ValueError("ETKDGv3 finds no conformer")
    stereo = stereo_of(work)
    found = [Conformer(work.GetConformer(k).GetPositions(), float("nan")) for k in ids]
    if options.level != "ETKDGv3":
        relaxed = [_relaxed(work, k, RELAX[options.level] if options.level in MMFF_LEVELS else relax_mmff) for k in ids]
        if options.level in MMFF_LEVELS:
            notes[f"starts that {options.level} could not relax"] += relaxed.count(None)
            found = [c for c in relaxed if c is not None]
        else:  # as a start, an unrelaxed embedding will do
            found = [c or raw for c, raw in zip(relaxed, found, strict=True)]
            found = _distinct(work, _right(found, stereo, notes), options)
            start = with_positions(work, np.stack([c.pos for c in found])) if found else work
            deeper = [_relaxed(start, c.GetId(), relax_xtb, gradient=XTB_GRADIENT) for c in start.GetConformers()]
            notes["starts that GFN2-xTB could not relax"] += deeper.count(None)
            found = [c for c in deeper if c is not None]
    found = _right(found, stereo, notes)
    if not found:
        raise ValueError(f"none of {len(ids)} starts can be relaxed by {options.level}")
    found = sorted(found, key=lambda c: c.energy)
    lowest = found[0].energy
    found = [Conformer(c.pos, c.energy - lowest) for c in found if not c.energy - lowest > options.window]
    return _distinct(work, found, options)[: options.keep or None]


def _relaxed(mol: Chem.Mol, conformer: int, relax, **options: float) -> Conformer | None:
    found = relax(mol, conformer, **options)
    return None if found is None else Conformer(found.pos, found.energy)


def _right(found: list[Conformer], stereo, notes: Counter[str]) -> list[Conformer]:
    """Those of the wanted stereo."""
    kept = [c for c in found if check_stereo(stereo, c.pos)]
    notes["conformers of wrong stereo"] += len(found) - len(kept)
    return kept


def _distinct(mol: Chem.Mol, found: list[Conformer], options: EnsembleOptions) -> list[Conformer]:
    keep = distinct(mol, np.stack([c.pos for c in found]), options.rmsd) if found else []
    return [found[k] for k in keep]
