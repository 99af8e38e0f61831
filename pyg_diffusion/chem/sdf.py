"""SDF: a record as a molecule. `sdf_text` tells where it begins and ends, `coordinates` what its geometry is worth."""

import re
from collections.abc import Collection

import numpy as np
from rdkit import Chem, rdBase

from .coordinates import are_places, fault_of, is_3d, is_drawing
from .rdkit_log import rdkit_log
from .records import Record, indefinite, set_maps_aside, why_unsound
from .sdf_text import END, HEADER, Block, read_block, split_sdf, with_plain_coordinates
from .stereo import assign_stereo_from_3d
from .walk import bonds_of
from .writing import one_line

__all__ = ["is_3d", "record_from_block", "record_from_placed", "split_sdf", "with_hydrogens"]

_AMBIGUOUS = re.compile(r"ambiguous stereochemistry - (.*?)\s*-? at atom (\d+) ignored")
_STEREO = re.compile("stereo|chiral", re.IGNORECASE)  # warnings to pass on; of others a good file has dozens
_UP_DOWN, _EITHER, _CROSSED = (1, 6), 4, 3  # bond stereo of a V2000 block
_FROM_V3000 = {1: 1, 2: 4, 3: 6}


def _parse(block: Block, need_3d: bool) -> tuple[Chem.Mol | None, str, list[str]]:
    """(molecule with its data fields, "", RDKit's warnings) or (None, RDKit's reason, [])."""
    mol: Chem.Mol | None
    said: list[str] = []
    below = block.mol.split("\n")[HEADER + 1 :] if "," in block.mol else []
    if any("," in line[:30] for line in below):  # RDKit would read 1,25 as 1
        plain, numbers = with_plain_coordinates(block.mol)
        block = block._replace(mol=plain if numbers else block.mol)
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(block.mol, sanitize=False, removeHs=False)
    if mol is None or not mol.GetConformer().Is3D():
        mol, said = _parse_aloud(block.mol)
    if mol is None and said and said[-1].startswith("Cannot process coordinates"):
        plain, numbers = with_plain_coordinates(block.mol)
        if numbers or not need_3d:  # the graph is as readable without
            mol, _ = _parse_aloud(plain)
    if mol is None:
        return None, f"RDKit cannot parse this record: {said[-1] if said else 'no reason given'}", []
    if reason := indefinite(mol):
        return None, f"{reason}: no molecule", []
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except ValueError as error:
            raw = Chem.MolFromMolBlock(block.mol, sanitize=False, removeHs=False)  # a half-sanitized one tells nothing
            return None, f"RDKit cannot sanitize it: {(raw and why_unsound(raw)) or error}", []
    set_maps_aside(mol)
    for name, value in block.fields.items():
        mol.SetProp(name, value)
    return mol, "", [text for text in said if _STEREO.search(text)]


def _parse_aloud(text: str) -> tuple[Chem.Mol | None, list[str]]:
    """The molecule of a block, and what RDKit says: slow, where it says much."""
    for words in (text, text.encode("ascii", "replace").decode()):
        with rdkit_log() as said:
            try:
                return Chem.MolFromMolBlock(words, sanitize=False, removeHs=False), said
            except SystemError:  # it quotes half of a character of several bytes, or what lies behind the text
                continue
    with rdBase.BlockLogs():
        return Chem.MolFromMolBlock(text, sanitize=False, removeHs=False), [] if END in text else [f"'{END}' is missing"]


def with_hydrogens(mol: Chem.Mol, coordinates: bool) -> tuple[Chem.Mol, int]:
    """The molecule with explicit hydrogens (appended, so input atoms keep their order) and how many were added."""
    full = Chem.AddHs(mol, addCoords=coordinates)
    return full, full.GetNumAtoms() - mol.GetNumAtoms()


