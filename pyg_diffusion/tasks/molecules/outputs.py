"""Files of conformers: text, one record behind the other, or a table."""

import gzip
import os
from collections.abc import Callable, Sequence
from itertools import count
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

    def cut(self, size: int) -> None:
        if Path(self.path).exists() or not size:  # else it was killed when all was written, and nothing will follow
            super().cut(size)

    def complete(self) -> None:
        if self.settle():
            write_parquet(self.path, self.target)
            super().__exit__()
            Path(self.path).unlink()


class Shards(Output):
    """Files `NAME-00000.sdf`, `NAME-00001.sdf`, ... for the name `NAME.sdf`, each ended where it has grown to a size.

    A file begins only where the one before is settled, so the conformers of a molecule stand in one, and a job that was cut
    goes on in the same.

    Args:
        size: bytes; of Parquet files those of their rows, before they are packed.
        make: called with a path, gives the file of that name.
        resume: whether a job that was cut goes on.

    Raises:
        UsageError: there are shards of an earlier job.
    """

    def __init__(self, path: str, size: float, make: Callable[[str], Output], resume: bool):
        if path == "-":
            raise UsageError("--shard-size is of files: name them by -o")
        self.path, self.size, self.make = path, size, make
        self.number, self.full = 0, False
        if not resume and Path(self.named(0)).exists():
            raise UsageError(f"{self.named(0)}: shards of an earlier job are there; remove them, or take another name")
        self.file = make(self.named(0))

    def named(self, number: int) -> str:
        """The path of a shard."""
        packed = ".gz" if self.path.endswith(".gz") else ""
        plain = Path(self.path.removesuffix(packed))
        return str(plain.with_name(f"{plain.stem}-{number:05d}{plain.suffix}{packed}"))

    def write(self, text: str) -> None:
        if self.full:
            self.file.complete()
            self.file.__exit__()
            self.number, self.full = self.number + 1, False
            self.file = self.make(self.named(self.number))
        self.file.write(text)

    def flush(self) -> None:
        self.file.flush()

    def settle(self) -> list[int]:
        size = self.file.settle()
        self.full = size >= self.size
        return [self.number, size]

    def cut(self, size: list[int]) -> None:
        self.number, its = size
        self.file = self.make(self.named(self.number))
        self.file.cut(its)
        self.full = its >= self.size
        for number in count(self.number + 1):  # what was written behind it is written again
            left = [path for path in (self.named(number), self.named(number) + ROWS) if os.path.exists(path)]
            for path in left:
                os.unlink(path)
            if not left:
                return

    def complete(self) -> None:
        self.file.complete()

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)


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
