r"""Heavy atoms first: which hydrogens are drawn second, the molecule without them, and the way back. Needs no RDKit.

A hydrogen is a leaf of the graph, bound to its parent by an edge of weight w. Eliminating the leaves H from L by the Schur
complement,

    L_KK - L_KH L_HH⁻¹ L_HK,      L_HH = diag(w),

takes from L_ii exactly the w that each leaf of i had put there: what is left is the Laplacian of the skeleton K. The
marginal on K of N(0, L⁻¹), up to the global translation, is therefore the same law written for the smaller graph, and the
hydrogens given their parents are N(parent, 1/w): the harmonic prior factors.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.molecule import Molecule
from ..data.molecule_data import MoleculeData
from ..data.store import MoleculeStore


def goes_second(z: np.ndarray, bonds: np.ndarray, tetra: np.ndarray, ez: np.ndarray, molecule: np.ndarray) -> np.ndarray:
    """Which atoms are hydrogens that can be drawn when all other atoms are known, `[N]` bool.

    That is every hydrogen bound to one atom, which is none itself, except where stereo needs it (an end of a double bond's
    label; a centre, two of whose four places its parent would take), and except in molecules with fewer than two other
    atoms, of which hydrogens are the geometry.

    Args:
        z: atomic numbers, `[N]`, of one molecule or of many, one after the other.
        bonds `[B, 2]`, tetra `[T, 5]`, ez `[Z, 4]`: as in `data.store.Molecule`, with indices into z.
        molecule: number of the molecule of each atom, `[N]`.
    """
    hydrogen = z == 1
    second = hydrogen & (np.bincount(bonds.ravel(), minlength=len(z)) == 1)
    second[bonds[hydrogen[bonds].all(1)]] = False
    second[ez[:, [0, 3]]] = False
    ends = tetra[:, 1:]
    places = np.sort(standing_in(second, bonds)[ends], axis=1)
    needed = ends[(places[:, 1:] == places[:, :-1]).any(1)]
    second[needed[hydrogen[needed]]] = False
    others = np.bincount(molecule, weights=~hydrogen)
    return second & (others[molecule] >= 2)


def standing_in(second: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Each atom itself, or for one that goes second what it is bound to, `[N]`."""
    found = np.arange(len(second))
    for a, b in (bonds.T, bonds.T[::-1]):
        found[a[second[a]]] = b[second[a]]
    return found


@dataclass(frozen=True)
class Skeleton:
    """A molecule without the hydrogens that are drawn second.

    Features are those of the whole molecule, so that degree and hybridisation tell how many hydrogens there were. Where a
    stereocentre, or a chiral axis, has lost a hydrogen, what that was bound to stands in for it in the same place of the
    order, which keeps the sign of the determinant.

    Attributes:
        molecule: the skeleton, with its part of every conformer.
        kept: its atoms in the whole molecule, `[M]`.
        hydrogens, parents: the others and what they are bound to, in the whole molecule, `[H]` each.
    """

    molecule: Molecule
    kept: np.ndarray
    hydrogens: np.ndarray
    parents: np.ndarray

    def whole(self, kept: np.ndarray, hydrogens: np.ndarray) -> np.ndarray:
        """Positions of the whole molecule, `[..., N, 3]`, from those of the skeleton and of the hydrogens."""
        pos = np.empty((*kept.shape[:-2], len(self.kept) + len(self.hydrogens), 3), kept.dtype)
        pos[..., self.kept, :] = kept
        pos[..., self.hydrogens, :] = hydrogens
        return pos


def _indices(molecule: Molecule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its bonds, centres and double bonds with wide integers."""
    return molecule.bond_index.astype(np.int64), molecule.tetra.astype(np.int64), molecule.ez.astype(np.int64)


def second_of(molecule: Molecule) -> np.ndarray:
    """`goes_second` of one molecule."""
    bonds, tetra, ez = _indices(molecule)
    return goes_second(molecule.z, bonds, tetra, ez, np.zeros(len(molecule.z), np.int64))


def whole_data(molecule: Molecule, conformer: int | None = 0) -> MoleculeData:
    """All of a molecule as a PyG `Data`, with `second [N]`: which of its atoms are hydrogens that go second."""
    data = molecule.data(conformer)
    data.second = torch.from_numpy(second_of(molecule))
    return data


def skeleton(molecule: Molecule, second: np.ndarray | None = None) -> Skeleton:
    """The skeleton of a molecule with explicit hydrogens; `second`: which of those that can go second do, all if None."""
    bonds, tetra, ez = _indices(molecule)
    second = second_of(molecule) if second is None else second
    instead = standing_in(second, bonds)
    kept, gone = np.flatnonzero(~second), np.flatnonzero(second)
    number = np.cumsum(~second) - 1
    inside = ~second[bonds].any(1)
    return Skeleton(
        Molecule(
            z=molecule.z[kept],
            x=molecule.x[kept],
            bond_index=number[bonds[inside]].astype(np.uint16),
            bond_type=molecule.bond_type[inside],
            tetra=number[instead[tetra]].astype(np.uint16),
            ez=number[ez].astype(np.uint16),
            ez_type=molecule.ez_type,
            name=molecule.name,
            smiles=molecule.smiles,
            pos=[p[kept] for p in molecule.pos],
            levels=molecule.levels,
            energies=molecule.energies,
        ),
        kept,
        gone,
        instead[gone],
    )


def skeleton_sizes(store: MoleculeStore) -> np.ndarray:
    """Number of atoms of the skeleton of each molecule of a store, `[num_molecules]`."""
    arrays = store.arrays
    start = arrays["molecule/atom_ptr"][:-1]

    def indices(column: str) -> np.ndarray:
        """Of atoms, into the atoms of the whole store."""
        count = np.diff(arrays[f"molecule/{column}_ptr"])
        return arrays[f"{column}/index"].astype(np.int64) + np.repeat(start, count)[:, None]

    molecule = np.repeat(np.arange(len(store)), store.sizes())
    second = goes_second(arrays["atom/z"], indices("bond"), indices("tetra"), indices("ez"), molecule)
    return np.bincount(molecule[~second], minlength=len(store))