def record_from_block(index: int, text: str, need_3d: bool) -> Record:
    """Parse, perceive stereo from 3D (else from the record's wedges), add missing hydrogens.

    Coordinates that are flat though the molecule cannot be are a drawing's. Others that are not its geometry stay, with
    `Record.fault`; stereo is read from them as far as they show it.
    """
    block = read_block(text)
    record = Record(index, block.name or f"record {index + 1}", None)
    if block.damage:
        record.problem = block.damage
        return record
    if not text.strip():
        record.problem = "an empty record: nothing before its $$$$"
        return record
    mol, record.problem, warnings = _parse(block, need_3d)
    if mol is None:
        return record
    if mol.GetNumAtoms() == 0:
        record.problem = "no atoms"
        return record
    record.notes += [f"data fields: {remark}" for remark in block.remarks]
    record.notes += [f"RDKit: {text}" for text in warnings if not _AMBIGUOUS.search(text)]
    spatial = is_3d(mol)
    flat = spatial and is_drawing(mol)
    if need_3d and (flat or not spatial):
        record.problem = "flat coordinates, as of a drawing, though marked as 3D" if flat else _no_coordinates(mol)
        return record
    if flat:
        record.notes.append("read as a drawing: flat coordinates, though marked as 3D, of a molecule that is not flat")
    if spatial and not flat:
        mol = _from_geometry(mol, record)
    elif are_places(mol.GetConformer().GetPositions()):
        mol = _from_drawing(mol, record, warnings, flat)
    else:
        mol = _from_nowhere(mol, record)
    record.mol = mol
    return record


def record_from_placed(
    index: int, mol: Chem.Mol, name: str, need_3d: bool, notes: list[str], kekulize: bool = False
) -> Record:
    """What another format says of atoms, bonds and places, taken on as a record of an SDF file; `notes` come first.

    Args:
        kekulize: write aromatic bonds as single and double ones, which say where implicit hydrogens are.
    """
    mol.SetProp("_Name", one_line(name))
    mol.GetConformer().Set3D(True)
    record = record_from_block(index, Chem.MolToV3KMolBlock(mol, kekulize=kekulize), need_3d)
    record.notes[:0] = notes
    return record


def _no_coordinates(mol: Chem.Mol) -> str:
    pos = mol.GetConformer().GetPositions()
    if not np.isfinite(pos).all():
        return "coordinates that are no numbers"
    if not are_places(pos):
        return "no 3D coordinates (all atoms at one place, or absurd ones)"
    return "no 3D coordinates (2D-only or missing)"


def _completed(mol: Chem.Mol, record: Record, coordinates: bool) -> Chem.Mol:
    with rdBase.BlockLogs():
        full, added = with_hydrogens(mol, coordinates)
    if added:
        record.notes.append(f"missing hydrogens added: {added}")
    return full


def _from_geometry(mol: Chem.Mol, record: Record) -> Chem.Mol:
    """Completed, with the stereo that its coordinates show: in whatever unit, and not where they are broken."""
    fault = fault_of(mol)
    scale = fault.scale if fault else 1.0
    _scale(mol, scale)
    mol = _completed(mol, record, coordinates=True)
    with rdBase.BlockLogs():
        assign_stereo_from_3d(mol)
    _clear_open_marks(mol)
    if fault:
        record.fault = fault.text
        _scale(mol, 1 / scale)
        _leave_open(mol, fault.atoms)
        if len(Chem.FindPotentialStereo(mol)):
            record.notes.append(f"stereo read from coordinates that are not its geometry: {fault.text}")
    return mol


def _scale(mol: Chem.Mol, factor: float) -> None:
    if factor != 1:
        mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() * factor)


def _leave_open(mol: Chem.Mol, atoms: Collection[int]) -> None:
    """Take the stereo away that these atoms, in no place of their own, take part in: as centre, as two of its neighbours."""
    for atom in mol.GetAtoms():
        if atom.GetIdx() in atoms or sum(n.GetIdx() in atoms for n in atom.GetNeighbors()) > 1:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), *bond.GetStereoAtoms())
        if any(k in atoms for k in ends) and bond.GetStereo() != Chem.BondStereo.STEREONONE:
            bond.SetStereo(Chem.BondStereo.STEREONONE)


def _from_nowhere(mol: Chem.Mol, record: Record) -> Chem.Mol:
    """Completed, without any stereo, as there are no places to read it from."""
    _leave_open(mol, range(mol.GetNumAtoms()))
    for bond in mol.GetBonds():
        bond.SetBondDir(Chem.BondDir.NONE)
    mol = _completed(mol, record, coordinates=False)
    if len(Chem.FindPotentialStereo(mol)):
        record.notes.append("stereo left open: no usable coordinates")
    return mol


