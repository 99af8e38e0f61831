"""Tables of SMILES as people have them: which columns, what parts them, whether there is a header line."""

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from rdkit import Chem

from .rdkit_log import rdkit_log
from .records import RecordError
from .smiles import Line, is_structure, split_smiles
from .text import peeked

LOOK = 50  # rows by which the dialect is told
_FEW = 5  # rows; below, each gets its own reason rather than the file one
_MANY_COLUMNS = 100
_LONGEST_ROW = 20  # lines; a quote that is open for longer was none
_SIGNS = {"\t": "tabs", " ": "blanks", ",": "commas", ";": "semicolons", "|": "bars"}
_STRUCTURE = re.compile(r".*smiles.*|smi|structure|mol|molecule|inchi", re.IGNORECASE)
_NAMES = [  # of columns of names, the likeliest first
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"name|title", r"id", r".*(name|title)", r".*(id|code|number|identifier|cas|label)")
]
_SEPARATOR = re.compile(r"sep=.\s*$")  # a first line that Excel writes for itself


class Dialect(NamedTuple):
    """How the rows of a table are read.

    Attributes:
        sign: what parts the columns, " " for any run of blanks or tabs.
        column: of the structures.
        name: column of the names, None for all that follows the structure.
        header: the first row, where it is none of the table's.
        problem: why the column is uncertain.
        parted: whether what follows a SMILES in the first of columns parted by blanks is columns too, not all a name.
    """

    sign: str = " "
    column: int = 0
    name: int | None = None
    header: tuple[str, ...] = ()
    problem: str = ""
    parted: bool = False

    @property
    def ordinary(self) -> bool:
        """Nothing to speak of."""
        return self.sign in " \t" and self.column == 0 and not self.header

    def __str__(self) -> str:
        def called(column: int) -> str:
            return f"{column + 1}" + (f" ({self.header[column]})" if column < len(self.header) else "")

        parts = [f"columns parted by {_SIGNS[self.sign]}"]
        if self.header:
            shown = " | ".join(self.header)
            parts.append(f"the first line is a header ({shown if len(shown) < 100 else f'{shown[:97]}...'})")
        parts.append(f"structures in column {called(self.column)}")
        return ", ".join(parts if self.name is None else [*parts, f"names in column {called(self.name)}"])


class Columns(NamedTuple):
    """Which columns of a table are wanted, by name, or by number from 1; "" leaves it to be found."""

    smiles: str = ""
    name: str = ""


FOUND = Columns()  # both are to be found


def split_table(lines: Iterator[str], path: str, say: Callable[[str], object], columns: Columns = FOUND) -> Iterator[Line]:
    """The rows of a table of molecules; blank lines and lines that start with # are no rows. `path` is for messages.

    Without further ado a row is "SMILES [name]", parted by blanks. Other dialects are found by what reads as a structure in
    the first rows, and said. All columns but those of the structure and the name are `Line.fields`.

    Raises:
        RecordError: there are no rows, hardly any has a structure, more than one column may be that of the structures, or
            there is no such column as is wanted.
    """
    kept = (line for line in lines if line.strip() and not line.startswith("#") and not _SEPARATOR.match(line))
    head, rows = peeked(kept, LOOK + _LONGEST_ROW)
    count = 0
    try:
        dialect = Dialect() if not head else _asked(head, columns, path) if any(columns) else _dialect(head, path)
        if not dialect.ordinary:
            say(f"{path}: {dialect}")
        for row in islice(_joined(rows, dialect.sign), 1 if dialect.header else 0, None):
            count += 1
            yield _line(row, dialect)
    except OSError as error:
        if not count:
            raise RecordError(f"{path}: cannot be read: {error}") from error
        yield Line("", damage=f"the file is damaged here: {error}")
    if not count:
        raise RecordError(f"{path}: nothing but a header line" if head else f"{path}: the file is empty")


