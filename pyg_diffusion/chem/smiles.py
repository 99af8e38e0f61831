"""SMILES: the lines of a file, and a line as a molecule."""

import zlib
from collections.abc import Iterable, Iterator

from rdkit import Chem, rdBase

from .axial import label_allenes
from .records import Record, RecordError


def record_from_smiles(index: int, smiles: str, name: str = "") -> Record:
    """One SMILES with explicit hydrogens added."""
    record = Record(index, name or smiles, None)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or mol.GetNumAtoms() == 0:
            record.problem = f"not a valid SMILES: {smiles!r}"
            return record
        mol = Chem.AddHs(mol)
        label_allenes(mol, smiles)
    mol.SetProp("_Name", record.name)
    record.mol = mol
    return record


def split_smiles(line: str) -> tuple[str, str]:
    """(SMILES, name or "") of a line "SMILES [name]", parted by blanks or a tab."""
    smiles, *name = line.split(maxsplit=1) or [""]
    return smiles, name[0].strip() if name else ""


def split_smiles_lines(stream: Iterable[str], path: str) -> Iterator[tuple[str, str]]:
    """(SMILES, name or "") of every line; blank lines and lines starting with # are no records. `path` is for messages."""
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
