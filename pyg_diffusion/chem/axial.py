"""Axial stereo: the two hands of allenes and of hindered biaryls, in RDKit's own labels.

An axis a₁a₂>A···B<b₁b₂ is handed as a tetrahedron a₁a₂b₁b₂ stretched along it: its sign is that of det(a₁-b₂, a₂-b₂, b₁-b₂),
which A and B may change places in. The label of an allene is a tetrahedral tag on its middle atom, as in SMILES ("extended
tetrahedral"; RDKit's sanitisation drops it, so `label_allenes` sets it anew), that of a biaryl RDKit's atropisomer label of
the bond.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from .walk import CUMULATED, TRIGONAL_PAIR

CW, CCW = Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW
ATROP_CW, ATROP_CCW = Chem.BondStereo.STEREOATROPCW, Chem.BondStereo.STEREOATROPCCW
_DOUBLE, _SP2 = Chem.BondType.DOUBLE, Chem.HybridizationType.SP2
_BRIDGED = 7  # the axis of a biaryl in a ring of so many atoms or fewer turns over
_TOKEN = re.compile(r"(?P<atom>\[[^\]]*\]|Br|Cl|[BCNOPSFIbcnops*])|(?P<ring>%\d\d|%\(\d+\)|\d)|(?P<other>.)")
_HYDROGEN = re.compile(r"\[H[+-]?\d*(:\d+)?\]$")


class Axis(NamedTuple):
    """An axis that can be handed.

    Attributes:
        center: the atom it is filed under: an allene's middle atom, the first atom of a biaryl's bond.
        between: A and B.
        ends: a₁, a₂, b₁, b₂ in the order that the label refers to: by the bonds of A and B, hydrogens last, for an allene,
            by index for a biaryl.
        bond: of a biaryl its index, of an allene None.
    """

    center: int
    between: tuple[int, int]
    ends: tuple[int, int, int, int]
    bond: int | None


def axes(mol: Chem.Mol) -> list[Axis]:
    """The axes, labelled or not, whose ends each have two different substituents.

    Allenes and longer cumulenes with an even number of double bonds, between carbons. Biaryls: a single bond between
    trigonal atoms of two rings of 5 or 6, in no ring of 7 or fewer, that is hindered: three of the four ortho positions
    carry an atom heavier than hydrogen other than fluorine (all four where a ring has 5 atoms), or both rings carry one
    with four heavy neighbours, such as tert-butyl: barriers near 30 kcal/mol (LaPlante et al. 2011, ChemMedChem 6, 505).
    Any bond that RDKit labelled as an atropisomer's, as from a wedge, as well.

    Args:
        mol: sanitized, with explicit hydrogens.
    """
    ranks: list[int] = []
    found = []
    for axis in [*_allenes(mol), *_biaryls(mol)]:
        if not ranks:
            ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeAtomMaps=False))
        a, b, c, d = (ranks[k] for k in axis.ends)
        if a != b and c != d:
            found.append(axis)
    return found


def labelled(mol: Chem.Mol, axis: Axis) -> bool:
    """Whether a hand is asked for."""
    if axis.bond is None:
        return mol.GetAtomWithIdx(axis.center).GetChiralTag() in (CW, CCW)
    return mol.GetBondWithIdx(axis.bond).GetStereo() in (ATROP_CW, ATROP_CCW)


def label(mol: Chem.Mol, axis: Axis, positive: bool | None) -> None:
    """Ask for the sign of the ends in their order; None asks for neither."""
    if axis.bond is None:
        tag = Chem.ChiralType.CHI_UNSPECIFIED if positive is None else CCW if positive else CW
        mol.GetAtomWithIdx(axis.center).SetChiralTag(tag)
    else:
        stereo = Chem.BondStereo.STEREONONE if positive is None else ATROP_CW if positive else ATROP_CCW
        mol.GetBondWithIdx(axis.bond).SetStereo(stereo)


def sign(mol: Chem.Mol, axis: Axis) -> bool:
    """Whether the label of a labelled axis is the positive one."""
    if axis.bond is None:
        return mol.GetAtomWithIdx(axis.center).GetChiralTag() == CCW
    return mol.GetBondWithIdx(axis.bond).GetStereo() == ATROP_CW


def row(mol: Chem.Mol, axis: Axis) -> list[int]:
    """Center and ends of a labelled axis in the order of positive sign, as a stereocentre's row."""
    a, b, c, d = axis.ends
    return [axis.center, a, b, c, d] if sign(mol, axis) else [axis.center, b, a, c, d]


