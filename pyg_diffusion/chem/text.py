"""The text of a file, line by line: unpacked and decoded whatever the name and the locale say."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any
from warnings import warn

from .records import RecordError

DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)  # what reading a truncated, foreign or corrupted file raises
LONGEST = 10_000_000  # characters of a line
_PACKED: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Office file; unpack it, or save the table as CSV"),
    (b"\x89HDF\r\n", "an HDF5 file; stores are read by train, fields by evaluate and plot"),
    (b"\xd0\xcf\x11\xe0", "an old Office file; save the table as CSV"),
    (b"%PDF", "a PDF"),
    (b"PAR1", "a Parquet file, which is read by its name, .parquet"),
)
_ESCAPED = re.compile("[\udc80-\udcff]+")
_CONTROL = bytes(range(9)) + bytes(range(14, 32))


def _windows(match: re.Match[str]) -> str:
    """Bytes that are no UTF-8, as Windows-1252, which is Latin-1 with letters and quotes where that has control codes."""
    raw = match.group().encode("utf-8", "surrogateescape")
    return "".join(bytes([byte]).decode("cp1252" if byte not in b"\x81\x8d\x8f\x90\x9d" else "latin-1") for byte in raw)


def repaired(text: str) -> str:
    """Text whose bytes were escaped, as those of a command line in an ASCII locale, as UTF-8 or Windows-1252."""
    if _ESCAPED.search(text):
        text = _ESCAPED.sub(_windows, text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
    return text


def _encoding(head: bytes, path: str) -> str:
    """Of a file that begins so. Raises `RecordError` where it is none of text."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for start, what in _FOREIGN:
        if head.startswith(start):
            raise RecordError(f"{path}: {what}")
    zeros = head[::2].count(0), head[1::2].count(0)
    if max(zeros) > 0.4 * (len(head) // 2) and min(zeros) < 0.1 * max(zeros):
        raise RecordError(f"{path}: UTF-16 without a byte order mark, it seems; save it as UTF-8")
    if sum(map(head.count, _CONTROL)) > 0.02 * len(head):
        raise RecordError(f"{path}: a binary file, not a text of molecules")
    return "utf-8"


@contextmanager
def open_text(path: str, say: Callable[[str], object] = warn) -> Iterator[Iterator[str]]:
    """The lines of a text file, or of stdin for "-", each with its end as "\\n".

    Packed files (gzip, bzip2, xz) are told by their first bytes. The text is UTF-8, with or without a byte order mark, or
    UTF-16 with one; bytes that are no UTF-8 are read as Windows-1252, which `say` is told once.

    Raises:
        RecordError: the file is missing, cannot be read, or is none of text. Damage further on raises an OSError in place of
            the next line.
    """
    try:
        raw: Any = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115  (closed below)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    name, text = "stdin" if path == "-" else path, None
    try:
        try:
            stream = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
            for start, unpack in _PACKED:
                if stream.peek(6).startswith(start):
                    stream = io.BufferedReader(unpack(stream))
                    break
            encoding = _encoding(stream.peek(4096)[:4096], name)
        except DAMAGE as error:
            raise RecordError(f"{name}: cannot be read: {error}") from error
        text = io.TextIOWrapper(stream, encoding, errors="surrogateescape" if encoding == "utf-8" else "strict")
        if encoding != "utf-8":
            say(f"{name}: read as {encoding.upper()}")
        yield _lines(text, name, say)
    finally:
        if path != "-":
            raw.close()
        elif text is not None:
            text.detach()  # a collected wrapper would close stdin


def _lines(text: io.TextIOWrapper, name: str, say: Callable[[str], object]) -> Iterator[str]:
    said = False
    try:
        for line in iter(partial(text.readline, LONGEST), ""):
            if line.isascii():
                if len(line) == LONGEST:
                    raise RecordError(f"{name}: a line of more than {LONGEST} characters; not a file of molecules")
                yield line
                continue
            if not said and _ESCAPED.search(line):
                said = True
                say(f"{name}: not UTF-8; read as Windows-1252 (Latin-1)")
            yield _ESCAPED.sub(_windows, line.lstrip("\ufeff"))
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise OSError(str(error)) from error
    except UnicodeError as error:
        raise OSError(f"not {text.encoding}: {error.reason if isinstance(error, UnicodeDecodeError) else error}") from error


def peeked(lines: Iterator[str], count: int) -> tuple[list[str], Iterator[str]]:
    """The first lines, and all of them from the start; damage is met again where it was."""
    head: list[str] = []
    damage: list[OSError] = []
    try:
        for line in islice(lines, count):
            head.append(line)
    except OSError as error:
        damage.append(error)

    def again() -> Iterator[str]:
        yield from head
        if damage:
            raise damage[0]
        yield from lines

    return head, again()
