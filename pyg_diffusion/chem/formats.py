"""The kinds of files that are read and written, by suffix: a new kind is one entry of `FORMATS`."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from warnings import warn

from rdkit import Chem

from ..registry import Registry
from .geometry_formats import (
    is_mol2,
    is_pdb,
    is_xyz,
    parse_mol2,
    parse_pdb,
    parse_xyz,
    pdb_text,
    pdb_texts,
    split_mol2,
    split_pdb,
    split_xyz,
    xyz_text,
)
from .mol2 import mol2_text
from .parquet import read_parquet
from .records import Record, RecordError, guarded
from .sdf import record_from_block, split_sdf
from .sheets import row_text, row_texts, smiles_text
from .smiles import is_structure, record_from_line, split_smiles
from .table import FOUND, Columns, is_table, split_table
from .text import open_text, peeked
from .writing import MoleculeWriter, RecordWriter, sdf_text

LOOK = 1000  # lines by which the kind of a file is told
PACKED = (".gz", ".bz2", ".xz")

Say = Callable[[str], object]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: for messages.
        suffixes: of file names, each also with `.gz`, `.bz2` or `.xz`.
        split: (lines of text, the file's name for messages, what remarks are told to) -> its raw records, unparsed and
            picklable, so that parsing can go to other processes. Raises `RecordError` for a file that is not of this kind.
        parse: (position in the file, raw record, whether 3D coordinates are needed) -> the record, usable or not.
        recognises: whether a file that begins with these lines is of this kind.
        write: (molecule, id of a conformer) -> the text of one record; None where conformers are not written so.
        together: (the conformers of a molecule, the best first, one molecule each) -> the text of each, where the others
            matter to it.
        table: `split`, or `binary`, also takes which columns are wanted (`table.Columns`).
        rows: what is written are rows of JSON (`chem.sheets`), to make a table of.
        sign: what parts its columns; "" where it is Parquet.
        binary: (the file's name, what remarks are told to, columns) -> its raw records, where it is no text.
    """

    name: str
    suffixes: tuple[str, ...]
    split: Callable[..., Iterator[Any]]
    parse: Callable[[int, Any, bool], Record]
    recognises: Callable[[list[str]], bool]
    write: RecordWriter | None = None
    together: MoleculeWriter | None = None
    table: bool = False
    rows: bool = False
    sign: str = ""
    binary: Callable[[str, Say, Columns], Iterator[Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _format_of_name, (self.name,)  # its functions need not be known to pickle

    def texts(self, mols: Sequence[Chem.Mol]) -> list[str]:
        """The conformers of a molecule, the best first, one molecule each with its properties, as text."""
        assert self.write is not None
        return [self.write(mol, 0) for mol in mols] if self.together is None else self.together(mols)


def _is_sdf(lines: list[str]) -> bool:
    return any(line.startswith(("$$$$", "M  END")) or re.search(r" V[23]000\s*$", line) for line in lines)


SDF = Format(
    "SDF", (".sdf", ".sd", ".mol"), lambda lines, path, say: split_sdf(lines, path), record_from_block, _is_sdf, sdf_text
)
SMILES = Format(
    "SMILES", (".smi", ".smiles", ".cxsmiles", ".inchi", ".txt"), split_table, record_from_line, is_table, smiles_text,
    table=True,
)  # fmt: skip


def _written_as_rows(name: str, suffixes: tuple[str, ...], sign: str, binary: Any = None) -> Format:
    """A table of conformers, which is recognised as one of SMILES, so as nothing by itself."""
    return Format(
        name, suffixes, split_table, record_from_line, lambda _: False, row_text, row_texts,
        table=True, rows=True, sign=sign, binary=binary,
    )  # fmt: skip


CSV = _written_as_rows("CSV", (".csv",), ",")
TSV = _written_as_rows("TSV", (".tsv", ".tab"), "\t")
PARQUET = _written_as_rows("Parquet", (".parquet",), "", read_parquet)
XYZ = Format("XYZ", (".xyz", ".extxyz"), split_xyz, parse_xyz, is_xyz, xyz_text)
PDB = Format("PDB", (".pdb", ".ent"), split_pdb, parse_pdb, is_pdb, pdb_text, pdb_texts)
MOL2 = Format("mol2", (".mol2",), split_mol2, parse_mol2, is_mol2, mol2_text)
# The first that recognises a file without a suffix reads it; entry point group `pyg_diffusion.formats`.
FORMATS: Registry[Format] = Registry(
    "formats",
    {k: f"{__name__}:{k.upper()}" for k in ("SDF", "SMILES", "CSV", "TSV", "Parquet", "XYZ", "PDB", "mol2")},
)


def _format_of_name(name: str) -> Format:
    return FORMATS[name]


def read() -> str:
    """What is read, for messages."""
    return "; ".join(f"{kind.name} ({', '.join(kind.suffixes)})" for kind in FORMATS.values())


# What people have besides: named, so that nobody looks for a fault in it.
_FOREIGN_SUFFIX = re.compile(
    r"\.(pdbqt|cif|mmcif|mae|maegz|cdx|cdxml|rxn|rdf|cml"
    r"|xls|xlsx|ods|feather|json|yaml|pkl|npy|npz|h5|hdf5|pt|zip)$"
)
_FOREIGN = (
    ("a CIF file", re.compile(r"^(data_\S*\s*$|_cell_length_a|_atom_site)", re.MULTILINE)),
    ("an RXN or RDF file", re.compile(r"^\$(RXN|RDFILE)", re.MULTILINE)),
    ("an HTML page", re.compile(r"\A\s*<(!doctype html|html)", re.IGNORECASE)),
    ("an XML file", re.compile(r"\A\s*<(\?xml|CDXML|cml)")),
    ("JSON", re.compile(r"\A\s*(\{|\[\s*[{\[\"])")),
)


def _unpacked_name(path: str) -> str:
    name = path.lower()
    return next((name.removesuffix(suffix) for suffix in PACKED if name.endswith(suffix)), name)


def format_of(path: str) -> Format | None:
    """The kind that a file's name says, None where it says none."""
    return next((kind for kind in FORMATS.values() if _unpacked_name(path).endswith(kind.suffixes)), None)


def format_to_write(path: str) -> Format:
    """The kind of file to write to this name: SDF where it says nothing else.

    Raises:
        ValueError: it says a kind that is not written.
    """
    kind = format_of(path) or (None if _FOREIGN_SUFFIX.search(_unpacked_name(path)) else SDF)
    if kind is None or kind.write is None:
        written = "; ".join(f"{k.name} ({', '.join(k.suffixes)})" for k in FORMATS.values() if k.write is not None)
        raise ValueError(f"{path}: conformers are not written so; what is written: {written}")
    return kind


def writer_of(path: str) -> RecordWriter:
    """What writes a record to a file of this name, as `format_to_write`."""
    write = format_to_write(path).write
    assert write is not None
    return write


def is_file(text: str) -> bool:
    """Whether a text is a file's name rather than a molecule: by its suffix, or because there is such a file.

    A folder is no file, and what reads as a structure is one, whatever lies there under its name.
    """
    if format_of(text) is not None or _FOREIGN_SUFFIX.search(_unpacked_name(text)):
        return True
    return os.path.exists(text) and not is_structure(split_smiles(text).smiles)


def _kind(path: str, wanted: Format | None, head: list[str]) -> Format:
    """The kind of a file that begins so. Raises `RecordError` where it is not the wanted one, or none that is read."""
    name = "stdin" if path == "-" else path
    if not any(line.strip() for line in head):
        return wanted or SDF  # which calls it empty, or damaged
    # The wanted one first, as a name or a remark in it may read like another kind; many texts could be a table of SMILES.
    kinds = sorted(FORMATS.values(), key=lambda kind: (kind is SMILES, kind is not wanted))
    found = next((kind for kind in kinds if kind.recognises(head)), None)
    if found is not SDF and found is not MOL2:  # which may hold anything in their data fields and comments
        text = "".join(head[:200])
        if foreign := next((what for what, pattern in _FOREIGN if pattern.search(text)), None):
            raise RecordError(f"{name}: {foreign}, which is not read; what is: {read()}")
    if found is None and wanted is None:
        raise RecordError(f"{name}: of no kind that is read; what is: {read()}")
    if found is not None and wanted is not None and wanted.split is not found.split:
        raise RecordError(f"{name}: looks like {found.name}, not {wanted.name}; name it {found.suffixes[0]} if it is")
    return wanted or found or SDF


def raw_records(
    path: str | os.PathLike[str], wanted: Format | None = None, say: Say = warn, columns: Columns = FOUND
) -> Iterator[tuple[Format, Any]]:
    """The raw records of a file, or of stdin for "-", with its kind: the wanted one, else what its name or its content says.

    Args:
        say: told remarks about the file as a whole.
        columns: of tables; other kinds have none.

    Raises:
        RecordError: the file is missing, empty or of another kind, or has no such column.
    """
    path = os.fspath(path)
    name, kind = "stdin" if path == "-" else path, wanted or format_of(path)
    if kind is not None and kind.binary is not None and path != "-":
        for raw in kind.binary(path, say, columns):
            yield kind, raw
        return
    with open_text(path, say) as lines:
        head, lines = peeked(lines, LOOK)
        kind = _kind(path, kind or (SMILES if any(columns) and not _is_other(head) else None), head)
        if any(columns) and not kind.table:
            say(f"{name}: {kind.name} has no columns; --smiles-column and --name-column are for tables")
        raws = kind.split(lines, name, say, columns) if kind.table else kind.split(lines, name, say)
        for raw in raws:
            yield kind, raw


def _is_other(head: list[str]) -> bool:
    """Whether a file that begins so is of a kind that is no table."""
    return any(kind.recognises(head) for kind in FORMATS.values() if not kind.table)


def parsed(kind: Format, index: int, raw: Any, need_3d: bool) -> Record:
    """A raw record parsed, whatever is in it."""
    record = Record(index, f"record {index + 1}", None)

    def refuse(_: str, reason: str) -> None:
        record.problem = reason

    with guarded(record.name, refuse):
        return kind.parse(index, raw, need_3d)
    return record


def read_records(
    path: str | os.PathLike[str],
    need_3d: bool = True,
    wanted: Format | None = None,
    say: Say = warn,
    columns: Columns = FOUND,
) -> Iterator[Record]:
    """Every record of a file, usable or not, as `raw_records`."""
    for index, (kind, raw) in enumerate(raw_records(path, wanted, say, columns)):
        yield parsed(kind, index, raw, need_3d)


def read_sdf(path: str | os.PathLike[str], need_3d: bool = True, say: Say = warn) -> Iterator[Record]:
    """Every record of an SDF file, usable or not, as `read_records`."""
    return read_records(path, need_3d, SDF, say)


def read_smiles(path: str | os.PathLike[str], say: Say = warn) -> Iterator[Record]:
    """Every row of a table of SMILES, usable or not, as `read_records`."""
    return read_records(path, False, SMILES, say)
