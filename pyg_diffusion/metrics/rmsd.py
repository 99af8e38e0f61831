"""Symmetry-aware RMSD between the conformers of two molecules."""

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ..chem.heavy import heavy_atoms
from .validity import symmetrized

MAX_MATCHES = 10_000


def rmsd_matrix(reference: Chem.Mol, generated: Chem.Mol, max_matches: int = MAX_MATCHES) -> np.ndarray:
    """RDKit `GetBestRMS` in Å between the conformers of two molecules with the same graph, `[K, n]`.

    On heavy atoms; on all where there are only hydrogens. Symmetry-aware, no reflection. A single heavy atom gives 0. At
    most `max_matches` symmetric atom orders are tried; where a molecule has more (`too_symmetric`), the value is an upper
    bound.
    """
    heavy, probe = heavy_atoms(reference), heavy_atoms(generated)
    ids = [c.GetId() for c in heavy.GetConformers()], [c.GetId() for c in probe.GetConformers()]
    out = np.zeros((len(ids[0]), len(ids[1])))
    if heavy.GetNumAtoms() > 1:
        for i, ref in enumerate(ids[0]):
            for j, gen in enumerate(ids[1]):  # leaves the probe aligned, which the next call does not mind
                out[i, j] = rdMolAlign.GetBestRMS(probe, heavy, gen, ref, maxMatches=max_matches)
    return out


def too_symmetric(mol: Chem.Mol, max_matches: int = MAX_MATCHES) -> bool:
    """Whether the heavy atoms have more symmetric orders than `rmsd_matrix` tries, so that its values are upper bounds."""
    graph = symmetrized(heavy_atoms(mol))
    orders = graph.GetSubstructMatches(graph, uniquify=False, useChirality=False, maxMatches=max_matches + 1)
    return len(orders) > max_matches
