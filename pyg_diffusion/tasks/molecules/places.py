"""Where atoms of a molecule are to lie: as the input has them, as a template has them, or near a pose."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ...chem.conformers import coincident, with_positions
from ...chem.core import Cores
from ...chem.heavy import heavy_atoms
from ...chem.records import guarded
from ...chem.relax import Hold
from ...chem.torsions import Torsions
from .inputs import Entry, Fail
from .kept import Pose

MAX_MATCHES = 200  # orders of symmetric atoms that are tried for an RMSD


@dataclass(frozen=True)
class Lock:
    """Bonds that keep their torsion: two atoms by their numbers from 1, or a pattern of two atoms, or of four in a row, of
    which the middle bond is meant.

    Raises:
        ValueError: a text is neither.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.tasks.molecules.places import Lock
        >>> mol = Chem.MolFromSmiles("CC(=O)NCC")
        >>> Lock("2,4").bonds(mol), Lock("O=CNC").bonds(mol), Lock("N-[CX4]").bonds(mol)
        ([(1, 3)], [(1, 3)], [(3, 4)])
    """

    text: str

    def __post_init__(self) -> None:
        if self._numbers() is not None:
            return
        pattern = Chem.MolFromSmarts(self.text)
        if pattern is None:
            raise ValueError(f"{self.text!r} is neither two numbers of atoms, as in 4,7, nor a SMARTS pattern")
        if pattern.GetNumAtoms() not in (2, 4) or not self._middle(pattern):
            raise ValueError(f"{self.text!r} must be a pattern of two bonded atoms, or of four in a row about the bond")

    def _numbers(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", self.text)
        return None if found is None else (int(found[1]) - 1, int(found[2]) - 1)

    @staticmethod
    def _middle(pattern: Chem.Mol) -> tuple[int, int] | None:
        """The atoms of the bond that is meant."""
        chain = range(pattern.GetNumAtoms() - 1)
        if any(pattern.GetBondBetweenAtoms(k, k + 1) is None for k in chain):
            return None
        return (0, 1) if len(chain) == 1 else (1, 2)

    def bonds(self, mol: Chem.Mol) -> list[tuple[int, int]]:
        """The bonds of a molecule that are meant, each once; empty where there are none."""
        if (pair := self._numbers()) is not None:
            return [pair] if all(0 <= k < mol.GetNumAtoms() for k in pair) else []
        pattern = Chem.MolFromSmarts(self.text)
        i, j = self._middle(pattern) or (0, 1)
        matches = mol.GetSubstructMatches(pattern, uniquify=False, maxMatches=10_000)
        return sorted({(min(match[i], match[j]), max(match[i], match[j])) for match in matches})


def with_kept(entries: Iterable[Entry], keep: Chem.Mol, fail: Fail) -> Iterator[Entry]:
    """The entries that have the pattern and coordinates, with the matched atoms fixed."""
    for entry in entries:
        mol = entry.record.mol
        assert mol is not None
        match = list(mol.GetSubstructMatch(keep))
        if reason := _no_places(mol, match, "keep atoms of", "keep") or entry.record.fault:
            fail(entry.record, reason)
            continue
        entry.fixed = np.full((mol.GetNumAtoms(), 3), np.nan)
        entry.fixed[match] = mol.GetConformer().GetPositions()[match]
        yield entry


def with_pose(entries: Iterable[Entry], spread: float, locks: Sequence[Lock], fail: Fail) -> Iterator[Entry]:
    """The entries that have coordinates and the bonds to lock, each with its pose."""
    for entry in entries:
        mol = entry.record.mol
        assert mol is not None
        if reason := _no_places(mol, range(mol.GetNumAtoms()), "stay near", "stay near") or entry.record.fault:
            fail(entry.record, reason)
            continue
        missing = next((lock.text for lock in locks if not lock.bonds(mol)), "")
        if missing:
            fail(entry.record, f"has no bond {missing} to lock")
            continue
        pose = mol.GetConformer().GetPositions()
        bonds = sorted({bond for lock in locks for bond in lock.bonds(mol)})
        stay = None if entry.fixed is None else np.isfinite(entry.fixed).all(1)
        try:
            Torsions(entry.molecule, bonds, pose, stay)
        except ValueError as error:
            fail(entry.record, str(error))
            continue
        properties = entry.properties | {"pose": str(entry.record.index + 1)}
        yield replace(entry, pose=Pose(pose, spread, bonds), properties=properties)


def with_core(entries: Iterable[Entry], cores: Cores, fail: Fail, say: Callable[[str], object]) -> Iterator[Entry]:
    """The entries that have something in common with a core, with its atoms fixed; what has no match in it is said."""
    for entry in entries:
        mol, name = entry.record.mol, entry.record.name
        assert mol is not None
        match = None
        with guarded(name, lambda _, reason, record=entry.record: fail(record, reason)):  # type: ignore[misc]
            match = cores(mol)
        if match is None:
            continue
        if words := match.remark(mol):
            say(f"{name}: {words}")
        atoms = " ".join(str(own + 1) for own, _ in match.pairs)
        properties = entry.properties | {"core": match.template.name, "core_atoms": atoms}
        yield replace(entry, fixed=match.positions(mol.GetNumAtoms()), properties=properties)


def _no_places(mol: Chem.Mol, atoms: Sequence[int], purpose: str, what: str) -> str:
    """Why these atoms have no coordinates to go by, "" where they have."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        return f"has no 3D coordinates to {purpose}"
    if not atoms:
        return f"has no atoms that match what to {what}"
    atoms = list(atoms)
    positions = mol.GetConformer().GetPositions()
    if not np.isfinite(positions[atoms]).all():
        return f"has atoms to {what} whose coordinates are no finite numbers"
    if len(positions) > 1 and not np.ptp(positions, axis=0).any():
        return f"has no coordinates to {what}: all its atoms lie in one place"
    if pair := coincident(positions[atoms]):
        one, other = (f"{mol.GetAtomWithIdx(atoms[k]).GetSymbol()}{atoms[k] + 1}" for k in pair)
        return f"has no coordinates to {what}: its atoms {one} and {other} lie in one place"
    return ""


def hold_of(entry: Entry) -> Hold:
    """What of a molecule may not move when it is relaxed."""
    stay = np.zeros(len(entry.molecule.z), bool) if entry.fixed is None else np.isfinite(entry.fixed).all(1)
    pose, torsions = entry.pose, None
    if pose is not None and pose.locks:
        torsions = Torsions(entry.molecule, pose.locks, pose.positions, stay)
    return Hold(tuple(np.flatnonzero(stay).tolist()), torsions)


def facts(entry: Entry, pos: np.ndarray) -> dict[str, str]:
    """What is written of a conformer `[N, 3]` because of where its atoms were to lie."""
    if entry.pose is None or entry.record.mol is None:
        return entry.properties
    return entry.properties | {"rmsd_to_pose": f"{rmsd_to_pose(entry.record.mol, entry.pose.positions, pos):.3f}"}


def rmsd_to_pose(mol: Chem.Mol, pose: np.ndarray, pos: np.ndarray) -> float:
    """RMSD in Å between conformers `[N, 3]` where they lie, over heavy atoms, symmetric ones interchanged."""
    heavy = heavy_atoms(with_positions(mol, np.stack([pose, pos])))
    return float(rdMolAlign.CalcRMS(Chem.Mol(heavy, confId=1), Chem.Mol(heavy, confId=0), maxMatches=MAX_MATCHES))
