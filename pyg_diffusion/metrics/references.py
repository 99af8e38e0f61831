"""Reference ensembles: which records of a file are conformers of one molecule."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from ..chem.axial import axial_key
from ..chem.conformers import with_positions
from ..chem.heavy import heavy_atoms, identity_smiles
from ..chem.records import Record, guarded
from .result import UnusedRecord
from .validity import StereoCheck, atom_map


@dataclass(frozen=True)
class Ensemble:
    """One reference molecule.

    Attributes:
        name: of its first record.
        mol: explicit hydrogens, stereo tags of the first record (from 3D), K >= 1 conformers.
        smiles: canonical isomeric SMILES without hydrogens.
        flat: canonical SMILES of the heavy atoms without stereo.
    """

    name: str
    mol: Chem.Mol
    smiles: str
    flat: str

    @property
    def size(self) -> int:
        """K, the number of reference conformers."""
        return self.mol.GetNumConformers()


def isomeric_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES with the stereo the molecule is tagged with, axial stereo after a blank."""
    return f"{identity_smiles(mol)} {axial_key(mol)}".strip()


def flat_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo. All hydrogens go, so that an imine's does not depend on its E/Z label."""
    return Chem.MolToSmiles(heavy_atoms(mol), isomericSmiles=False)


def usable_position(mol: Chem.Mol) -> np.ndarray | None:
    pos = mol.GetConformer().GetPositions() if mol.GetNumConformers() else None
    return pos if pos is not None and np.isfinite(pos).all() else None


def group_records(records: Iterable[Record]) -> tuple[list[Ensemble], list[UnusedRecord]]:
    """Records -> reference ensembles (in order of first appearance) and the records that could not be used.

    Records belong together if name and isomeric SMILES agree; nameless ones by SMILES alone. Records in another atom order
    are renumbered to the first record's by substructure match, such that the stereo tags of the first hold.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    skipped: list[UnusedRecord] = []

    def skip(*lost: Record) -> Callable[[str, str], None]:
        return lambda _, reason: skipped.extend(UnusedRecord(r.index, r.name, reason) for r in lost)

    for record in records:
        if record.mol is None:
            skipped.append(UnusedRecord(record.index, record.name, record.problem or "no molecule"))
        elif usable_position(record.mol) is None:
            skipped.append(UnusedRecord(record.index, record.name, "no usable coordinates"))
        elif record.fault:
            skipped.append(UnusedRecord(record.index, record.name, record.fault))
        else:
            with guarded(record.name, skip(record)):
                groups[record.own_name, isomeric_smiles(record.mol)].append(record)
    ensembles = []
    for (_, smiles), members in groups.items():
        with guarded(members[0].name, skip(*members)):
            first, positions = members[0].mol, []
            assert first is not None
            check, flat = StereoCheck(first), flat_smiles(first)
            for record in members:
                order = atom_map(first, record.mol) if record.mol is not None else None
                if record.mol is None or order is None:
                    skip(record)("", "atoms cannot be matched to the molecule's first record")
                else:
                    positions.append(check.place(record.mol.GetConformer().GetPositions()[order])[0])
            ensembles.append(Ensemble(members[0].name, with_positions(first, np.array(positions)), smiles, flat))
    return ensembles, skipped


def records_of(mol: Chem.Mol, name: str) -> Iterator[Record]:
    """One record per conformer of a molecule, as if read from a file."""
    for index, conformer in enumerate(mol.GetConformers()):
        yield Record(index, name, with_positions(mol, conformer.GetPositions()[None]))
