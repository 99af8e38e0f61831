"""SDF as text: where its records begin and end, and what stands in their data fields.

Files come glued, cut and patched. A record ends at `$$$$`, also behind `M  END` or a value on the same line, and where the
next header begins without one; a record that is cut off does not take the next along.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .records import RecordError

END, TERMINATOR = "M  END", "$$$$"
HEADER = 3  # lines before the counts: name, program, comment
_COUNTS = re.compile(r"[ \d]{6}.*V[23]000\s*$")
_OLD_COUNTS = re.compile(r"[ \d]{2}\d[ \d]{2}\d[ \d]*$")  # before there were versions
_FIELD = re.compile(r"\s*>[^<]*<(.+?)>(?:\s|$)|\s*>[^<]*<([^>]+)>")
_NO_TEXT = {0xFEFF: None, 0x1A: None}  # what `cat` leaves of other files' beginnings and of the end of files of DOS
_DAMAGED = "(the file is damaged here: "


class Block(NamedTuple):
    """A record as text.

    Attributes:
        name: its first line, "" where that is blank.
        mol: the lines of the molecule, `M  END` included.
        fields: the data fields by name.
        remarks: what could not be read, or was guessed.
        damage: why the file ends inside this record, "" where it does not.
    """

    name: str
    mol: str
    fields: dict[str, str]
    remarks: list[str]
    damage: str = ""


def split_sdf(stream: Iterable[str], path: str) -> Iterator[str]:
    """The text of each SDF record in lines of text, one record in memory at a time; `path` is for messages.

    Raises:
        RecordError: there is no record, or the text is not SDF.
    """
    cutter = _Cutter()
    try:
        for line in stream:
            record = cutter.add(line if line.endswith("\n") else line + "\n")
            if record is not None:
                yield record
    except (EOFError, OSError, zlib.error) as error:  # a truncated, foreign or corrupted gzip
        if not cutter.seen:
            raise RecordError(f"{path}: cannot be read: {error}") from error
        cutter.lines.append(f"{_DAMAGED}{error})\n")
    if any(line.strip() for line in cutter.lines):
        if not cutter.seen:
            raise RecordError(f"{path}: not an SDF file (it holds neither '{END}' nor '{TERMINATOR}')")
        yield cutter.cut(len(cutter.lines))
    elif not cutter.seen:
        raise RecordError(f"{path}: the file is empty")


class _Cutter:
    """Lines go in, whole records come out.

    Attributes:
        lines: of the record that is being read.
        seen: whether anything so far was SDF.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen = False
        self._after = ""  # what stood behind the last `$$$$`
        self._counted = self._ended = self._in_field = self._in_value = False

    def add(self, line: str) -> str | None:
        """The record that ends at, or before, this line; None where none does."""
        if not line.isascii() or "\x1a" in line:
            line = line.translate(_NO_TEXT)
        if line.startswith(TERMINATOR) or line.strip() == TERMINATOR:
            return self._terminated(line)
        record = None
        if self._counted and line.startswith(END):
            self.seen, self._ended, self._in_value = True, True, False
            self.lines.append(f"{END}\n")
            glued = line[len(END) :].strip()
            if glued.startswith(TERMINATOR):
                return self._terminated(glued)
            if glued:  # the name of the next record
                self.lines.append(f"{glued}\n")
            return record
        if self._in_value:
            pass
        elif _is_counts(line) or (self._ended and not self._in_field and _OLD_COUNTS.match(line)):
            start = max(0, len(self.lines) - HEADER)
            for k in range(start, len(self.lines)):
                start = k + 1 if self.lines[k].startswith(END) else start
            if not self._counted:
                if self.seen and any(before.strip() for before in self.lines[:start]):
                    record = self.cut(start)  # a record cut off before its counts
                self.seen = self._counted = True
            elif self.lines[start - 1].startswith(">"):  # a data field whose value is a molecule
                self._in_value = True
            else:
                record = self.cut(start)
                self._counted = True
        elif self._ended:
            self._in_field = bool(line.strip()) and (self._in_field or line.startswith(">"))
        self.lines.append(line)
        return record

    def _terminated(self, line: str) -> str:
        """The record that ends at this line."""
        self.seen = True
        record = self.cut(len(self.lines))
        self._after = line.strip().lstrip("$").strip()
        return record

    def cut(self, count: int) -> str:
        """The first `count` lines as a record; the others begin the next."""
        record, self.lines = self.lines[:count], self.lines[count:]
        after, self._after = self._after, ""
        ended = self._ended
        self._counted = self._ended = self._in_field = self._in_value = False
        last = next((k for k in range(len(record) - 1, -1, -1) if record[k].strip()), None)
        if ended and last is not None and record[last].rstrip().endswith(TERMINATOR):  # behind a value
            record[last] = record[last].rstrip().rstrip("$") + "\n"
        return "".join(_from_name(record, after))


