"""Stereo as geometry: signed volumes of stereocentres and axes, cis/trans of double bonds, and the check that they hold."""

from typing import NamedTuple

import numpy as np
from rdkit import Chem

from ..data.schema import CIS, TRANS
from .axial import axes, label_axes_from_3d, labelled, row
from .walk import atoms_of, bonds_of

MIN_VOLUME = 0.1  # normalised; an ideal tetrahedron has .71, an allene .44, a biaryl at 90° .6
_CCW = {Chem.ChiralType.CHI_TETRAHEDRAL_CCW: True, Chem.ChiralType.CHI_TETRAHEDRAL_CW: False}
_SIDE = {
    Chem.BondStereo.STEREOZ: CIS,
    Chem.BondStereo.STEREOCIS: CIS,
    Chem.BondStereo.STEREOE: TRANS,
    Chem.BondStereo.STEREOTRANS: TRANS,
}
_POLYHEDRAL = {
    Chem.ChiralType.CHI_SQUAREPLANAR: "square planar stereo (@SP)",
    Chem.ChiralType.CHI_TRIGONALBIPYRAMIDAL: "trigonal bipyramidal stereo (@TB)",
    Chem.ChiralType.CHI_OCTAHEDRAL: "octahedral stereo (@OH)",
}


class Stereo(NamedTuple):
    """Wanted stereo of a molecule (see `MoleculeData` for the columns).

    tetra `[T, 5]`, ez `[Z, 4]`, ez_type `[Z]`.
    """

    tetra: np.ndarray
    ez: np.ndarray
    ez_type: np.ndarray


def stereo_of(mol: Chem.Mol) -> Stereo:
    """The specified stereo of a molecule with explicit hydrogens, from its chiral tags, double-bond and axial labels.

    RDKit's CCW tag: seen from the first neighbour (in bond order), the others run counter-clockwise, which is
    det(n₀-n₃, n₁-n₃, n₂-n₃) > 0. With three neighbours the lone pair takes the last place and the centre stands in for it.
    An axis is a centre with its four ends for neighbours (`axial`).
    """
    tetra, ez, ez_type = [], [], []
    for atom in atoms_of(mol):
        if atom.GetChiralTag() not in _CCW:
            continue
        near = [b.GetOtherAtomIdx(atom.GetIdx()) for b in atom.GetBonds()]
        if len(near) == 3:
            near.append(atom.GetIdx())
        if len(near) != 4:
            continue
        if not _CCW[atom.GetChiralTag()]:
            near[0], near[1] = near[1], near[0]
        tetra.append([atom.GetIdx(), *near])
    tetra += [row(mol, axis) for axis in axes(mol) if labelled(mol, axis)]
    for bond in bonds_of(mol):
        if bond.GetStereo() not in _SIDE:
            continue
        a, b = bond.GetStereoAtoms()
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        ez.append([a, i, j, b])
        ez_type.append(_SIDE[bond.GetStereo()])
    return Stereo(
        np.array(tetra, np.uint16).reshape(-1, 5), np.array(ez, np.uint16).reshape(-1, 4), np.array(ez_type, np.uint8)
    )


def assign_stereo_from_3d(mol: Chem.Mol, conformer: int = -1) -> None:
    """Set the stereo labels of a molecule with explicit hydrogens to what its coordinates show, in place.

    RDKit's `AssignStereochemistryFrom3D`, and what it leaves open by our own signed volumes: centres at P, As and at the
    nitrogen of an aziridine or of a bridgehead, allenes, hindered biaryls. What it says of coordination beyond the
    tetrahedron goes: in a distorted SF₆ it sees one of thirty stereoisomers.
    """
    Chem.AssignStereochemistryFrom3D(mol, conformer, replaceExistingTags=True)
    for atom in atoms_of(mol):
        if atom.GetChiralTag() not in _CCW:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    pos = mol.GetConformer(conformer).GetPositions()
    done: set[int] = set()  # RDKit may take a label away again, as from a centre with a wavy bond
    while _label_open_centres(mol, pos, done):
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    label_axes_from_3d(mol, pos, MIN_VOLUME)


