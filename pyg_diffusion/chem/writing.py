"""The text of records as they are written."""

import re
from collections.abc import Callable, Sequence

from rdkit import Chem

from .records import with_maps

RecordWriter = Callable[[Chem.Mol, int], str]  # (molecule, id of a conformer) -> its record
MoleculeWriter = Callable[[Sequence[Chem.Mol]], list[str]]  # conformers of a molecule, one molecule each -> their records


def one_line(text: str) -> str:
    """A name that an SDF can hold: without line breaks and without the end of a record or of a molecule."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).replace("$$$$", "$$$ $").replace("M  END", "M END")


def properties_of(mol: Chem.Mol) -> dict[str, str]:
    """The data fields of a molecule, as text."""
    return {name: str(value) for name, value in mol.GetPropsAsDict(autoConvertStrings=False).items()}


def sdf_text(mol: Chem.Mol, conformer: int) -> str:
    """One SDF record with the molecule's name, properties and atom maps. What would end the record early is broken up."""
    mol = Chem.Mol(with_maps(mol))
    if mol.HasProp("_Name"):
        mol.SetProp("_Name", one_line(mol.GetProp("_Name")))
    for name, value in properties_of(mol).items():
        if "$$$$" in value or "\n" in value:
            mol.SetProp(name, re.sub(r"\n\s*\n", "\n", value.strip("\r\n")).replace("$$$$", "$$$ $"))
    try:
        return Chem.SDWriter.GetText(mol, confId=conformer)
    except ValueError:  # no Kekulé structure, as for some metal complexes
        return Chem.SDWriter.GetText(mol, confId=conformer, kekulize=False)
