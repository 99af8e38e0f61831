"""RDKit molecule -> the plain arrays that store and network use."""

import numpy as np
from rdkit import Chem

from ..data.molecule import Molecule
from ..data.schema import BOND_TYPES, ELEMENTS, HYBRIDIZATIONS
from .axial import open_axes, sided_cumulenes
from .heavy import identity_smiles
from .records import indefinite, set_maps_aside
from .stereo import stereo_of, unkept_stereo
from .walk import MAPPED, atoms_of, bonds_of

_ELEMENT = {z: k for k, z in enumerate(ELEMENTS)}
_HYBRID = {getattr(Chem.HybridizationType, name): k for k, name in enumerate(HYBRIDIZATIONS)}
_BOND = {
    Chem.BondType.SINGLE: BOND_TYPES.index("single"),
    Chem.BondType.DOUBLE: BOND_TYPES.index("double"),
    Chem.BondType.TRIPLE: BOND_TYPES.index("triple"),
    Chem.BondType.AROMATIC: BOND_TYPES.index("aromatic"),
}


def _ring_sizes(mol: Chem.Mol) -> np.ndarray:
    size = np.zeros(mol.GetNumAtoms(), int)
    for ring in mol.GetRingInfo().AtomRings():
        for i in ring:
            size[i] = len(ring) if size[i] == 0 else min(size[i], len(ring))
    return size


def atom_features(mol: Chem.Mol) -> np.ndarray:
    """Columns of `schema.ATOM_FEATURES`, `[N, F]` uint8."""
    rings = _ring_sizes(mol)
    rows = [
        (
            _ELEMENT.get(atom.GetAtomicNum(), len(ELEMENTS)),
            min(max(atom.GetFormalCharge(), -2), 2) + 2,
            _HYBRID.get(atom.GetHybridization(), len(HYBRIDIZATIONS)),
            int(atom.GetIsAromatic()),
            min(max(rings[atom.GetIdx()] - 2, 0), 6),
            min(atom.GetDegree(), 6),
        )
        for atom in atoms_of(mol)
    ]
    return np.array(rows, np.uint8).reshape(-1, 6)


def molecule_from_mol(mol: Chem.Mol, name: str = "", conformers: bool = True) -> Molecule:
    """Arrays of a sanitized molecule with explicit hydrogens; atom order is kept. Atom map numbers make no difference.

    Args:
        name: defaults to the molecule's `_Name`.
        conformers: take the molecule's conformers along.

    Raises:
        ValueError: it has a dummy or query atom or bond, stereo that cannot be kept, or more atoms than a store takes.
    """
    if reason := indefinite(mol):
        raise ValueError(f"{name or 'molecule'}: {reason}; it has no geometry")
    if reason := unkept_stereo(mol):
        raise ValueError(f"{name or 'molecule'}: {reason}")
    if mol.HasSubstructMatch(MAPPED):
        mol = Chem.Mol(mol)
        set_maps_aside(mol)
    if mol.GetNumAtoms() > np.iinfo(np.uint16).max:
        raise ValueError(f"{mol.GetNumAtoms()} atoms; the store takes at most 65535")
    bonds, types = [], []
    for bond in bonds_of(mol):
        kind = _BOND.get(bond.GetBondType(), BOND_TYPES.index("other"))
        if kind == BOND_TYPES.index("single") and bond.GetIsConjugated():
            kind = BOND_TYPES.index("conjugated")
        bonds.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        types.append(kind)
    stereo = stereo_of(mol)
    return Molecule(
        z=np.array([a.GetAtomicNum() for a in atoms_of(mol)], np.uint8),
        x=atom_features(mol),
        bond_index=np.array(bonds, np.uint16).reshape(-1, 2),
        bond_type=np.array(types, np.uint8),
        tetra=stereo.tetra,
        ez=stereo.ez,
        ez_type=stereo.ez_type,
        name=name or (mol.GetProp("_Name") if mol.HasProp("_Name") else ""),
        smiles=identity_smiles(mol),
        pos=[c.GetPositions() for c in mol.GetConformers()] if conformers else [],
        notes=_open_stereo(mol),
    )


def _open_stereo(mol: Chem.Mol) -> list[str]:
    """Remarks on stereo that no label asks for."""

    def between(ends: tuple[int, int]) -> str:
        return "-".join(f"{mol.GetAtomWithIdx(k).GetSymbol()}{k + 1}" for k in ends)

    axes = [f"axial stereo is open at {between(axis.between)}: both hands may be made" for axis in open_axes(mol)]
    return axes + [f"cis and trans at the cumulene {between(ends)} are not told apart" for ends in sided_cumulenes(mol)]