def is_table(head: list[str]) -> bool:
    """Whether some of these lines have a structure."""
    rows = [line for line in head if line.strip() and not line.startswith("#") and not _SEPARATOR.match(line)]
    return bool(rows) and _best(rows)[1] >= 0.1


def _asked(head: list[str], columns: Columns, path: str) -> Dialect:
    """The dialect of a table that begins with these rows and has these columns. Raises `RecordError`."""
    best, share, _ = _best(head)
    tops = {sign: _cells(next(_joined(iter(head), sign)), sign) for sign in (best.sign, *_SIGNS)}
    for sign, top in tops.items():
        places = [_place(wanted, top) for wanted in columns]
        if -1 not in places:
            return _chosen(best if sign == best.sign else Dialect(sign), top, columns, path)
    top = tops[best.sign] if share else max(tops.values(), key=len)
    raise _missing(columns, top, path, bool(best.header) or not any(map(_reads, top)))


def _chosen(own: Dialect, top: list[str], columns: Columns, path: str) -> Dialect:
    """The dialect with the columns that are wanted, of a table with this first row. Raises `RecordError`."""
    smiles, name = (_place(wanted, top) for wanted in columns)
    by_name = any(wanted and wanted not in map(str, range(1, len(top) + 1)) for wanted in columns)
    if smiles is None and own.problem:
        raise RecordError(f"{path}: {own.problem.partition(';')[0]}; say which it is by --smiles-column")
    column = own.column if smiles is None else smiles
    if name is None and own.name != column:
        name = own.name
    return Dialect(own.sign, column, name, tuple(top) if by_name else own.header, parted=True)


def _missing(columns: Columns, top: list[str], path: str, named: bool) -> RecordError:
    missing = next(wanted for wanted in columns if _place(wanted, top) == -1)
    there = f"there are {', '.join(top)}" if named else f"it has no header line: give a number, 1 to {len(top)}"
    return RecordError(f"{path}: no column {missing!r}; {there}")


def dialect_of_cells(rows: list[list[str]], columns: Columns, path: str) -> Dialect:
    """The dialect of a table whose cells are known, the names of its columns first. Raises `RecordError`."""
    dialect, rate = _candidate(rows, "\t", headed=True)
    if any(columns):
        if any(_place(wanted, rows[0]) == -1 for wanted in columns):
            raise _missing(columns, rows[0], path, True)
        dialect = _chosen(dialect, rows[0], columns, path)
    elif rate < 0.1:
        raise RecordError(f"{path}: none of its columns ({', '.join(rows[0])}) is of SMILES; say which by --smiles-column")
    elif dialect.problem:
        raise RecordError(f"{path}: {dialect.problem}")
    return dialect._replace(header=tuple(rows[0]), parted=True)


def _place(wanted: str, top: list[str]) -> int | None:
    """Where a column is by the first row, or by its number; None where none is wanted, -1 where there is none."""
    if not wanted:
        return None
    for same in (lambda cell: cell == wanted, lambda cell: cell.casefold() == wanted.casefold()):
        if (found := next((k for k, cell in enumerate(top) if same(cell)), None)) is not None:
            return found
    return int(wanted) - 1 if wanted.isdecimal() and 1 <= int(wanted) <= len(top) else -1


def _dialect(head: list[str], path: str) -> Dialect:
    """The dialect of a table that begins with these rows. Raises `RecordError`."""
    best, share, count = _best(head)
    if best.problem:
        raise RecordError(f"{path}: columns parted by {_SIGNS[best.sign]}, {best.problem}")
    rows = [_cells(row, best.sign) for row in islice(_joined(iter(head), best.sign), LOOK)]
    found = [cells[best.column] for cells in rows if _has_structure(cells, best.column)]
    words = 0.1 <= share < 0.9 and max(map(len, found)) < 3  # "I", "No" and "C" are words as well
    if count >= _FEW and (share < 0.1 or words):
        few = "none" if not share else "hardly any"
        raise RecordError(
            f"{path}: {few} of the first {count} lines has a SMILES{' of more than two letters' * words}; expected are "
            f"lines 'SMILES [name]', or a table with a column of SMILES; the first line is {head[0].strip()[:60]!r}"
        )
    return best