def axial_key(mol: Chem.Mol) -> str:
    """Canonical text of the labelled axes, "" where there are none; an isomeric SMILES does not tell them."""
    full = Chem.AddHs(mol)
    handed = [(axis, sign(full, axis)) for axis in axes(full) if labelled(full, axis)]
    for axis, _ in handed:
        label(full, axis, None)  # ranks that depend on no label
    ranks = list(Chem.CanonicalRankAtoms(full, breakTies=False, includeAtomMaps=False)) if handed else []
    texts = []
    for axis, positive in handed:
        a, b, c, d = (ranks[k] for k in axis.ends)
        texts.append(f"{'/'.join(map(str, sorted((a, b, c, d))))}{'+' if positive ^ (a > b) ^ (c > d) else '-'}")
    return " ".join(sorted(texts))


def open_axes(mol: Chem.Mol) -> list[Axis]:
    """The axes of no hand, of a molecule with or without explicit hydrogens."""
    full = Chem.AddHs(mol)
    return [axis for axis in axes(full) if not labelled(full, axis)]


def label_axes_from_3d(mol: Chem.Mol, pos: np.ndarray, min_volume: float) -> None:
    """Label every axis by the sign of its normalised volume, or not where that is below `min_volume`; pos `[N, 3]`."""
    for axis in axes(mol):
        a, b, c, d = pos[list(axis.ends)]
        edges = np.array([a - d, b - d, c - d])
        volume = np.linalg.det(edges) / max(np.linalg.norm(edges, axis=1).prod(), 1e-9)
        label(mol, axis, None if abs(volume) < min_volume else bool(volume > 0))


def label_allenes(mol: Chem.Mol, smiles: str) -> None:
    """Label the allenes of a molecule as the SMILES it was parsed from asks, which RDKit's sanitisation forgets.

    By OpenSMILES: seen from the first of the four ends in the order of the text, "@" has the others counter-clockwise.

    Args:
        mol: sanitized, with explicit hydrogens, its other atoms in the order of the text.
        smiles: without an extension after a blank.
    """
    if "@" not in smiles:
        return
    symbols, near = _neighbours(smiles)
    kept = [k for k, symbol in enumerate(symbols) if not _HYDROGEN.match(symbol)]
    atoms = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() != 1 or a.GetIsotope()]
    place = dict(zip(atoms, kept, strict=False))
    for axis in axes(mol):
        symbol = symbols[place[axis.center]]
        if axis.bond is not None or "@" not in symbol:
            continue
        positive = "@@" not in symbol and "@AL2" not in symbol
        for end, first in zip(axis.between, axis.ends[::2], strict=True):
            others = [place[n.GetIdx()] for n in mol.GetAtomWithIdx(end).GetNeighbors() if n.GetIdx() not in axis.ends]
            order = [k for k in near[place[end]] if k not in others]
            positive ^= order[0] != place[first]
        label(mol, axis, positive)


def _neighbours(smiles: str) -> tuple[list[str], list[list[int | None]]]:
    """The atoms' symbols, and of each the neighbours in the order of the text; None, first or second, for an unwritten H."""
    symbols: list[str] = []
    near: list[list[int | None]] = []
    opened: dict[str, tuple[int, int]] = {}
    branches: list[int | None] = []
    last: int | None = None
    for token in _TOKEN.finditer(smiles):
        text = token.group()
        if token["atom"]:
            symbols.append(text)
            near.append([] if last is None else [last])
            if last is not None:
                near[last].append(len(near) - 1)
            last = len(near) - 1
        elif token["ring"] and last is not None:
            number = text.strip("%()")
            if number in opened:
                atom, at = opened.pop(number)
                near[atom][at] = last
                near[last].append(atom)
            else:
                opened[number] = last, len(near[last])
                near[last].append(None)
        elif text == "(":
            branches.append(last)
        elif text == ")":
            last = branches.pop()
        elif text == ".":
            last = None
    for k, found in enumerate(near):
        if len(found) == 2:  # of the three at the end of an allene
            found.insert(1 if found[0] is not None and found[0] < k else 0, None)
    return symbols, near


def cumulenes(mol: Chem.Mol) -> list[list[int]]:
    """Chains of atoms A=X=...=B, X with two neighbours, at least one X in each."""
    chains: list[list[int]] = []
    if not mol.HasSubstructMatch(CUMULATED):
        return chains
    for atom in mol.GetAtoms():
        for bond in atom.GetBonds():
            if bond.GetBondType() != _DOUBLE or _inner(atom):
                continue
            chain = [atom.GetIdx(), bond.GetOtherAtomIdx(atom.GetIdx())]
            while _inner(mol.GetAtomWithIdx(chain[-1])):
                near = [n.GetIdx() for n in mol.GetAtomWithIdx(chain[-1]).GetNeighbors()]
                chain.append(near[near[0] == chain[-2]])
            if len(chain) > 2 and chain[0] < chain[-1]:
                chains.append(chain)
    return chains