def _from_drawing(mol: Chem.Mol, record: Record, warnings: list[str], marked_3d: bool) -> Chem.Mol:
    """Completed, with the stereo of its wedges and of the sides of its double bonds; a remark where they give none."""
    with rdkit_log() as said:
        if marked_3d:  # RDKit has taken it for a geometry
            mol.GetConformer().Set3D(False)
            for atom in mol.GetAtoms():
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
            Chem.ReapplyMolBlockWedging(mol)
            Chem.DetectBondStereoChemistry(mol, mol.GetConformer())
        Chem.AssignChiralTypesFromBondDirs(mol)
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    unclear = _unclear_marks(mol)
    for text in [*warnings, *said]:
        if found := _AMBIGUOUS.search(text):
            unclear[f"atom {int(found[2]) + 1}"] = found[1]
    if unclear:
        places = ", ".join(f"{place} ({reason})" if reason else place for place, reason in unclear.items())
        record.notes.append(f"ambiguous stereochemistry left open: {places}")
    _clear_open_marks(mol)
    return _completed(mol, record, coordinates=False)


def _clear_open_marks(mol: Chem.Mol) -> None:
    """Take wavy and crossed bonds away once they are heeded: RDKit would not enumerate what they leave open."""
    for bond in bonds_of(mol):
        bond.ClearProp("_UnknownStereo")
        if bond.GetBondDir() in (Chem.BondDir.UNKNOWN, Chem.BondDir.EITHERDOUBLE):
            bond.SetBondDir(Chem.BondDir.NONE)
        if bond.GetStereo() == Chem.BondStereo.STEREOANY:
            bond.SetStereo(Chem.BondStereo.STEREONONE)


def _unclear_marks(mol: Chem.Mol) -> dict[str, str]:
    """Places of a drawing with a mark but no stereo from it, and double bonds whose sides it does not show; with reasons.

    A wavy or crossed bond alone says that stereo is open, and is no such place.
    """
    marks = {b.GetIdx(): mark for b in mol.GetBonds() if (mark := _mark(b))}
    open_atoms, open_bonds = set(), set()
    for info in Chem.FindPotentialStereo(mol):
        if info.specified != Chem.StereoSpecified.Specified:
            kind = info.type
            if kind == Chem.StereoType.Atom_Tetrahedral:
                open_atoms.add(info.centeredOn)
            elif kind == Chem.StereoType.Bond_Double:
                open_bonds.add(info.centeredOn)
    unclear = {}
    for index, mark in marks.items():
        bond = mol.GetBondWithIdx(index)
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if mark not in _UP_DOWN:
            continue
        if begin in open_atoms:
            wavy = any(marks.get(b.GetIdx()) == _EITHER for b in bond.GetBeginAtom().GetBonds())
            unclear[f"atom {begin + 1}"] = "wedge and wavy bond" if wavy else "wedges that contradict each other"
        elif end in open_atoms and bond.GetBeginAtom().GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
            unclear.setdefault(f"atom {end + 1}", "it is at the wide end of the wedge")
    for index in open_bonds:
        bond = mol.GetBondWithIdx(index)
        near = [b for atom in (bond.GetBeginAtom(), bond.GetEndAtom()) for b in atom.GetBonds()]
        if not any(marks.get(b.GetIdx()) in (_EITHER, _CROSSED) for b in near):
            unclear[f"double bond {bond.GetBeginAtomIdx() + 1}-{bond.GetEndAtomIdx() + 1}"] = "its sides are not drawn"
    return unclear


def _mark(bond: Chem.Bond) -> int:
    """The stereo mark of a bond in its file: 1 up, 6 down, 4 wavy, 3 crossed, 0 none."""
    if bond.HasProp("_MolFileBondStereo"):
        return bond.GetIntProp("_MolFileBondStereo")
    mark = _FROM_V3000.get(bond.GetIntProp("_MolFileBondCfg"), 0) if bond.HasProp("_MolFileBondCfg") else 0
    return _CROSSED if mark == _EITHER and bond.GetBondType() == Chem.BondType.DOUBLE else mark