def _best(head: list[str]) -> tuple[Dialect, float, int]:
    """The likeliest dialect of these rows, the share of them with a structure in it, and how many they are."""
    best, share, count = Dialect(), 0.0, 0
    for sign in _SIGNS:
        rows = [_cells(row, sign) for row in islice(_joined(iter(head), sign), LOOK)]
        dialect, rate = _candidate(rows, sign)
        count = max(count, len(rows))
        if rate > share or (dialect.header and not best.header and rate == share):
            best, share = dialect, rate
    return best, share, count


def _candidate(rows: list[list[str]], sign: str, headed: bool = False) -> tuple[Dialect, float]:
    """The dialect if this sign parts the columns, and the share of rows with a structure, 0 where it parts none.

    Args:
        headed: the first row is known to be names of columns, and each row to be parted.
    """
    parted = len(rows) if headed else sum(len(row) > 1 for row in rows)
    if (sign == "\t" and parted < len(rows)) or (sign in ",;|" and 2 * parted < len(rows)):
        return Dialect(), 0.0
    header = tuple(rows[0]) if headed else _header(rows[0])
    body = rows[1:] if header else rows
    columns = range(min(max(map(len, rows)), _MANY_COLUMNS))
    rates = [sum(_has_structure(row, c) for row in body) / max(1, len(body)) for c in columns]
    if not header:  # columns of element symbols read as structures, and so do many words of a text
        unlikely = [all(len(row[c]) < 3 for row in body if c < len(row)) or (sign == " " and c > 1) for c in columns]
        rates = [rate * (c == 0 or not unlikely[c]) for c, rate in enumerate(rates)]
    named = [c for c, cell in enumerate(header) if _STRUCTURE.fullmatch(cell) and c < len(rates) and rates[c] > 0]
    problem = ""
    if named:  # what may have coordinates rather than "SMILES" rather than "canonical_smiles" rather than "mol"
        called = {c: header[c].lower() for c in named}
        column = min(named, key=lambda c: (called[c] != "cxsmiles", called[c] != "smiles", "smiles" not in called[c], c))
    else:
        column, problem = _structures(body, rates)
    if sign == " " and column == 0:
        return Dialect(header=header, problem=problem), rates[0]
    others = [c for c in columns if c != column and c not in named]
    if header:
        found = [c for pattern in _NAMES for c in others if c < len(header) and pattern.fullmatch(header[c])]
    else:
        found = [c for c in others if not any("".join(row[c : c + 1]).startswith("|") for row in body)]  # CXSMILES
    return Dialect(sign, column, next(iter(found), None), header, problem), rates[column]


def _header(row: list[str]) -> tuple[str, ...]:
    """The row, if one of its cells is what a column of structures is called, and none is a structure."""
    called = any(_STRUCTURE.fullmatch(cell) for cell in row)
    return tuple(row) if called and not any(_reads(cell) for cell in row) else ()


def _structures(body: list[list[str]], rates: list[float]) -> tuple[int, str]:
    """The column of structures, the one in which most cells read as such, and why it is uncertain.

    Names may read as SMILES by chance ("C", "CO", "I"). So among columns that are about as good, the first is taken if it
    has the same molecules as the others, or larger ones; smaller ones may be names.
    """
    good = [c for c in range(len(rates)) if rates[c] >= max(0.5, max(rates) - 0.1)]
    if len(good) < 2:
        return max(range(len(rates)), key=lambda c: rates[c]), ""
    first = good[0]
    for other in good[1:]:
        pairs = [(r[first], r[other]) for r in body if _has_structure(r, first) and _has_structure(r, other)]
        same = sum(_canonical(a) == _canonical(b) for a, b in pairs)
        if 2 * same < len(pairs) and sum(len(a) for a, _ in pairs) < sum(len(b) for _, b in pairs):
            return first, (
                f"both column {first + 1} and column {other + 1} read as SMILES; say which it is by a header line such as "
                "'SMILES name' or 'name SMILES'"
            )
    return first, ""