def _inner(atom: Chem.Atom) -> bool:
    return atom.GetTotalDegree() == 2 and [b.GetBondType() for b in atom.GetBonds()] == [_DOUBLE, _DOUBLE]


def _sides(mol: Chem.Mol, chain: list[int]) -> list[list[int]]:
    """What stands at the two ends of a cumulene, hydrogens last."""
    sides = []
    for end, inner in ((chain[0], chain[1]), (chain[-1], chain[-2])):
        atom = mol.GetAtomWithIdx(end)
        others = [b.GetOtherAtom(atom) for b in atom.GetBonds() if b.GetOtherAtomIdx(end) != inner]
        sides.append([a.GetIdx() for a in sorted(others, key=lambda a: a.GetAtomicNum() == 1 and not a.GetIsotope())])
    return sides


def _allenes(mol: Chem.Mol) -> Iterator[Axis]:
    for chain in cumulenes(mol):
        sides = _sides(mol, chain)
        if len(chain) % 2 and all(mol.GetAtomWithIdx(k).GetAtomicNum() == 6 for k in chain) and {*map(len, sides)} == {2}:
            (a, b), (c, d) = sides
            yield Axis(chain[len(chain) // 2], (chain[0], chain[-1]), (a, b, c, d), None)


def sided_cumulenes(mol: Chem.Mol) -> list[tuple[int, int]]:
    """Ends of the cumulenes of three, five... double bonds that would be cis or trans, for which RDKit has no label."""
    full = Chem.AddHs(mol)
    chains = [chain for chain in cumulenes(full) if len(chain) % 2 == 0]
    ranks = list(Chem.CanonicalRankAtoms(full, breakTies=False, includeAtomMaps=False)) if chains else []
    sides = [_sides(full, chain) for chain in chains]
    differ = [all(len({ranks[k] for k in side}) == len(side) == 2 for side in pair) for pair in sides]
    return [(chain[0], chain[-1]) for chain, two in zip(chains, differ, strict=True) if two]


class _Side(NamedTuple):
    """One ring of a biaryl: its size, and what stands at each ortho atom: heavy, outside of the ring, no fluorine."""

    size: int
    at: list[list[Chem.Atom]]


def _side(mol: Chem.Mol, atom: int, other: int) -> _Side | None:
    """The ring of an axis's trigonal atom; None where there is none of 5 or 6."""
    rings = [set(r) for r in mol.GetRingInfo().AtomRings() if atom in r and len(r) in (5, 6)]
    if not rings or mol.GetAtomWithIdx(atom).GetHybridization() != _SP2:
        return None
    ring = min(rings, key=len)
    ortho = sorted(n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors() if n.GetIdx() != other)
    if len(ortho) != 2 or not ring.issuperset(ortho):
        return None
    near = [mol.GetAtomWithIdx(k).GetNeighbors() for k in ortho]
    return _Side(len(ring), [[n for n in a if n.GetIdx() not in ring and n.GetAtomicNum() not in (1, 9)] for a in near])


def _biaryls(mol: Chem.Mol) -> Iterator[Axis]:
    pairs = mol.GetSubstructMatches(TRIGONAL_PAIR, maxMatches=2 * mol.GetNumBonds() + 1)
    for k in sorted(mol.GetBondBetweenAtoms(*pair).GetIdx() for pair in pairs):  # no other bond keeps an atropisomer's label
        bond = mol.GetBondWithIdx(k)
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if bond.GetStereo() in (ATROP_CW, ATROP_CCW) or _is_hindered(mol, bond):
            one, two = (sorted(n.GetIdx() for n in mol.GetAtomWithIdx(k).GetNeighbors()) for k in (i, j))
            one.remove(j)
            two.remove(i)
            if len(one) == len(two) == 2:
                yield Axis(i, (i, j), (one[0], one[1], two[0], two[1]), bond.GetIdx())


def _is_hindered(mol: Chem.Mol, bond: Chem.Bond) -> bool:
    rings = mol.GetRingInfo()
    if bond.GetBondType() != Chem.BondType.SINGLE or 0 < rings.MinBondRingSize(bond.GetIdx()) <= _BRIDGED:
        return False
    i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    if not (rings.NumAtomRings(i) and rings.NumAtomRings(j)):
        return False
    one, two = _side(mol, i, j), _side(mol, j, i)
    if one is None or two is None:
        return False
    hindering = sum(map(bool, one.at + two.at))
    bulky = all(any(_is_bulky(s) for found in side.at for s in found) for side in (one, two))
    return bulky or hindering >= (3 if one.size == two.size == 6 else 4)


def _is_bulky(atom: Chem.Atom) -> bool:
    return sum(n.GetAtomicNum() > 1 for n in atom.GetNeighbors()) == 4
