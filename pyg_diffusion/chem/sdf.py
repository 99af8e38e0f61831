"""SDF: the blocks of a file, and a block as a molecule."""

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from rdkit import Chem, rdBase

from .records import Record, RecordError
from .stereo import assign_stereo_from_3d

_DAMAGED = "(the file is damaged here: "


def split_sdf(stream: Iterable[str], path: str) -> Iterator[str]:
    """The text of each SDF record in lines of text; `path` is for messages."""
    lines: list[str] = []
    seen = False
    try:
        for line in stream:
            if line.startswith("$$$$"):
                seen = True
                yield "".join(lines)
                lines = []
            else:
                lines.append(line)
    except (EOFError, OSError, zlib.error) as error:  # a truncated, foreign or corrupted gzip
        if not seen:
            raise RecordError(f"{path}: cannot be read: {error}") from error
        lines.append(f"{_DAMAGED}{error})\n")
    rest = "".join(lines)
    if rest.strip():
        if not seen and "M  END" not in rest:
            raise RecordError(f"{path}: not an SDF file (it holds neither 'M  END' nor '$$$$')")
        yield rest
    elif not seen:
        raise RecordError(f"{path}: empty file")


def _parse_block(text: str) -> tuple[Chem.Mol | None, str]:
    """(molecule with its properties, "") or (None, RDKit's reason)."""
    supplier = Chem.SDMolSupplier()
    with rdBase.BlockLogs():
        supplier.SetData(text.rstrip("\n") + "\n\n$$$$\n", sanitize=False, removeHs=False)
        mol = next(iter(supplier), None)
        if mol is None:
            return None, "RDKit cannot parse this record"
        try:
            Chem.SanitizeMol(mol)
        except ValueError as error:
            return None, f"RDKit cannot sanitize it: {str(error).strip().splitlines()[0]}"
    return mol, ""


def is_3d(mol: Chem.Mol) -> bool:
    """Whether the first conformer holds usable 3D coordinates.

    A flat conformer is accepted where the file marks it as 3D; all-zero, non-finite or absurd coordinates never are.
    """
    if mol.GetNumConformers() == 0:
        return False
    pos = mol.GetConformer(0).GetPositions()
    if not (np.abs(pos) < 1e5).all() or (len(pos) > 1 and np.ptp(pos, axis=0).max() < 1e-6):
        return False
    return mol.GetConformer(0).Is3D() or len(pos) == 1


def with_hydrogens(mol: Chem.Mol, coordinates: bool) -> tuple[Chem.Mol, int]:
    """The molecule with explicit hydrogens (appended, so input atoms keep their order) and how many were added."""
    full = Chem.AddHs(mol, addCoords=coordinates)
    return full, full.GetNumAtoms() - mol.GetNumAtoms()


def record_from_block(index: int, text: str, need_3d: bool) -> Record:
    """Parse, perceive stereo from 3D (else from the record's wedges), add missing hydrogens."""
    first = text.split("\n", 1)[0].strip()
    record = Record(index, first if first and not first.startswith(_DAMAGED) else f"record {index + 1}", None)
    if _DAMAGED in text:
        record.problem = text[text.rindex(_DAMAGED) :].strip("()\n")
        return record
    mol, record.problem = _parse_block(text)
    if mol is None:
        return record
    if mol.GetNumAtoms() == 0:
        record.problem = "no atoms"
        return record
    spatial = is_3d(mol)
    if need_3d and not spatial:
        record.problem = "no 3D coordinates (2D-only or missing)"
        return record
    with rdBase.BlockLogs():
        mol, added = with_hydrogens(mol, coordinates=spatial)
        if added:
            record.notes.append(f"{added} missing hydrogens added")
        if spatial:
            assign_stereo_from_3d(mol)
        else:
            Chem.AssignChiralTypesFromBondDirs(mol)
            Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    record.mol = mol
    return record
