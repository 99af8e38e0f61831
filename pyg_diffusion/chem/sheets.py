"""Tables of conformers as they are written: a row each, with a name, a SMILES, properties, and the coordinates as CXSMILES.

Rows come as JSON, one a line, since the columns of a table are not known to who writes one molecule: `Table` makes CSV or
TSV of them on the way, `write_parquet` makes Parquet of all of them at the end.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from ..extras import require
from ..files import replacing
from .finish import FIELDS, OWN
from .heavy import identity_smiles
from .records import with_maps
from .writing import one_line, properties_of

FIRST, LAST, MORE = ("name", "smiles", "conformer"), "cxsmiles", "more"
UNKNOWN = "unknown"  # an energy or a population that there is not: null in a column of numbers
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")  # a number as it stands: 007 is a name
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
GROUP = 10_000  # rows of a Parquet file that are read at once
_CX = Chem.CXSmilesFields
_EXTENSION = _CX.CX_COORDS | _CX.CX_ENHANCEDSTEREO | _CX.CX_RADICALS | _CX.CX_COORDINATE_BONDS


def cxsmiles(mol: Chem.Mol, conformer: int = 0) -> str:
    """A conformer as "SMILES |(x,y,z;...)|": with explicit hydrogens and atom maps, in Å to four decimals.

    Example:
        >>> import numpy as np
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import with_positions
        >>> from pyg_diffusion.chem.sheets import cxsmiles
        >>> cxsmiles(with_positions(Chem.MolFromSmiles("[H][H]"), np.array([[[0.0, 0, 0], [0.74, 0, 0.1]]])))
        '[H][H] |(0,0,0;0.74,0,0.1)|'
    """
    single = Chem.Mol(with_maps(mol), confId=conformer)
    single.GetConformer().SetPositions(np.round(single.GetConformer().GetPositions(), 4))
    options = Chem.SmilesWriteParams()
    options.canonical = False  # type: ignore[assignment]  # near the order of the input
    smiles, bars, rest = Chem.MolToCXSmiles(single, options, int(_EXTENSION)).partition(" |(")
    places, end, others = rest.partition(")")
    places = re.sub(r",(?=;|$)", ",0", places)  # RDKit leaves z out of what is flat, as of a drawing
    return f"{smiles}{bars}{places}{end}{others}"


def smiles_text(mol: Chem.Mol, conformer: int) -> str:
    """A line "SMILES |(x,y,z;...)| name"."""
    name = one_line(mol.GetProp("_Name")) if mol.HasProp("_Name") else ""
    return f"{cxsmiles(mol, conformer)} {name}".rstrip() + "\n"


def row_text(mol: Chem.Mol, conformer: int) -> str:
    """The row of one conformer alone."""
    return row_texts([Chem.Mol(mol, confId=conformer)])[0]


def row_texts(mols: Sequence[Chem.Mol]) -> list[str]:
    """Rows of the conformers of a molecule, the best first: one molecule each, with its properties.

    What the input calls as the table calls a column of its own is "NAME (input)".
    """
    smiles, texts = identity_smiles(mols[0]), []
    own = {*FIRST, LAST, MORE}
    for number, mol in enumerate(mols, 1):
        properties = {key + OWN * (key in own): value for key, value in properties_of(mol).items()}
        name = one_line(mol.GetProp("_Name")) if mol.HasProp("_Name") else ""
        place = mol.GetConformer().GetId()
        row = dict(zip(FIRST, (name, smiles, number), strict=True)) | properties | {LAST: cxsmiles(mol, place)}
        texts.append(json.dumps(row) + "\n")
    return texts


class Table:
    """Rows of JSON -> the text of a CSV or TSV file.

    The columns are the same for every job, and then the properties that the first conformer has beside; what a later one has
    in excess is JSON in the last, `more`.

    Args:
        sign: what parts the columns.
        header: the first line of a file to go on with; "" begins one.

    Example:
        >>> from pyg_diffusion.chem.sheets import Table
        >>> table = Table(",")
        >>> table('{"name": "a", "smiles": "C", "conformer": 1, "pKi": "7", "cxsmiles": "C"}').splitlines()[1]
        'a,C,1,,,,,,,,,7,C,'
    """

    def __init__(self, sign: str, header: str = ""):
        self.sign = sign
        self.columns = next(csv.reader([header], delimiter=sign)) if header else []

    def __call__(self, text: str) -> str:
        """The rows of some lines of JSON, behind the header where they are the first."""
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=self.sign, lineterminator="\n")
        for line in text.splitlines():
            row = json.loads(line)
            if not self.columns:
                self.columns = [*_columns(row), MORE]
                writer.writerow(self.columns)
            rest = {key: value for key, value in row.items() if key not in self.columns}
            writer.writerow([json.dumps(rest) if key == MORE and rest else row.get(key, "") for key in self.columns])
        return stream.getvalue()


def _columns(row: Iterable[str]) -> list[str]:
    """The columns of a table with such rows, but for `more`."""
    others = [key for key in row if key not in (*FIRST, *FIELDS, LAST)]
    return [*FIRST, *FIELDS, *others, LAST]


def write_parquet(rows: str | Path, target: str | Path) -> int:
    """A file of rows of JSON -> a Parquet file, whole or not at all; returns the number of rows.

    Each property is a column, of numbers where all its values are, else of text; null where a conformer has none.

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    arrow, parquet = pyarrow()
    kinds: dict[str, type] = {}
    for row in _rows(rows):
        for key, value in row.items():
            kinds[key] = _wider(kinds.get(key, int), value)
    types = {int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
    named = [key for key in _columns(kinds) if key in kinds]
    schema = arrow.schema([(key, types[kinds[key]]) for key in named])
    count, lines = 0, _rows(rows)
    with replacing(target) as path, parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(lines, GROUP)):
            count += len(group)
            columns = {key: [_cell(row.get(key), kinds[key]) for row in group] for key in named}
            writer.write_table(arrow.table(columns, schema=schema))
    return count


def _rows(path: str | Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _wider(kind: type, value: object) -> type:
    """The narrowest of int, float and str that is no narrower than this one and has the value as it stands."""
    if kind is str or value == UNKNOWN:
        return kind
    text = str(value)
    if kind is int and _WHOLE.fullmatch(text):
        return int
    return float if _NUMBER.fullmatch(text) else str


def _cell(value: object, kind: type) -> object:
    return None if value is None or (value == UNKNOWN and kind is not str) else kind(value)


def pyarrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingPackage: they are not installed.
    """
    require("pyarrow", "parquet", "a Parquet file")
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
