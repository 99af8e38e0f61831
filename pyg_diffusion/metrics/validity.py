"""Is a generated conformer a sound one: graph, stereo, bond lengths, angles, the gate, PoseBusters."""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np
import rdkit
from rdkit import Chem, rdBase
from rdkit.Chem.rdDistGeom import EmbedParameters

from ..chem.features import molecule_from_mol
from ..chem.heavy import heavy_atoms
from ..chem.soundness import Soundness
from ..chem.stereo import Stereo, check_stereo, stereo_of
from ..extras import require

# Terminal O and N of carboxylates, phosphates, nitro groups: one group chemically, though one drawing tells them apart.
_CONJUGATED = Chem.MolFromSmarts("[O,N;D1;$([O,N;D1]-[*]=[O,N;D1]),$([O,N;D1]=[*]-[O,N;D1])]~[*]")
ENERGY_SECONDS = 20.0  # of embedding, for the energy ratio of one molecule
_without_energy: set[tuple] = set()  # what PoseBusters could not embed: it would try again for every conformer


def signature(mol: Chem.Mol) -> tuple:
    """Elements, charges and bonds in atom order; equal for two molecules whose graphs and numbering agree."""
    bonds = sorted(
        (*sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())), float(b.GetBondTypeAsDouble())) for b in mol.GetBonds()
    )
    return tuple((a.GetAtomicNum(), a.GetFormalCharge(), a.GetIsotope()) for a in mol.GetAtoms()), tuple(bonds)


def atom_map(reference: Chem.Mol, mol: Chem.Mol) -> np.ndarray | None:
    """For each reference atom its atom in `mol` (stereo not looked at), `[N]`, or None where the graphs differ.

    The identity is preferred where it fits, because a generator that keeps the atom order meant that order.
    """
    if (mol.GetNumAtoms(), mol.GetNumBonds()) != (reference.GetNumAtoms(), reference.GetNumBonds()):
        return None
    if signature(mol) == signature(reference):
        return np.arange(mol.GetNumAtoms())
    match = mol.GetSubstructMatch(reference)
    return np.array(match, int) if len(match) == mol.GetNumAtoms() else None


def symmetrized(mol: Chem.Mol) -> Chem.Mol:
    """A copy in which the terminal O and N of a conjugated group are drawn alike, as `rdMolAlign.GetBestRMS` takes them."""
    graph = Chem.RWMol(mol)
    for end, inner in graph.GetSubstructMatches(_CONJUGATED, uniquify=False) if graph.GetNumBonds() else ():
        graph.GetAtomWithIdx(end).SetFormalCharge(0)
        graph.GetBondBetweenAtoms(end, inner).SetBondType(Chem.BondType.SINGLE)
    return graph


def automorphisms(mol: Chem.Mol, max_matches: int = 10_000) -> list[np.ndarray]:
    """Renumberings of a molecule with explicit hydrogens that leave its graph as it is, `[N]` each.

    Found on the heavy atoms (stereo ignored; conjugated terminal O and N count as equal), each hydrogen following its
    neighbour: exchanging two hydrogens of one atom changes no stereo, so those permutations are left out. At most
    `max_matches` are returned.
    """
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    if not heavy:
        return [np.arange(mol.GetNumAtoms())]
    graph = symmetrized(heavy_atoms(mol))
    hydrogens = [
        [n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1] for atom in map(mol.GetAtomWithIdx, heavy)
    ]
    found = []
    for match in graph.GetSubstructMatches(graph, uniquify=False, useChirality=False, maxMatches=max_matches):
        if any(len(hydrogens[k]) != len(hydrogens[m]) for k, m in enumerate(match)):
            continue
        image = np.arange(mol.GetNumAtoms())
        for k, m in enumerate(match):
            image[heavy[k]] = heavy[m]
            image[hydrogens[k]] = hydrogens[m]
        found.append(image)
    return found


@dataclass
class StereoCheck:
    """The wanted stereo of a molecule with explicit hydrogens, up to the molecule's symmetry.

    A conformer is right if it satisfies `check_stereo` under any automorphism of the graph: in a meso compound the two
    centres may change places, in 1,4-dimethylcyclohexane the two ring halves (which flips both labels at once). This is
    the definition of "same stereoisomer" and needs no canonical ranking. Where a molecule has more than `max_matches`
    automorphisms, those not tried can only turn a right verdict into a wrong one.
    """

    mol: Chem.Mol
    max_matches: int = 10_000
    stereo: Stereo = field(init=False)
    _images: list[np.ndarray] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.stereo = stereo_of(self.mol)

    @property
    def specified(self) -> bool:
        """Whether there is any stereo to get wrong."""
        return len(self.stereo.tetra) + len(self.stereo.ez) > 0

    def place(self, pos: np.ndarray) -> tuple[np.ndarray, bool]:
        """Coordinates `[N, 3]`, renumbered by an automorphism so that the stereo holds, and whether one was found."""
        if not self.specified or check_stereo(self.stereo, pos):
            return pos, True
        if self._images is None:
            # Only the images of the stereo atoms matter, so images that agree there are tried once.
            atoms = np.unique(np.concatenate([self.stereo.tetra.ravel(), self.stereo.ez.ravel()])).astype(int)
            self._images = list({tuple(i[atoms]): i for i in automorphisms(self.mol, self.max_matches)}.values())
        for image in self._images:
            if check_stereo(self.stereo, pos[image]):
                return pos[image], True
        return pos, False


