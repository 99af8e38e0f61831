"""Atoms of which the positions are given."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...chem.conformers import coincident
from ...data import Molecule


def known_atoms(
    fixed: Sequence[np.ndarray | None] | None, molecules: Sequence[Molecule]
) -> tuple[list[Tensor] | None, list[np.ndarray | float]]:
    """Positions of kept atoms about their centre, `[N, 3]` each, NaN at the others; and the centres.

    Centred before it is cast: single precision has too few digits for a shape far from the origin.
    """
    origins: list[np.ndarray | float] = [0.0] * len(molecules)
    if fixed is None:
        return None, origins
    if len(fixed) != len(molecules):
        raise ValueError(f"{len(fixed)} fixed for {len(molecules)} molecules; give None for those without any")
    known = []
    for k, (molecule, positions) in enumerate(zip(molecules, fixed, strict=True)):
        shape = len(molecule.z), 3
        values = np.full(shape, np.nan) if positions is None else np.array(positions, dtype=float)
        if values.shape != shape:
            raise ValueError(f"{molecule.name or molecule.smiles!r}: fixed must be {shape}, got {values.shape}")
        kept = np.isfinite(values).all(1)
        if kept.any():
            if pair := coincident(values[kept]):
                one, other = np.flatnonzero(kept)[list(pair)]
                raise ValueError(
                    f"{molecule.name or molecule.smiles!r}: atoms {one + 1} and {other + 1} to keep lie in one place"
                )
            origins[k] = values[kept].mean(0)
            values -= origins[k]
        known.append(torch.from_numpy(values).float())
    return known, origins
