"""The kinds of files that are read, by suffix: a new kind is one entry of `FORMATS`."""

import gzip
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from .records import Record, RecordError
from .sdf import record_from_block, split_sdf
from .smiles import record_from_smiles, split_smiles_lines


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: for messages.
        suffixes: of file names, each also with `.gz`.
        split: (lines of text, the file's name for messages) -> its raw records, unparsed and picklable, so that parsing can
            go to other processes. Raises `RecordError` for a file that is not of this kind.
        parse: (position in the file, raw record, whether 3D coordinates are needed) -> the record, usable or not.
        recognises: whether lines of text, all that there are, are of this kind; for stdin, which has no suffix.
    """

    name: str
    suffixes: tuple[str, ...]
    split: Callable[[Iterable[str], str], Iterator[Any]]
    parse: Callable[[int, Any, bool], Record]
    recognises: Callable[[list[str]], bool]


SDF = Format(
    "SDF",
    (".sdf", ".sd", ".mol"),
    split_sdf,
    record_from_block,
    lambda lines: any(line.startswith(("$$$$", "M  END")) for line in lines),
)
SMILES = Format(
    "SMILES",
    (".smi", ".smiles", ".txt"),
    split_smiles_lines,
    lambda index, line, need_3d: record_from_smiles(index, *line),
    lambda lines: True,
)
FORMATS = (SDF, SMILES)
SUFFIXES = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)


def format_of(path: str) -> Format | None:
    """The kind that a file's name says, None where it says none."""
    name = path.lower().removesuffix(".gz")
    return next((kind for kind in FORMATS if name.endswith(kind.suffixes)), None)


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


def raw_records(path: str, kind: Format | None = None) -> Iterator[Any]:
    """The raw records of a file, or of stdin for "-", of the kind that its name says; SDF where it says none."""
    with open_text(path) as stream:
        yield from (kind or format_of(path) or SDF).split(stream, path)


def read_records(path: str, need_3d: bool = True, kind: Format | None = None) -> Iterator[Record]:
    """Every record of a file, usable or not; of the kind that its name says, or SDF where it says none.

    Raises:
        RecordError: the file is missing, empty or of another kind.
    """
    kind = kind or format_of(path) or SDF
    for index, raw in enumerate(raw_records(path, kind)):
        yield kind.parse(index, raw, need_3d)


def read_sdf(path: str, need_3d: bool = True) -> Iterator[Record]:
    """Every record of an SDF file, usable or not, as `read_records`."""
    return read_records(path, need_3d, SDF)


def read_smiles(path: str) -> Iterator[Record]:
    """Every line "SMILES [name]" of a file, usable or not, as `read_records`."""
    return read_records(path, False, SMILES)


def stdin_records() -> Iterator[Record]:
    """The records of stdin, plain or gzipped, whose kind is told by its content."""
    with open_text("-") as stream:
        lines = stream.read().splitlines(keepends=True)
    kind = next(kind for kind in FORMATS if kind.recognises(lines))
    yield from (kind.parse(index, raw, False) for index, raw in enumerate(kind.split(lines, "stdin")))
