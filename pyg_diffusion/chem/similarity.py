"""Which conformers of a molecule are alike: near-duplicates, and the few that stand for many.

Alike means a small best RMSD over heavy atoms and hydrogens on heteroatoms: symmetric atoms interchanged, no reflection.
"""

from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import TorsionFingerprints, rdMolAlign

from ..deadline import check_time
from .conformers import with_positions
from .features import molecule_from_mol
from .heavy import heavy_atoms
from .soundness import Soundness

MAX_MATCHES = 200  # automorphisms tried when two conformers are compared
CONFIDENCE_POWER = 4  # chosen on QM9 molecules: a higher one finds fewer minima, a lower one more that are none


class _Aligned:
    """RMSD between the conformers `[K, N, 3]` of a molecule."""

    def __init__(self, mol: Chem.Mol, positions: np.ndarray):
        editable = Chem.RWMol(with_positions(mol, positions))
        for atom in reversed(list(editable.GetAtoms())):
            near = [n.GetAtomicNum() for n in atom.GetNeighbors()]
            if atom.GetAtomicNum() == 1 and near == [6]:
                editable.RemoveAtom(atom.GetIdx())
        self.core = editable.GetMol()
        with rdBase.BlockLogs():
            matches = self.core.GetSubstructMatches(self.core, uniquify=False, useChirality=False, maxMatches=MAX_MATCHES)
        self.maps = [list(zip(match, range(self.core.GetNumAtoms()), strict=True)) for match in matches]

    def rmsd(self, a: int, b: int) -> float:
        """Of two conformers, in Å."""
        check_time()
        return rdMolAlign.GetBestRMS(self.core, self.core, a, b, map=self.maps)


def distinct(mol: Chem.Mol, positions: np.ndarray, rmsd: float) -> list[int]:
    """Indices of the conformers `[K, N, 3]` farther than `rmsd` in Å from every earlier one that was kept."""
    if rmsd <= 0 or len(positions) < 2:
        return list(range(len(positions)))
    aligned = _Aligned(mol, positions)
    kept: list[int] = []
    for k in range(len(positions)):
        if all(aligned.rmsd(k, other) > rmsd for other in kept):
            kept.append(k)
    return kept


def groups_of_equals(mol: Chem.Mol, positions: np.ndarray, rmsd: float) -> np.ndarray:
    """For each conformer `[K, N, 3]` the first that it lies within `rmsd` in Å of, `[K]`; itself where there is none."""
    of = np.arange(len(positions))
    if len(positions) < 2:
        return of
    aligned = _Aligned(mol, positions)
    for k in range(1, len(positions)):
        of[k] = next((other for other in np.unique(of[:k]) if aligned.rmsd(k, int(other)) <= rmsd), k)
    return of


def torsion_distinct(mol: Chem.Mol, positions: np.ndarray, deviation: float) -> list[int]:
    """Indices of the conformers `[K, N, 3]` whose torsion fingerprint deviates by more than `deviation` from that of every
    earlier one that was kept.

    The torsion fingerprint deviation (Schulz-Gasch et al. 2012, doi:10.1021/ci2002318) is the mean of the differences of
    torsions, each over 180°, weighted towards the middle of the molecule: 0 for equal ones, 1 for all turned by half.
    Molecules without a torsion of heavy atoms have none, and all their conformers are kept.
    """
    everything = list(range(len(positions)))
    if deviation <= 0 or len(positions) < 2:
        return everything
    placed = heavy_atoms(with_positions(mol, positions))
    kept: list[int] = []
    angles: list[Any] = []
    with rdBase.BlockLogs():
        try:
            torsions = TorsionFingerprints.CalculateTorsionLists(placed, ignoreColinearBonds=False)
            weights = TorsionFingerprints.CalculateTorsionWeights(placed, ignoreColinearBonds=False)
            for k in everything:
                check_time()
                angles.append(TorsionFingerprints.CalculateTorsionAngles(placed, torsions[0], torsions[1], confId=k))
                if all(TorsionFingerprints.CalculateTFD(angles[k], angles[o], weights) > deviation for o in kept):
                    kept.append(k)
        except (ValueError, IndexError, ZeroDivisionError):  # no torsions
            return everything
    return kept


def representatives(mol: Chem.Mol, positions: np.ndarray, n: int, confidence: np.ndarray | None = None) -> list[int]:
    """Indices of the n conformers `[K, N, 3]` that stand best for all sound ones, the first the most central.

    S is grown greedily to minimise Σ_k w_k min_{s in S} RMSD(k, s), the recall of the K with the n: within (1 - 1/e) of
    the largest gain there is (Nemhauser, Wolsey and Fisher 1978, facility location). The weights w are a power of the
    confidences `[K]`, or 1. Unsound conformers (`soundness`) are taken only where there are fewer than n sound ones, the
    nearest to soundness first; all are if K <= n.
    """
    if len(positions) <= n:
        return list(range(len(positions)))
    weight = np.ones(len(positions)) if confidence is None else np.nan_to_num(confidence) ** CONFIDENCE_POWER
    excess = Soundness(molecule_from_mol(mol, conformers=False)).excess(positions)
    sound = np.flatnonzero(excess == 0)
    if len(sound) <= n:
        return np.argsort(excess, kind="stable")[:n].tolist()
    return sound[_central(mol, positions[sound], n, weight[sound])].tolist()


def _central(mol: Chem.Mol, positions: np.ndarray, n: int, weight: np.ndarray) -> list[int]:
    """n <= K of the conformers, chosen by weighted recall."""
    count = len(positions)
    aligned = _Aligned(mol, positions)
    distance = np.zeros((count, count))
    for a in range(count):
        for b in range(a):
            distance[a, b] = distance[b, a] = aligned.rmsd(a, b)
    nearest = np.full(count, distance.max(initial=0.0))
    kept: list[int] = []
    for _ in range(n):
        cost = weight @ np.minimum(nearest[:, None], distance)
        cost[kept] = np.inf
        kept.append(int(cost.argmin()))
        nearest = np.minimum(nearest, distance[:, kept[-1]])
    return kept
