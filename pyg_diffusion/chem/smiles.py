"""A SMILES, CXSMILES or InChI as a molecule, and RDKit's reason where it is none."""

import re
import unicodedata
from typing import NamedTuple

from rdkit import Chem

from .axial import label_allenes
from .rdkit_log import rdkit_log
from .records import Record, indefinite, set_maps_aside, why_unsound
from .sdf import record_from_placed

LONGEST = 100_000  # characters
_INCHI = re.compile(r"InChI=1S?/")
_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]$")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_MEANT = {**dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"), "\uff1d": "=", "\uff03": "#"}
_ELEMENTS = {Chem.GetPeriodicTable().GetElementSymbol(z) for z in range(1, 119)}
_WITHOUT_BRACKETS = {"B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I"}
_POSITION = re.compile(r"check for mistakes around position (\d+)")
_PLACED = re.compile(r"\([^()]*?[^,;()]*,[^,;()]*,[^,;()]+[;)]")  # coordinates of an extension, a z among them
_SYNTAX = re.compile(r"SMILES Parse Error: (.+?)(?: while parsing: .*| for input: .*)?$", re.DOTALL)

_NUMBERS = r"\d+(?:,\d+)*"
_PAIRS = r"\d+\.\d+(?:,\d+\.\d+)*"
_PART = re.compile(  # of an extension: RDKit reads it, or it has no weight for a geometry
    rf"(?:\([^)]*\)|\$[^$]*\$|(?:\^\d|[&o]\d+|a):(?P<atoms>{_NUMBERS})|w[UD]?:{_PAIRS}|(?:c|t|ctu|u):{_NUMBERS}|[CHZ]:{_PAIRS}"
    r"|lp:\d+:\d+(?:,\d+:\d+)*|f:\d+(?:\.\d+)*(?:,\d+(?:\.\d+)*)*|r|(?:rb|s):\d+:[\d*]+(?:,\d+:[\d*]+)*"
    r"|atomProp:[^,]*|(?:LN|m|Sg|SgD|SgH):.*)(?=,|$)"
)


class Line(NamedTuple):
    """A row of a table of molecules, unparsed.

    Attributes:
        smiles: or an InChI.
        name: "" where there is none.
        extension: the part of a CXSMILES between the bars, with them.
        damage: why the row cannot be read.
        fields: the other columns of the table, (name, value), empty ones left out.
    """

    smiles: str
    name: str = ""
    extension: str = ""
    damage: str = ""
    fields: tuple[tuple[str, str], ...] = ()


def split_smiles(text: str) -> Line:
    """The parts of "SMILES [|extension|] [name]", parted by blanks or tabs; all that follows is the name."""
    smiles, rest = (*text.split(maxsplit=1), "", "")[:2]
    rest = rest.strip()
    if not rest.startswith("|"):
        return Line(smiles, rest)
    end = rest.find("|", 1) + 1
    if not end:  # never closed
        end = len(rest.split(maxsplit=1)[0])
    return Line(smiles, rest[end:].strip(), rest[:end])


def is_structure(text: str) -> bool:
    """Whether a text reads as SMILES or InChI, whatever its chemistry."""
    if _INCHI.match(text):
        return True
    if not text or len(text) > 2000 or not text.isascii() or _open_parenthesis(text):
        return False
    with rdkit_log():
        mol = Chem.MolFromSmiles(text, sanitize=False)
    return mol is not None and mol.GetNumAtoms() > 0


def record_from_smiles(index: int, smiles: str, name: str = "", extension: str = "", need_3d: bool = False) -> Record:
    """One SMILES (or InChI), with the extension of a CXSMILES, with explicit hydrogens added.

    Coordinates in the extension are the molecule's geometry, read as those of an SDF record, which must be one where
    `need_3d`; a drawing's are not looked at.
    """
    record = Record(index, name or (smiles if len(smiles) <= LONGEST else f"{smiles[:40]}..."), None, text=smiles)
    visible = _INVISIBLE.sub("", smiles)
    if visible != smiles:
        record.notes.append("invisible characters left out of the SMILES")
    mol, record.problem = _from_inchi(visible) if visible.startswith("InChI") else _parse(visible, extension)
    if mol is None:
        return record
    if visible.startswith("InChI"):
        record.notes.append("made from its InChI")
    if reason := indefinite(mol):
        record.problem = f"{reason}: no molecule"
        return record
    if mol.GetNumConformers() and _PLACED.search(extension):
        placed = record_from_placed(index, mol, record.name, need_3d, record.notes, kekulize=True)
        placed.text = smiles
        return placed
    mol.RemoveAllConformers()  # a drawing's
    if any(atom.GetAtomMapNum() for atom in mol.GetAtoms()):
        set_maps_aside(mol)
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)  # without centres that only the labels made
    if left_out := _not_understood(extension, mol.GetNumAtoms()):
        record.notes.append(f"left out of its CXSMILES extension, not understood: {left_out}")
    mol = Chem.AddHs(mol)
    label_allenes(mol, visible)
    mol.SetProp("_Name", record.name)
    record.mol = mol
    return record


