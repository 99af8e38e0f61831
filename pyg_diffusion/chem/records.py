"""What readers of files give: records, so that nothing is lost; one that cannot be used comes with its reason."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rdkit import Chem

from .rdkit_log import rdkit_log
from .walk import DUMMY, MAPPED, SPREAD

_ALL = int(Chem.PropertyPickleOptions.AllProps) | int(Chem.PropertyPickleOptions.CoordsAsDouble)
_MAP = "_atomMap"  # an atom's map number while it is set aside


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
        notes: what was done to it or guessed, each "KIND: details", such as "missing hydrogens added: 6".
        fault: why the coordinates of `mol` are no geometry to learn from or to keep, "" where they are one.
        text: the SMILES or InChI that it was read from, "" where it was something else.
    """

    index: int
    name: str
    mol: Chem.Mol | None
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    fault: str = ""
    text: str = ""

    def __getstate__(self) -> dict[str, Any]:
        """For another process: plain pickling would leave out properties, and round coordinates to single precision."""
        return self.__dict__ | {"mol": None if self.mol is None else self.mol.ToBinary(_ALL)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, mol=None if state["mol"] is None else Chem.Mol(state["mol"]))

    @property
    def own_name(self) -> str:
        """The record's name, "" where the reader only numbered it."""
        return "" if self.name == f"record {self.index + 1}" else self.name


def indefinite(mol: Chem.Mol) -> str:
    """Which atom or bond leaves open what the molecule is, "" where none does: dummies, R groups and queries have no
    geometry. Atoms count from 1, as in a file."""
    if not (mol.HasQuery() or mol.HasSubstructMatch(DUMMY) or mol.HasSubstructMatch(SPREAD) or mol.HasProp("_molLinkNodes")):
        return ""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() and not atom.HasQuery():
            continue
        place = f"at {atom.GetIdx() + 1} of {mol.GetNumAtoms()} atoms"
        if atom.GetAtomicNum() == 0 and (not atom.HasQuery() or atom.GetSmarts() == "*"):
            return f"dummy atom ({atom.GetSymbol()}) {place}"
        return f"query atom ({atom.GetSmarts()}) {place}"
    for bond in mol.GetBonds():
        if not bond.HasQuery() and not bond.HasProp("_MolFileBondEndPts"):
            continue
        ends = f"between atoms {bond.GetBeginAtomIdx() + 1} and {bond.GetEndAtomIdx() + 1}"
        if bond.HasQuery():
            return f"query bond ({Chem.Bond.GetSmarts(bond) or 'of several orders'}) {ends}"
        return f"bond to several atoms {ends}"
    if mol.HasProp("_molLinkNodes"):
        return "link node: a chain of variable length"
    return ""


def why_unsound(mol: Chem.Mol) -> str:
    """RDKit's reasons for not sanitizing a molecule, "" where it does.

    Where a ring with nitrogen cannot be kekulized, the usual cause is named.
    """
    with rdkit_log():
        problems = Chem.DetectChemistryProblems(mol)
    texts = []
    for problem in problems:
        text = " ".join(problem.Message().split())
        text += " (counted from 0)" if "tom" in text else ""
        if problem.GetType() == "KekulizeException":
            atoms = [mol.GetAtomWithIdx(k) for k in problem.GetAtomIndices()]
            if any(a.GetAtomicNum() == 7 and a.GetDegree() == 2 and not a.GetNumExplicitHs() for a in atoms):
                text += "; an aromatic nitrogen may lack its hydrogen: [nH]"
        if text not in texts:
            texts.append(text)
    return "; ".join(texts)


def set_maps_aside(mol: Chem.Mol) -> None:
    """Take the atom map numbers off a molecule, in place: they are labels, and RDKit tells atoms apart by them."""
    if not mol.HasSubstructMatch(MAPPED):
        return
    for atom in mol.GetAtoms():
        if number := atom.GetAtomMapNum():
            atom.SetIntProp(_MAP, number)
            atom.SetAtomMapNum(0)


def with_maps(mol: Chem.Mol) -> Chem.Mol:
    """The molecule with the map numbers it was read with; itself where it had none."""
    if not any(atom.HasProp(_MAP) for atom in mol.GetAtoms()):
        return mol
    mapped = Chem.Mol(mol)
    for atom in mapped.GetAtoms():
        if atom.HasProp(_MAP):
            atom.SetAtomMapNum(atom.GetIntProp(_MAP))
    return mapped


def reason_of(error: Exception) -> str:
    """An exception in one line: RDKit's and torch's texts run over many, of which one says what happened."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("****", "Pre-condition", "Invariant", "Stacktrace", "-----"))]
    return (telling or lines or [type(error).__name__])[0]


@contextmanager
def guarded(name: str, skip: Callable[[str, str], object]) -> Iterator[None]:
    """One record never ends the job: what goes wrong with it inside is its reason, told to `skip(name, reason)`.

    Files that cannot be read or written are not the record's fault, and go on as they are.
    """
    try:
        yield
    except (RecordError, OSError, MemoryError):
        raise
    except Exception as error:  # RDKit, torch and scipy raise what they like on a molecule they cannot do
        skip(name, reason_of(error))