def _label_open_centres(mol: Chem.Mol, pos: np.ndarray, done: set[int]) -> int:
    """Label the centres that RDKit calls possible but left open, where they are not flat; how many. `done` grows by them.

    Not a nitrogen with a hydrogen, which turns over.
    """
    count = 0
    for info in Chem.FindPotentialStereo(mol):
        if info.type != Chem.StereoType.Atom_Tetrahedral or info.specified == Chem.StereoSpecified.Specified:
            continue
        atom = mol.GetAtomWithIdx(info.centeredOn)
        near = [b.GetOtherAtomIdx(atom.GetIdx()) for b in atom.GetBonds()]
        if len(near) == 3:
            near.append(atom.GetIdx())
        if (
            atom.GetIdx() in done
            or len(near) != 4
            or (atom.GetAtomicNum() == 7 and atom.GetTotalNumHs(includeNeighbors=True))
        ):
            continue
        volume = float(signed_volume(np.array([[atom.GetIdx(), *near]]), pos)[0])
        if abs(volume) > MIN_VOLUME:
            atom.SetChiralTag(Chem.ChiralType.CHI_TETRAHEDRAL_CCW if volume > 0 else Chem.ChiralType.CHI_TETRAHEDRAL_CW)
            done.add(atom.GetIdx())
            count += 1
    return count


def unkept_stereo(mol: Chem.Mol) -> str:
    """Which specified stereo the arrays cannot hold, and what to do, "" where there is none.

    Square planar, bipyramidal and octahedral stereo, unless its ligands are too much alike for isomers.
    """
    ranks: list[int] = []
    for atom in atoms_of(mol):
        if atom.GetChiralTag() not in _POLYHEDRAL or not atom.GetUnsignedProp("_chiralPermutation"):
            continue
        ranks = ranks or list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
        ligands = sorted(ranks[n.GetIdx()] for n in atom.GetNeighbors())
        if len(ligands) - max(map(ligands.count, ligands), default=0) > 1:
            where = f"{_POLYHEDRAL[atom.GetChiralTag()]} at {atom.GetSymbol()}{atom.GetIdx() + 1}"
            return f"{where} cannot be kept; without its label any isomer is made"
    return ""


def signed_volume(tetra: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """det(a-d, b-d, c-d) over the product of the edge lengths, in [-1, 1]: `[..., N, 3] -> [..., T]`."""
    index = tetra.astype(np.int64)
    edges = [pos[..., index[:, k], :] - pos[..., index[:, 4], :] for k in (1, 2, 3)]
    volume = (edges[0] * np.cross(edges[1], edges[2])).sum(-1)
    scale = np.prod([np.linalg.norm(e, axis=-1) for e in edges], axis=0)
    return volume / np.maximum(scale, 1e-9)


def cis_cosine(ez: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Cosine of the torsion a-i-j-b, > 0 for cis: `[..., N, 3] -> [..., Z]`."""
    index = ez.astype(np.int64)
    a, i, j, b = (pos[..., index[:, k], :] for k in range(4))
    axis = j - i
    u, v = np.cross(axis, a - i), np.cross(axis, b - j)
    return (u * v).sum(-1) / np.maximum(np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1), 1e-9)


def check_stereo(stereo: Stereo, pos: np.ndarray, min_volume: float = MIN_VOLUME) -> np.ndarray:
    """Whether every centre and double bond is the one asked for: coordinates `[..., N, 3]` -> booleans `[...]`.

    A centre flatter than `min_volume` (normalised; an ideal tetrahedron has .71) counts as wrong: it carries no parity.
    Where the centre stands in for a lone pair the same bound serves: embedded sulfoxides and aziridine nitrogens have at
    least .55, phosphines .29.
    """
    good = np.ones(pos.shape[:-2], bool)
    if len(stereo.tetra):
        good &= (signed_volume(stereo.tetra, pos) > min_volume).all(-1)
    if len(stereo.ez):
        sign = np.where(stereo.ez_type == CIS, 1.0, -1.0)
        good &= (cis_cosine(stereo.ez, pos) * sign > 0).all(-1)
    return good
