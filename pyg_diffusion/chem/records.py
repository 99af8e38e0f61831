"""Reading SDF and SMILES files record by record, so that nothing is lost: what cannot be used comes back with its reason."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rdkit import Chem, rdBase

_DAMAGED = "(the file is damaged here: "
_SMILES_SUFFIXES = (".smi", ".smiles", ".txt")


class RecordError(ValueError):
    """An input that cannot be read at all."""


@dataclass
class Record:
    """One record of an input file.

    Attributes:
        index: position in the file, from 0.
        name: the record's name, or "record N" / the SMILES where it has none.
        mol: the molecule with explicit hydrogens in the input's atom order (added ones last), or None.
        problem: why `mol` is None.
        notes: what was done to it, such as hydrogens added.
    """

    index: int
    name: str
    mol: Chem.Mol | None
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def own_name(self) -> str:
        """The record's name, "" where the reader only numbered it."""
        return "" if self.name == f"record {self.index + 1}" else self.name


@contextmanager
def open_text(path: str) -> Iterator[TextIO]:
    """A text file, plain or gzipped (recognised by its first bytes), or stdin for "-"."""
    raw: Any
    if path == "-":
        raw = sys.stdin.buffer
    else:
        if not Path(path).exists():
            raise RecordError(f"{path}: no such file")
        try:
            raw = open(path, "rb")  # noqa: SIM115  (closed below)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
        zipped = buffered.peek(2)[:2] == b"\x1f\x8b"
        stream = gzip.GzipFile(fileobj=buffered) if zipped else buffered
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")  # type: ignore[type-var]
        yield text
        if path == "-" and not zipped:
            text.detach()  # a collected wrapper would close stdin
    finally:
        if path != "-":
            raw.close()


def sdf_blocks(path: str) -> Iterator[str]:
    """The text of each SDF record of a file, `$$$$` excluded."""
    with open_text(path) as stream:
        yield from split_sdf(stream, path)


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
            Chem.AssignStereochemistryFrom3D(mol)
        else:
            Chem.AssignChiralTypesFromBondDirs(mol)
            Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    record.mol = mol
    return record


def read_sdf(path: str, need_3d: bool = True) -> Iterator[Record]:
    """Every record of an SDF file, usable or not.

    Raises:
        RecordError: the file is missing, empty or not SDF.
    """
    for index, text in enumerate(sdf_blocks(path)):
        yield record_from_block(index, text, need_3d)


def record_from_smiles(index: int, smiles: str, name: str = "") -> Record:
    """One SMILES with explicit hydrogens added."""
    record = Record(index, name or smiles, None)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or mol.GetNumAtoms() == 0:
            record.problem = f"not a valid SMILES: {smiles!r}"
            return record
        mol = Chem.AddHs(mol)
    mol.SetProp("_Name", record.name)
    record.mol = mol
    return record


def split_smiles(line: str) -> tuple[str, str]:
    """(SMILES, name or "") of a line "SMILES [name]", parted by blanks or a tab."""
    smiles, *name = line.split(maxsplit=1) or [""]
    return smiles, name[0].strip() if name else ""


def smiles_lines(path: str) -> Iterator[tuple[str, str]]:
    """(SMILES, name or "") of every line of a file; blank lines and lines starting with # are no records."""
    with open_text(path) as stream:
        yield from split_smiles_lines(stream, path)


def split_smiles_lines(stream: Iterable[str], path: str) -> Iterator[tuple[str, str]]:
    """The same for lines of text; `path` is for messages."""
    empty = True
    try:
        for line in stream:
            smiles, name = split_smiles(line)
            if smiles and not smiles.startswith("#"):
                empty = False
                yield smiles, name
    except (EOFError, OSError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    if empty:
        raise RecordError(f"{path}: empty file")


def read_smiles(path: str) -> Iterator[Record]:
    """Every line "SMILES [name]" of a file, usable or not."""
    for index, (smiles, name) in enumerate(smiles_lines(path)):
        yield record_from_smiles(index, smiles, name)


def is_sdf_name(path: str) -> bool:
    """Whether a file name (or "-", stdin) says SDF: all but `.smi`, `.smiles` and `.txt` do, each also with `.gz`."""
    return not path.lower().removesuffix(".gz").endswith(_SMILES_SUFFIXES)


def read_records(path: str, need_3d: bool = True) -> Iterator[Record]:
    """SDF or SMILES records by the file's name (see `is_sdf_name`)."""
    return read_sdf(path, need_3d) if is_sdf_name(path) else read_smiles(path)
