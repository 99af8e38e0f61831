"""What readers of files give: records, so that nothing is lost; one that cannot be used comes with its reason."""

from dataclasses import dataclass, field

from rdkit import Chem


class RecordError(ValueError):
    """An input that cannot be read at all."""


@dataclass
class Record:
    """One record of an input file.

    Attributes:
        index: position in the file, from 0.
        name: the record's name, or "record N" / the SMILES where it has none.
        mol: the molecule with explicit hydrogens in the input's atom order (added ones last), or None.
        problem: why `mol` is None.
        notes: what was done to it, such as hydrogens added.
    """

    index: int
    name: str
    mol: Chem.Mol | None
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def own_name(self) -> str:
        """The record's name, "" where the reader only numbered it."""
        return "" if self.name == f"record {self.index + 1}" else self.name
