"""Parquet files of molecules: a column of SMILES, InChI or CXSMILES, perhaps one of names, the others as properties."""

from collections.abc import Callable, Iterator
from typing import Any

from .records import RecordError
from .sheets import GROUP, pyarrow
from .smiles import Line
from .table import FOUND, LOOK, Columns, dialect_of_cells, line_of_cells

MAGIC = b"PAR1"


def read_parquet(path: str, say: Callable[[str], object], columns: Columns = FOUND) -> Iterator[Line]:
    """The rows of a Parquet file, as those of a table with a header line.

    Raises:
        RecordError: it is none, is damaged, has no rows, or no such column.
        MissingPackage: pyarrow is not installed.
    """
    arrow, parquet = pyarrow()
    try:
        file = parquet.ParquetFile(path)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file") from error
    except (arrow.ArrowException, OSError) as error:
        raise RecordError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    with file:
        names = [str(name) for name in file.schema_arrow.names]
        rows = _cells(file, arrow)
        head = [row for row, _ in zip(rows, range(LOOK), strict=False)]
        if not head:
            raise RecordError(f"{path}: no rows in it")
        dialect = dialect_of_cells([names, *head], columns, path)
        say(f"{path}: {dialect}")
        for row in head:
            yield line_of_cells(row, dialect)
        try:
            for row in rows:
                yield line_of_cells(row, dialect)
        except arrow.ArrowException as error:
            yield Line("", damage=f"the file is damaged here: {' '.join(str(error).split())}")


def _cells(file: Any, arrow: Any) -> Iterator[list[str]]:
    """The rows as text, "" for null."""
    for batch in file.iter_batches(GROUP):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield ["" if cell is None else str(cell) for cell in row]