def _is_counts(line: str) -> bool:
    return ("V2000" in line or "V3000" in line) and _COUNTS.match(line) is not None


def _from_name(lines: list[str], after: str) -> list[str]:
    """A record from its name on, without blank lines before; if it has none, the text behind the last `$$$$` is its name."""
    place = next((k for k, line in enumerate(lines[:20]) if _is_counts(line)), None)
    if place is not None and place > HEADER and not any(line.strip() for line in lines[: place - HEADER]):
        lines = lines[place - HEADER :]
    if after and place is not None and place < HEADER:
        return [f"{after}\n", *lines]
    if after and place is not None and not lines[0].strip():
        return [f"{after}\n", *lines[1:]]
    return lines


def read_block(text: str) -> Block:
    """The parts of a record."""
    lines = text.split("\n")
    if _DAMAGED in text:
        first = lines[0].strip()
        name = "" if first.startswith(_DAMAGED) else first
        return Block(name, "", {}, [], text[text.rindex(_DAMAGED) :].strip("()\n"))
    end = next((k + 1 for k, line in enumerate(lines) if line.startswith(END)), len(lines))
    fields, remarks = _fields(lines[end:], end)
    return Block(lines[0].strip(), "\n".join(lines[:end]) + "\n", fields, remarks)


def with_plain_coordinates(mol: str) -> tuple[str, bool]:
    """A block with its coordinates in plain decimals, and whether they were numbers; all zero where they were not.

    V2000 knows neither exponents nor decimal commas, but some write them. Another block comes back as it is.
    """
    lines = mol.split("\n")
    if "V2000" not in lines[HEADER] or not lines[HEADER][:3].strip().isdigit():
        return mol, False
    count = min(int(lines[HEADER][:3]), len(lines) - HEADER - 1)
    atoms = lines[HEADER + 1 : HEADER + 1 + count]
    try:
        places = [[float(line[k : k + 10].replace(",", ".")) for k in (0, 10, 20)] for line in atoms]
        numbers = all(abs(x) < 1e5 for place in places for x in place)
    except ValueError:
        numbers = False
    if not numbers:
        places = [[0.0] * 3] * count
    plain = ["".join(f"{x:10.4f}" for x in place) + line[30:] for place, line in zip(places, atoms, strict=True)]
    return "\n".join([*lines[: HEADER + 1], *plain, *lines[HEADER + 1 + count :]]), numbers


def _fields(lines: list[str], before: int) -> tuple[dict[str, str], list[str]]:
    """Data fields by name, and what is wrong with them; `before` lines precede these in the record.

    A field is a line `>  <NAME>` and the lines of its value, to a blank one or, where that is missing, to the next field.
    """
    fields: dict[str, list[str]] = {}
    remarks: list[str] = []
    stray: list[tuple[int, str]] = []
    value: list[str] | None = None
    for number, line in enumerate(lines, before + 1):
        found = _FIELD.match(line)
        if value is not None and not found and line.strip():
            value.append(line)
        elif found:
            name = (found[1] or found[2]).strip()
            if value:
                remarks.append(f"no blank line before its data field {name!r} (line {number})")
            if name.startswith("_"):
                remarks.append(f"its data field {name!r} is left out: RDKit keeps such names for itself")
            elif name in fields:
                remarks.append(f"its data field {name!r} stands there twice; the last is kept")
            value = []
            if name and not name.startswith("_"):
                fields[name] = value
        elif line.lstrip().startswith(">"):
            remarks.append(f"a data field whose name cannot be read ({_shown(line)}, line {number}) is left out")
            value = []
        elif not line.strip():
            value = None
        else:
            stray.append((number, line))
    if stray:
        number, line = stray[0]
        remarks.append(f"{len(stray)} lines outside of data fields are left out (line {number}: {_shown(line)})")
    return {name: "\n".join(kept) for name, kept in fields.items()}, remarks


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 40 else text[:37] + "...")
