"""One molecule in several atom orders: whether two records are one, and which of their atoms are the same."""

import numpy as np
from rdkit import Chem

from ..data import Molecule
from ..data.schema import CIS, TRANS
from .walk import atoms_of


def canonical(mol: Chem.Mol, molecule: Molecule) -> tuple[bytes, np.ndarray]:
    """(key, order `[N]`): molecules of equal keys are one, atom `order[k]` of one being atom `order[k]` of the other.

    The order is that of RDKit's canonical SMILES with all hydrogens. (Its canonical ranks are no such order where atoms are
    alike: in cubane equal ranks of two records need not be neighbours of equal ranks.) The key is all that the arrays hold,
    written in that order, and isotopes, charges and unpaired electrons beside it; so where the SMILES should fail, two keys
    differ that might not, and never the reverse.

    Args:
        molecule: the arrays of `mol`.
    """
    Chem.MolToSmiles(mol)
    order = np.array(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"], np.int64)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    atoms = [(a.GetIsotope(), a.GetFormalCharge(), a.GetNumRadicalElectrons()) for a in atoms_of(mol)]
    ends = np.sort(place[molecule.bond_index], axis=1)
    by_ends = np.lexsort(ends.T)
    columns = [
        molecule.z[order],
        molecule.x[order],
        np.array(atoms, np.int64).reshape(-1, 3)[order],
        ends[by_ends],
        molecule.bond_type[by_ends],
        *(np.array(sorted(rows), np.int64) for rows in (_hands(place[molecule.tetra]), _sides(molecule, place))),
    ]
    return b"|".join([molecule.smiles.encode(), *(column.tobytes() for column in columns)]), order


def _hands(tetra: np.ndarray) -> list[tuple[int, ...]]:
    """The four corners of every centre in ascending order and whether an even permutation brought them there.

    The corners tell the centre, which of two atoms of a biaryl's axis it is filed under being a matter of the record.
    """
    rows = []
    for _, *corners in tetra.tolist():
        swaps = sum(a > b for k, a in enumerate(corners) for b in corners[k + 1 :])
        rows.append((*sorted(corners), swaps % 2))
    return rows


def _sides(molecule: Molecule, place: np.ndarray) -> list[tuple[int, ...]]:
    """Every stereo double bond as (a, i, j, b, side) with i < j, a and b the lowest neighbours, in canonical numbers."""
    near: dict[int, list[int]] = {}
    for one, other in place[molecule.bond_index].tolist():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    rows: list[tuple[int, ...]] = []
    for (a, i, j, b), kind in zip(place[molecule.ez].tolist(), molecule.ez_type.tolist(), strict=True):
        first, last = min(k for k in near[i] if k != j), min(k for k in near[j] if k != i)
        side = kind if (first == a) == (last == b) else CIS + TRANS - kind
        rows.append((first, i, j, last, side) if i < j else (last, j, i, first, side))
    return rows


def matching(order: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The atoms of a molecule of this canonical order in the sequence of another that has `first`."""
    atoms = np.empty_like(order)
    atoms[first] = order
    return atoms
