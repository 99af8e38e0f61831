"""The stereoisomers that a molecule with unspecified stereo stands for."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, GetStereoisomerCount, StereoEnumerationOptions
from rdkit.Chem.rdDistGeom import EmbedMolecule, EmbedParameters
from rdkit.Chem.rdMolDescriptors import CalcNumBridgeheadAtoms

from .axial import axes, axial_key, label, labelled, open_axes, sign
from .heavy import plain_graph

LOOKED_AT = 4096  # ways to specify a molecule, many of which may be one isomer
TRIED = 256  # isomers of a cage that are looked at
TRIES = 10  # to embed one of them
_NONE = 2**32 - 1  # of `controllingAtoms`: NOATOM, which stands in another class of RDKit from version to version


def stereoisomers(mol: Chem.Mol, limit: int = 32) -> list[Chem.Mol]:
    """The different molecules, `limit` at most, that specifying every unspecified stereocentre, double bond and axis gives.

    What is specified stays, but for AND and OR groups, of which both hands are made. Explicit hydrogens may be there and
    make no difference: stereo that RDKit would not see without them, as at C=N-H, is left open. Of a cage whose corners
    are open (of adamantane, tropine) there are those that RDKit can embed, since rings forbid most of them; all, if it can
    embed none.

    Args:
        mol: sanitized; its conformers are not looked at.

    Returns:
        Copies of `mol` in its atom order; `[mol]` itself where nothing is unspecified.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    with rdBase.BlockLogs():
        found = list(islice(_possible(mol), max(limit, 2)))
    return found[:limit] if len(found) > 1 else [mol]


def most_stereoisomers(mol: Chem.Mol) -> int:
    """2^(unspecified centres, double bonds and axes): how many stereoisomers there are unless some of them are alike."""
    with rdBase.BlockLogs():
        return GetStereoisomerCount(plain_graph(mol)) * 2 ** len(open_axes(mol))


def leaves_stereo_open(mol: Chem.Mol) -> bool:
    """Whether there are several stereoisomers of what is not specified; those of a cage are only made where all that is open
    are its corners."""
    if most_stereoisomers(mol) == 1:
        return False
    with rdBase.BlockLogs():
        isomers = _possible(mol) if _open_corners(mol, alone=True) else _isomers(mol)
        return len(list(islice(isomers, 2))) > 1


def stereo_groups(mol: Chem.Mol) -> str:
    """What AND and OR groups of stereocentres say, "" where there are none: with them a drawing stands for its mirror image,
    centre by centre of a group, as well: for both at once (AND) or for one of the two (OR)."""
    texts = []
    for group in mol.GetStereoGroups():
        kind = {Chem.StereoGroupType.STEREO_AND: "AND", Chem.StereoGroupType.STEREO_OR: "OR"}.get(group.GetGroupType())
        if kind:
            places = [str(a.GetIdx() + 1) for a in group.GetAtoms()]
            places += [f"{b.GetBeginAtomIdx() + 1}-{b.GetEndAtomIdx() + 1}" for b in group.GetBonds()]
            texts.append(f"{kind} group at {', '.join(places)}")
    return "; ".join(texts)