@dataclass(frozen=True)
class Geometry:
    """Local geometry of a molecule's generated conformers against its reference conformers.

    Attributes:
        bond_mae, angle_mae: mean of |value in a generated conformer - mean of that value over the reference conformers|
            over all bonds (Å) or bond angles (degrees) and all generated conformers; hydrogens included.
        heavy_bond_mae, heavy_angle_mae: the same between heavy atoms only (experimental hydrogens are modelled ones).
        sound: share of the conformers without a fault (`chem.Soundness`).
        faults: how many of them have a fault of each kind.
        conformers: how many were looked at (those of the right graph, whatever their stereo).
    """

    bond_mae: float
    angle_mae: float
    heavy_bond_mae: float
    heavy_angle_mae: float
    sound: float
    faults: Counter[str]
    conformers: int


def bond_angles(mol: Chem.Mol) -> np.ndarray:
    """Atom triples i-j-k of all bond angles, `[A, 3]`."""
    triples = []
    for atom in mol.GetAtoms():
        near = [n.GetIdx() for n in atom.GetNeighbors()]
        triples += [(i, atom.GetIdx(), k) for a, i in enumerate(near) for k in near[a + 1 :]]
    return np.array(triples, int).reshape(-1, 3)


def bond_values(bonds: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Lengths in Å: bonds `[B, 2]`, coordinates `[K, N, 3]` -> `[K, B]`."""
    return np.linalg.norm(pos[:, bonds[:, 0]] - pos[:, bonds[:, 1]], axis=-1)


def angle_values(triples: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Angles at the middle atom in degrees: triples `[A, 3]`, coordinates `[K, N, 3]` -> `[K, A]`."""
    u, v = pos[:, triples[:, 0]] - pos[:, triples[:, 1]], pos[:, triples[:, 2]] - pos[:, triples[:, 1]]
    # atan2 rather than arccos: accurate at 180 degrees too
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1)))


def _mean_error(generated: np.ndarray, reference: np.ndarray, keep: np.ndarray) -> float:
    error = np.abs(generated - reference.mean(0))[:, keep]
    return float(error.mean()) if error.size else float("nan")


def geometry(mol: Chem.Mol, reference: np.ndarray, generated: np.ndarray) -> Geometry:
    """Compare generated `[n, N, 3]` with reference coordinates `[K, N, 3]`, both in the atom order of `mol`."""
    heavy = np.array([a.GetAtomicNum() > 1 for a in mol.GetAtoms()])
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], int).reshape(-1, 2)
    triples = bond_angles(mol)
    lengths = bond_values(bonds, generated), bond_values(bonds, reference)
    angles = angle_values(triples, generated), angle_values(triples, reference)
    faults = Soundness(molecule_from_mol(mol, conformers=False)).faults(generated) if len(generated) else []
    return Geometry(
        bond_mae=_mean_error(*lengths, np.ones(len(bonds), bool)),
        angle_mae=_mean_error(*angles, np.ones(len(triples), bool)),
        heavy_bond_mae=_mean_error(*lengths, heavy[bonds].all(-1)),
        heavy_angle_mae=_mean_error(*angles, heavy[triples].all(-1)),
        sound=sum(not row for row in faults) / len(faults) if faults else float("nan"),
        faults=Counter(kind for row in faults for kind in {fault.kind for fault in row}),
        conformers=len(generated),
    )


@contextmanager
def _limited_embedding() -> Iterator[None]:
    """PoseBusters embeds 50 conformers for its energy ratio and sets no limit, where ETKDG ends for some strained rings
    (cyclononyne) only with one."""
    from posebusters.modules import energy_ratio

    parameters, energies = energy_ratio.ETKDGv3, energy_ratio.get_energies

    def limited() -> EmbedParameters:
        made = parameters()
        made.timeout = int(ENERGY_SECONDS)  # type: ignore[assignment]  # as RDKit's stubs have it
        return made

    def once(*asked: object) -> list[float]:
        assert asked not in _without_energy, "could not be embedded before"
        try:
            result: list[float] = energies(*asked)
        except Exception:
            _without_energy.add(asked)
            raise
        return result

    with patch.multiple(energy_ratio, ETKDGv3=limited, get_energies=once):
        yield


def posebusters_failures(mols: list[Chem.Mol], energy: bool = True) -> tuple[int, Counter[str]]:
    """Run PoseBusters' `mol` checks on single-fragment molecules with one conformer each.

    Args:
        energy: also the ratio of the energy to that of conformers that it embeds.

    Returns:
        How many pass every check, and how often each check fails. A check that PoseBusters cannot evaluate (no UFF
        parameters, or no 50 conformers within `ENERGY_SECONDS`) does not fail the conformer; it is counted as
        "not run: name". PoseBusters raising on a conformer fails it, counted as "error".

    Slow with the energy: it embeds 50 conformers per molecule (3 s for a drug-like one, once per process).
    """
    require("posebusters", "eval", "this check")
    from posebusters import PoseBusters  # slow to import (pandas), and optional

    passed, tests = 0, Counter[str]()
    # PoseBusters leaves RDKit's logger on the stderr of its last call. Where that has been closed since (as captured streams
    # are), its InChI check fails on every molecule. Assigned, since setStream would flush the closed one.
    rdkit.log_handler.stream = sys.stderr
    buster = PoseBusters(config="mol" if energy else "mol_fast")
    # What it cannot run is counted below; its warning for each would bury everything else.
    logging.getLogger("posebusters").setLevel(logging.ERROR)
    for mol in mols:
        try:
            with rdBase.BlockLogs(), _limited_embedding():
                row = buster.bust([mol]).iloc[0]
        except Exception as error:  # third-party code on coordinates that may be arbitrarily broken
            tests[f"error: {type(error).__name__}"] += 1
            continue
        missing = row.isna()
        bad = [name for name in row.index if not missing[name] and not row[name]]
        tests.update(bad)
        tests.update(f"not run: {name}" for name in row.index if missing[name])
        passed += not bad
    return passed, tests
