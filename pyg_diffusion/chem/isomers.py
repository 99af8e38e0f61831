"""The stereoisomers that a molecule with unspecified stereo stands for."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, GetStereoisomerCount, StereoEnumerationOptions

from .axial import axes, axial_key, label, labelled, open_axes, sign
from .heavy import plain_graph

_NONE = 2**32 - 1  # of `controllingAtoms`: NOATOM, which stands in another class of RDKit from version to version


def stereoisomers(mol: Chem.Mol, limit: int = 32) -> list[Chem.Mol]:
    """The different molecules, `limit` at most, that specifying every unspecified stereocentre, double bond and axis gives.

    What is specified stays, but for AND and OR groups, of which both hands are made. Explicit hydrogens may be there and
    make no difference: stereo that RDKit would not see without them, as at C=N-H, is left open. Isomers that the rings of
    the molecule forbid are among them.

    Args:
        mol: sanitized; its conformers are not looked at.

    Returns:
        Copies of `mol` in its atom order; `[mol]` itself where nothing is unspecified.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    with rdBase.BlockLogs():
        found = list(islice(_isomers(mol), max(limit, 2)))
    return found[:limit] if len(found) > 1 else [mol]


def most_stereoisomers(mol: Chem.Mol) -> int:
    """2^(unspecified centres, double bonds and axes): how many stereoisomers there are unless some of them are alike."""
    with rdBase.BlockLogs():
        return GetStereoisomerCount(plain_graph(mol)) * 2 ** len(open_axes(mol))


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


def _isomers(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    work, numbered = Chem.Mol(mol), Chem.Mol(mol)
    for atom in numbered.GetAtoms():
        atom.SetIntProp("_index", atom.GetIdx())
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
    for isomer in EnumerateStereoisomers(work, StereoEnumerationOptions(maxIsomers=0)):
        for info in left_open:
            _set(isomer, info, False)
        if left_open:  # the directions of single bonds tell of double bonds as well
            for bond in isomer.GetBonds():
                bond.SetBondDir(Chem.BondDir.NONE)
            Chem.SetDoubleBondNeighborDirections(isomer)
        text = Chem.MolToSmiles(isomer)
        for chosen in product(*hands):
            one = Chem.Mol(isomer)
            for axis, positive in zip(handed, chosen, strict=True):
                label(one, axis, positive)
            if (key := (text, axial_key(one))) not in seen:
                seen.add(key)
                yield one


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