def record_from_line(index: int, line: Line, need_3d: bool = False) -> Record:
    """A row of a table; its other columns are properties of the molecule, as the data fields of an SDF record are."""
    if line.damage:
        return Record(index, line.name or f"record {index + 1}", None, line.damage)
    record = record_from_smiles(index, line.smiles, line.name, line.extension, need_3d)
    if record.mol is not None:
        for name, value in line.fields:
            record.mol.SetProp(name, value)
    return record


def _parse(smiles: str, extension: str) -> tuple[Chem.Mol | None, str]:
    """(sanitized molecule, "") or (None, why not)."""
    shown = repr(smiles if len(smiles) <= 60 else f"{smiles[:57]}...")
    if reason := _unreadable(smiles):
        return None, f"not a valid SMILES: {shown}: {reason}"
    parameters = Chem.SmilesParserParams()
    parameters.parseName = False  # type: ignore[assignment]
    parameters.removeHs = not _PLACED.search(extension)  # type: ignore[assignment]
    with rdkit_log() as said:
        mol = Chem.MolFromSmiles(f"{smiles} {extension}".strip(), parameters)
        if mol is not None and mol.GetNumAtoms():
            return mol, ""
        if extension and Chem.MolFromSmiles(smiles) is not None:
            return None, f"CXSMILES extension not understood: {extension[:60]!r}"
        del said[:]
        parameters.sanitize = False  # type: ignore[assignment]
        raw = Chem.MolFromSmiles(smiles, parameters)
    if raw is None:
        return None, f"not a valid SMILES: {shown}: {_syntax(smiles, said)}"
    if not raw.GetNumAtoms():
        return None, f"not a valid SMILES: {shown}: no atoms"
    return None, f"RDKit cannot sanitize it: {why_unsound(raw) or '; '.join(said) or 'no reason given'}"


def _from_inchi(inchi: str) -> tuple[Chem.Mol | None, str]:
    with rdkit_log() as said:
        mol = Chem.MolFromInchi(inchi) if len(inchi) <= LONGEST else None
    if mol is None or not mol.GetNumAtoms():
        return None, f"not a valid InChI: {inchi[:60]!r}" + "".join(f": {text}" for text in said[:1])
    return mol, ""


def _unreadable(smiles: str) -> str:
    """Why a text cannot be SMILES, "" where RDKit is to say."""
    for k, sign in enumerate(smiles, 1):
        if not sign.isascii() or not sign.isprintable():
            meant = f"; is {_MEANT[sign]!r} meant?" if sign in _MEANT else ""
            name = unicodedata.name(sign, "a control character")
            return f"the character U+{ord(sign):04X} ({name}) at {k} is in no SMILES{meant}"
    if len(smiles) > LONGEST:
        return f"{len(smiles)} characters; the longest that is read has {LONGEST}"
    if _INCHIKEY.match(smiles):
        return "an InChIKey, from which no structure can be made"
    if re.search("(?<!-)>", smiles):
        return "a reaction, not a molecule"
    if place := _open_parenthesis(smiles):
        return f"parenthesis at {place} not closed"
    return ""


def _open_parenthesis(smiles: str) -> int:
    """Place of the first parenthesis that is never closed, from 1; 0 where there is none."""
    places: list[int] = []
    for k, sign in enumerate(smiles, 1):
        if sign == "(":
            places.append(k)
        elif sign == ")" and places:
            places.pop()
    return places[0] if places else 0


def _syntax(smiles: str, said: list[str]) -> str:
    """RDKit's reason, and what stands where it stopped."""
    first = next((found.group(1) for text in said if (found := _SYNTAX.match(text))), "no reason given")
    place = next((int(found.group(1)) for text in said if (found := _POSITION.match(text.split(": ", 1)[-1]))), 0)
    if not place:
        return first.replace("unclosed ring", "ring not closed")
    if first.startswith("syntax error"):
        bracket = smiles.rfind("[", 0, place)
        inside = bracket > smiles.rfind("]", 0, place - 1)
        start = bracket if inside else place - 1 - smiles[place - 1 : place].islower()  # where what stopped it begins
        symbol = re.compile(r"\[?\d*([A-Z][a-z]?)").match(smiles, start)
        if symbol and not {symbol[1], symbol[1][0]} & _ELEMENTS:
            return f"no element {symbol[1]} at {symbol.start(1) + 1}"
        if symbol and not inside and symbol[1] in _ELEMENTS - _WITHOUT_BRACKETS:
            return f"{symbol[1]} at {start + 1} needs brackets: [{symbol[1]}]"
    return f"{first} at {place}, {smiles[place - 1 : place + 9]!r}"


def _not_understood(extension: str, atoms: int) -> str:
    """The parts of a CXSMILES extension that say nothing to RDKit, or speak of atoms that are not there."""
    inner, place, rest = extension.strip("|"), 0, []
    while place < len(inner):
        found = _PART.match(inner, place)
        end = found.end() if found else (inner + ",").index(",", place)
        if not found or any(int(k) >= atoms for k in (found["atoms"] or "0").split(",")):
            rest.append(inner[place:end])
        place = end + 1
    return ", ".join(rest)