def _possible(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    """The isomers, of a cage those that can be embedded."""
    isomers = _isomers(mol)
    if not _open_corners(mol):
        yield from isomers
        return
    refused, possible = [], False
    for isomer in islice(isomers, TRIED):
        if not _embeds(isomer):
            refused.append(isomer)
            continue
        possible = True
        yield isomer
    if not possible:
        yield from refused


def _isomers(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    numbered = Chem.Mol(mol)
    for atom in numbered.GetAtoms():
        atom.SetIntProp("_index", atom.GetIdx())
    work = Chem.Mol(numbered)
    seen_without_hydrogens = _unspecified(plain_graph(numbered))
    left_open = [info for place, info in _unspecified(numbered).items() if place not in seen_without_hydrogens]
    for info in left_open:  # specified for as long as the others are enumerated
        _set(work, info, True)
    full = Chem.AddHs(mol)
    handed = axes(full)
    hands = [[sign(full, axis)] if labelled(full, axis) else [True, False] for axis in handed]
    for axis in handed:  # RDKit would drop some
        label(work, axis, None)
    seen = set()
    for isomer in islice(EnumerateStereoisomers(work, StereoEnumerationOptions(maxIsomers=0, unique=False)), LOOKED_AT):
        for info in left_open:
            _set(isomer, info, False)
        if left_open:  # the directions of single bonds tell of double bonds as well
            for bond in isomer.GetBonds():
                bond.SetBondDir(Chem.BondDir.NONE)
            Chem.SetDoubleBondNeighborDirections(isomer)
        text = _settled(isomer)
        for chosen in product(*hands):
            one = Chem.Mol(isomer)
            for axis, positive in zip(handed, chosen, strict=True):
                label(one, axis, positive)
            if (key := (text, axial_key(one))) not in seen:
                seen.add(key)
                yield one


def _settled(isomer: Chem.Mol) -> str:
    """Its SMILES without hydrogens; labels that tell nothing there, as at the corners of cubane, are taken off."""
    plain = plain_graph(isomer)
    Chem.AssignStereochemistry(plain, cleanIt=True, force=True)
    for atom in plain.GetAtoms():
        if atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
            isomer.GetAtomWithIdx(atom.GetIntProp("_index")).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    for atom in isomer.GetAtoms():
        atom.ClearProp("_index")
    return Chem.MolToSmiles(plain)


def _open_corners(mol: Chem.Mol, alone: bool = False) -> bool:
    """Whether stereo is open at an atom of three rings or at one that a bridge ends at; `alone`: and nowhere else."""
    plain = plain_graph(mol)
    corners: list[int] = []
    CalcNumBridgeheadAtoms(plain, corners)  # type: ignore[arg-type]
    rings = plain.GetRingInfo()
    corners += [k for k in range(plain.GetNumAtoms()) if rings.NumAtomRings(k) > 2]
    found = [i for i in Chem.FindPotentialStereo(plain) if i.specified != Chem.StereoSpecified.Specified]
    cornered = [i.type == Chem.StereoType.Atom_Tetrahedral and i.centeredOn in corners for i in found]
    return any(cornered) and not (alone and (open_axes(mol) or not all(cornered)))


def _embeds(isomer: Chem.Mol) -> bool:
    """Whether RDKit finds a geometry: without the preferences of ETKDG, which refuse one of cocaine's."""
    full, options = Chem.AddHs(isomer), EmbedParameters()
    options.randomSeed = 1  # type: ignore[assignment]
    options.maxIterations = TRIES  # type: ignore[assignment]
    options.useRandomCoords = True  # type: ignore[assignment]
    return EmbedMolecule(full, options) >= 0


def _unspecified(mol: Chem.Mol) -> dict[frozenset[int], Any]:
    """RDKit's account of every unspecified centre and double bond, by the `_index` of its one or two atoms."""
    found = {}
    for info in Chem.FindPotentialStereo(mol):
        if info.specified == Chem.StereoSpecified.Specified:
            continue
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            atoms = [mol.GetAtomWithIdx(info.centeredOn)]
        elif info.type == Chem.StereoType.Bond_Double and _NONE not in (info.controllingAtoms[0], info.controllingAtoms[2]):
            bond = mol.GetBondWithIdx(info.centeredOn)
            atoms = [bond.GetBeginAtom(), bond.GetEndAtom()]
        else:
            continue
        found[frozenset(atom.GetIntProp("_index") for atom in atoms)] = info
    return found


def _set(mol: Chem.Mol, info: Any, specified: bool) -> None:
    """Give a centre or a double bond some stereo, or none."""
    if info.type == Chem.StereoType.Atom_Tetrahedral:
        tag = Chem.ChiralType.CHI_TETRAHEDRAL_CW if specified else Chem.ChiralType.CHI_UNSPECIFIED
        mol.GetAtomWithIdx(info.centeredOn).SetChiralTag(tag)
        return
    bond = mol.GetBondWithIdx(info.centeredOn)
    if specified:
        bond.SetStereoAtoms(info.controllingAtoms[0], info.controllingAtoms[2])
    bond.SetStereo(Chem.BondStereo.STEREOTRANS if specified else Chem.BondStereo.STEREONONE)
