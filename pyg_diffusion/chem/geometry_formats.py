"""Files of coordinates beside SDF: XYZ, PDB and mol2. Each record becomes a mol block, which the reader of SDF takes on."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from rdkit import Chem
from rdkit.Chem import rdDetermineBonds

from .rdkit_log import rdkit_log
from .records import Record, RecordError, reason_of, with_maps
from .sdf import record_from_placed
from .writing import one_line

MOST_ATOMS = 500
ITERATIONS = 20_000  # of assigning bond orders, which else does not end for some large systems
_COUNT = re.compile(r"\s*(\d+)\s*$")
_CHARGE = re.compile(r"\bcharge\s*=\s*\"?([+-]?\d+)", re.IGNORECASE)
_NAME = re.compile(r"\bname\s*=\s*(?:\"([^\"]*)\"|(\S+))")
_LABEL = {"XYZ": "write charge=N in the comment line", "PDB": "write charges in columns 79 and 80"}
_TITLE, _ATOMS, _BONDS = ("HEADER", "COMPND", "TITLE"), ("ATOM", "HETATM", "TER"), ("CONECT", "END")

Say = Callable[[str], object]


def is_xyz(lines: list[str]) -> bool:
    """Whether a file that begins so is XYZ: a number of atoms, a comment, then symbols and coordinates."""
    return bool(re.match(r"\s*\d+\s*\n.*\n\s*[A-Za-z]{1,2}(\s+[-+]?(\d+\.?\d*|\.\d+)){3}", "".join(lines[:3])))


def is_pdb(lines: list[str]) -> bool:
    """Whether a file that begins so is PDB."""
    return any(re.match(r"(ATOM|HETATM) *\d+ |(HEADER|COMPND|REMARK|CRYST1) +\S", line) for line in lines)


def is_mol2(lines: list[str]) -> bool:
    """Whether a file that begins so is mol2."""
    return any(line.startswith("@<TRIPOS>") for line in lines)


def split_xyz(lines: Iterator[str], path: str, say: Say) -> Iterator[str]:
    """The frames of an XYZ file. Raises `RecordError` where it does not begin with a number of atoms."""
    found = 0
    for line in lines:
        if not line.strip():
            continue
        count = _COUNT.match(line)
        if count is None:
            if not found:
                raise RecordError(f"{path}: not an XYZ file (its first line is no number of atoms)")
            say(f"{path}: what follows frame {found} does not begin with a number of atoms, and is left out")
            return
        found += 1
        frame = [line, *(next(lines, "") for _ in range(int(count[1]) + 1))]
        yield "".join(row if row.endswith("\n") else row + "\n" for row in frame if row)
    if not found:
        raise RecordError(f"{path}: the file is empty")


def _split_before(start: re.Pattern[str], lines: Iterator[str], path: str, kind: str) -> Iterator[str]:
    record: list[str] = []
    found = 0
    for line in lines:
        if start.match(line):
            if found:
                yield "".join(record)
            record, found = [], found + 1
        record.append(line)
    if not found:
        raise RecordError(f"{path}: not a {kind} file")
    yield "".join(record)


def split_mol2(lines: Iterator[str], path: str, say: Say) -> Iterator[str]:
    """The molecules of a mol2 file."""
    return _split_before(re.compile("@<TRIPOS>MOLECULE"), lines, path, "mol2")


def split_pdb(lines: Iterator[str], path: str, say: Say) -> Iterator[str]:
    """The molecules or models of a PDB file: what lies between its END and ENDMDL lines. Models are called as the file says
    before the first."""
    record: list[str] = []
    titles: list[str] = []
    found = models = False
    for line in chain(lines, ["END\n"]):
        if line.startswith("MODEL") and not models:
            models, titles = True, [row for row in record if row.startswith(("COMPND", "TITLE"))]
        if line.startswith("END"):
            if any(row.startswith(("ATOM", "HETATM")) for row in record):
                found = True
                yield "".join(record)
            models = models and line.startswith("ENDMDL")
            record = list(titles) if models else []
        elif not line.startswith(("MODEL", "MASTER")):
            record.append(line)
    if not found:
        raise RecordError(f"{path}: no ATOM or HETATM line in it")


def _stripped(mol: Chem.Mol) -> bool:
    """Whether two carbons are bound that have fewer than three neighbours: a skeleton, taken for what it is not."""
    few = [atom.GetAtomicNum() == 6 and atom.GetDegree() < 3 for atom in mol.GetAtoms()]
    return any(few[bond.GetBeginAtomIdx()] and few[bond.GetEndAtomIdx()] for bond in mol.GetBonds())


def with_bonds(index: int, mol: Chem.Mol, name: str, charge: int, need_3d: bool, kind: str) -> Record:
    """The record of a molecule whose file says atoms, coordinates and charge alone."""
    name = name or f"record {index + 1}"
    if mol.GetNumAtoms() > MOST_ATOMS:
        return Record(
            index, name, None, f"{mol.GetNumAtoms()} atoms: too many to tell bonds from coordinates; give SDF or mol2"
        )
    bare = not any(atom.GetAtomicNum() == 1 for atom in mol.GetAtoms())
    try:
        with rdkit_log():
            rdDetermineBonds.DetermineBonds(mol, charge=charge, maxIterations=ITERATIONS)
        told = not (bare and _stripped(mol))
        reason = "it has no hydrogens"
    except Exception as error:  # RDKit raises ValueError, RuntimeError and its own
        told = False
        reason = "it has no hydrogens" if bare else f"{reason_of(error)} (another charge: {_LABEL[kind]})"
    if not told:
        return Record(index, name, None, f"bonds cannot be told from its coordinates: {reason}; SDF and mol2 say them")
    return record_from_placed(index, mol, name, need_3d, [f"bonds told from its coordinates: at charge {charge:+d}"])


def parse_xyz(index: int, raw: str, need_3d: bool) -> Record:
    """A frame. Its comment may say name="..." and charge=N, else it is the name; bonds follow from the coordinates."""
    lines = raw.splitlines()
    comment = lines[1].strip() if len(lines) > 1 else ""
    named = _NAME.search(comment)
    name = (named[1] or named[2]) if named else "" if "=" in comment else comment
    with rdkit_log() as said:
        rows = [" ".join(row.split()[:4]) for row in lines[2:]]
        try:
            mol = Chem.MolFromXYZBlock("\n".join([lines[0], "", *rows]) + "\n")
        except Exception as error:
            mol, said = None, [reason_of(error)]
    if mol is None:
        return Record(index, name or f"record {index + 1}", None, f"not a frame of an XYZ file: {'; '.join(said)}")
    charge = _CHARGE.search(comment)
    return with_bonds(index, mol, name, int(charge[1]) if charge else 0, need_3d, "XYZ")


def parse_pdb(index: int, raw: str, need_3d: bool) -> Record:
    """A molecule. Bonds follow from the coordinates: a PDB file does not say their orders."""
    with rdkit_log() as said:
        mol = Chem.MolFromPDBBlock(raw, sanitize=False, removeHs=False, proximityBonding=False)
    title = re.search(r"^(?:COMPND|TITLE) +(?:MOL_ID.*?MOLECULE: *)?(.+?);? *$", raw, re.MULTILINE)
    name = title[1] if title else ""
    if mol is None:
        return Record(index, name or f"record {index + 1}", None, f"not a PDB record: {'; '.join(said)}")
    charge = Chem.GetFormalCharge(mol)
    bare = Chem.RWMol()
    for atom in mol.GetAtoms():
        bare.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    bare.AddConformer(mol.GetConformer())
    return with_bonds(index, bare.GetMol(), name, charge, need_3d, "PDB")


def parse_mol2(index: int, raw: str, need_3d: bool) -> Record:
    """A molecule, whose bonds the file says."""
    lines = raw.splitlines()
    name = lines[1].strip() if len(lines) > 1 else ""
    with rdkit_log() as said:
        mol = Chem.MolFromMol2Block(raw, sanitize=False, removeHs=False)
    if mol is None or not mol.GetNumConformers():
        return Record(index, name or f"record {index + 1}", None, f"not a mol2 record: {'; '.join(said) or 'no atoms'}")
    for atom in mol.GetAtoms():
        bonds = sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds())
        if atom.GetAtomicNum() == 6 and not atom.GetFormalCharge() and bonds < 4:
            reason = (
                f"C{atom.GetIdx() + 1} lacks hydrogens: a mol2 record must have all of its own; give SDF, which need not"
            )
            return Record(index, name or f"record {index + 1}", None, reason)
    Chem.DetectBondStereochemistry(mol)  # or the mol block would say that its double bonds are open
    return record_from_placed(index, mol, name if name != "*****" else "", need_3d, [])


def xyz_text(mol: Chem.Mol, conformer: int) -> str:
    """A frame of extended XYZ; its comment has name, charge and properties."""
    named = {"name": mol.GetProp("_Name") if mol.HasProp("_Name") else ""}
    facts = named | {"charge": str(Chem.GetFormalCharge(mol))} | mol.GetPropsAsDict()
    said = " ".join(_fact(key, value) for key, value in facts.items())
    rows = [
        f"{atom.GetSymbol():2} {x:12.6f} {y:12.6f} {z:12.6f}"
        for atom, (x, y, z) in zip(mol.GetAtoms(), mol.GetConformer(conformer).GetPositions(), strict=True)
    ]
    return "\n".join([str(mol.GetNumAtoms()), f"Properties=species:S:1:pos:R:3 {said}", *rows]) + "\n"


def _fact(key: str, value: object) -> str:
    text = one_line(str(value)).replace('"', "'")
    return f'{re.sub(r"[^A-Za-z0-9_]+", "_", key)}="{text}"'


def pdb_text(mol: Chem.Mol, conformer: int) -> str:
    """A molecule as HETATM and CONECT lines up to its END, its name in COMPND."""
    mol = with_maps(Chem.Mol(mol))
    if mol.HasProp("_Name"):
        mol.SetProp("_Name", one_line(mol.GetProp("_Name")))
    return Chem.MolToPDBBlock(mol, confId=conformer)


def pdb_texts(mols: Sequence[Chem.Mol]) -> list[str]:
    """The conformers of a molecule, one molecule each: models of one structure, with the bonds behind the last."""
    blocks = [pdb_text(mol, 0).splitlines(keepends=True) for mol in mols]
    if len(blocks) == 1:
        return ["".join(blocks[0])]
    texts = []
    for number, block in enumerate(blocks, 1):
        title, atoms, bonds = ([row for row in block if row.startswith(kind)] for kind in (_TITLE, _ATOMS, _BONDS))
        rows = [*(title if number == 1 else []), f"MODEL     {number:4}\n", *atoms, "ENDMDL\n"]
        texts.append("".join([*rows, *(bonds if number == len(blocks) else [])]))
    return texts