@lru_cache(4096)
def _reads(cell: str) -> bool:
    line = split_smiles(cell)
    return not line.name and is_structure(line.smiles)


def _has_structure(row: list[str], column: int) -> bool:
    return column < len(row) and _reads(row[column])


def _canonical(cell: str) -> str:
    with rdkit_log():
        mol = Chem.MolFromSmiles(split_smiles(cell).smiles, sanitize=False)
    return cell if mol is None else Chem.MolToSmiles(mol)


def _joined(lines: Iterator[str], sign: str) -> Iterator[str]:
    """The rows as text: where a sign parts the columns, a quoted cell may run over lines."""
    waiting: deque[str] = deque()
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        taken = [line]
        while sign != " " and len(taken) < _LONGEST_ROW and _is_open("".join(taken), sign):
            following = waiting.popleft() if waiting else next(lines, None)
            if following is None:
                break
            taken.append(following)
        if len(taken) > 1 and _is_open("".join(taken), sign):  # the quote was none
            waiting.extendleft(reversed(taken[1:]))
            del taken[1:]
        yield "".join(taken)


def _is_open(text: str, sign: str) -> bool:
    """Whether a quoted cell goes on after the text: then the next line would be part of it."""
    if '"' not in text:
        return False
    try:
        return next(csv.reader([text, "\x01"], delimiter=sign, skipinitialspace=True))[-1].endswith("\x01")
    except (csv.Error, IndexError):
        return False


def _cells(row: str, sign: str) -> list[str]:
    if sign == " ":
        return row.split()
    try:
        return [cell.strip() for cell in next(csv.reader([row], delimiter=sign, skipinitialspace=True), [])]
    except csv.Error:  # a cell longer than the csv module takes
        return [row]


def _line(row: str, dialect: Dialect) -> Line:
    if dialect.sign == " " and dialect.column == 0 and not dialect.parted:
        return split_smiles(row)
    return line_of_cells(_cells(row, dialect.sign), dialect)


def line_of_cells(cells: list[str], dialect: Dialect) -> Line:
    """A row of known cells."""
    name = "" if dialect.name is None or dialect.name >= len(cells) else cells[dialect.name]
    if dialect.column >= len(cells) or not cells[dialect.column]:
        return Line("", name, damage=f"no structure in column {dialect.column + 1}")
    line = split_smiles(cells[dialect.column])
    extension, taken = line.extension, {dialect.column, dialect.name}
    for place in range(dialect.column + 1, len(cells))[: 0 if extension else 1]:
        if cells[place].startswith("|") and cells[place].endswith("|"):
            extension = cells[place]
            taken.add(place)
    fields = [(_title(dialect, k), cell) for k, cell in enumerate(cells) if cell and k not in taken]
    if "cxsmiles" in dialect.header[dialect.column : dialect.column + 1]:  # as `sheets` writes it
        fields = [pair for field in fields if field[0] != "smiles" for pair in _unpacked(field)]
    kept = tuple(field for field in fields if not field[0].startswith("_"))
    return Line(line.smiles, name or line.name, extension, fields=kept)


def _unpacked(field: tuple[str, str]) -> list[tuple[str, str]]:
    """The data fields that a table has in one column for want of others."""
    try:
        found = json.loads(field[1]) if field[0] == "more" else None
    except ValueError:
        found = None
    return [(key, str(value)) for key, value in found.items()] if isinstance(found, dict) else [field]


def _title(dialect: Dialect, column: int) -> str:
    """What a column is called, as an SDF can hold it."""
    title = dialect.header[column] if column < len(dialect.header) else ""
    return " ".join(title.replace("<", "(").replace(">", ")").split()) or f"column {column + 1}"
