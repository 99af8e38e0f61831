"""Files of conformers: text, one record behind the other, or a table."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from ...chem.formats import Format
from ...chem.sheets import Table, pyarrow, write_parquet
from ...console import Output, UsageError

ROWS = ".rows"  # behind the name of a Parquet file: what it is made of at the end


class TableOutput(Output):
    """A CSV or TSV file; what is written are rows of JSON (`chem.sheets`)."""

    def __init__(self, path: str, inputs: Sequence[str], sign: str):
        super().__init__(path, inputs)
        self.table = Table(sign)

    def write(self, text: str) -> None:
        super().write(self.table(text))

    def cut(self, size: int) -> None:
        super().cut(size)
        if size:
            opened = gzip.open if self.path.endswith(".gz") else open
            with opened(self.path, "rt", encoding="utf-8", newline="") as file:
                self.table = Table(self.table.sign, next(file))


class ParquetOutput(Output):
    """A Parquet file, which is whole at the end or not at all; until then its rows of JSON lie beside it."""

    def __init__(self, path: str, inputs: Sequence[str]):
        pyarrow()
        self.target = path
        Output(path, inputs)  # whether it can be written
        super().__init__(path + ROWS, inputs)

    def complete(self) -> None:
        if self.settle():
            write_parquet(self.path, self.target)
            super().__exit__()
            Path(self.path).unlink()


def output_of(path: str, kind: Format, inputs: Sequence[str]) -> Output:
    """Where conformers of this kind of file go.

    Raises:
        UsageError: it cannot be written.
        MissingPackage: pyarrow is not installed, which Parquet needs.
    """
    if not kind.rows:
        return Output(path, inputs)
    if kind.sign:
        return TableOutput(path, inputs, kind.sign)
    if path == "-":
        raise UsageError("a Parquet file cannot go to stdout: name it by -o")
    return ParquetOutput(path, inputs)
