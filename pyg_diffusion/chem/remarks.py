"""What a model does not know about a molecule, in words, per molecule and atom."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rdkit import Chem

from ..data.molecule import Molecule
from ..data.schema import ATOM_FEATURES, BOND_ORDERS, BOND_TYPES, ELEMENTS

MOST_NEIGHBOURS = 4  # of an atom in the shipped training sets
_SHOWN = 4  # atoms named
# Bonds that an uncharged atom forms; a charge adds or takes one as `_missing` says.
_VALENCE = {1: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 14: 4, 15: 3, 16: 2, 17: 1, 33: 3, 34: 2, 35: 1, 53: 1}


def unfamiliar(
    molecule: Molecule, sizes: Sequence[int], elements: Collection[int], domain: Mapping[str, Any] | None
) -> list[str]:
    """Remarks on what is beyond a model's training, "" where nothing is.

    Args:
        molecule: the whole.
        sizes: atoms of each of its fragments, which the model sees one by one.
        elements: atomic numbers that it was trained on.
        domain: "max_atoms" and formal "charges" of its training set, where known.
    """
    column = {name: molecule.x[:, k].astype(int) for k, name in enumerate(ATOM_FEATURES)}
    charges = column["charge"] - 2
    table = Chem.GetPeriodicTable()
    notes = []
    if len(sizes) > 1:
        notes.append(f"{len(sizes)} fragments, generated apart and placed beside each other")
    if new := sorted({int(z) for z in molecule.z if int(z) not in elements}):
        shown = ", ".join(f"{table.GetElementSymbol(z)} {_at(np.flatnonzero(molecule.z == z))}" for z in new)
        shared = "" if all(z in ELEMENTS for z in new) else ", some of them without a class of their own"
        notes.append(f"elements the model never saw: {shown}{shared}")
    if domain and max(sizes) > domain["max_atoms"]:
        notes.append(f"{max(sizes)} atoms, and the model never saw more than {domain['max_atoms']}")
    if domain and (new := sorted({*charges.tolist()} - {*domain["charges"]})):
        shown = ", ".join(f"{c:+d}{' or beyond' * (abs(c) == 2)} {_at(np.flatnonzero(charges == c))}" for c in new)
        notes.append(f"formal charges the model never saw: {shown}")
    degree = np.bincount(molecule.bond_index.astype(int).ravel(), minlength=len(molecule.z))
    if (crowded := np.flatnonzero(degree > MOST_NEIGHBOURS)).size:
        notes.append(f"more than {MOST_NEIGHBOURS} neighbours, which the model never saw: {named(molecule, crowded)}")
    odd = molecule.bond_index[molecule.bond_type == BOND_TYPES.index("other")].astype(int)
    if len(odd):
        ends = [f"{named(molecule, [i])}-{named(molecule, [j])}" for i, j in odd[:_SHOWN]]
        notes.append(f"bonds that are dative, of order zero or the like: {_listed(ends, len(odd))}")
    if (open_shell := _missing(molecule, charges, column["aromatic"])).size:
        notes.append(f"unpaired electrons, which the model never saw: {named(molecule, open_shell)}")
    return [*notes, *molecule.notes]


def _missing(molecule: Molecule, charges: np.ndarray, aromatic: np.ndarray) -> np.ndarray:
    """Main-group atoms with fewer bonds than their valence and charge ask for; aromatic ones are taken as complete."""
    order = np.array([BOND_ORDERS.get(name, 0.0) for name in BOND_TYPES])[molecule.bond_type]
    bonds = np.zeros(len(molecule.z))
    for end in molecule.bond_index.astype(int).T:
        np.add.at(bonds, end, order)
    found = []
    for k, z in enumerate(molecule.z.tolist()):
        if z not in _VALENCE or aromatic[k] or abs(charges[k]) > 1:
            continue
        # an octet: C+ and C- have three bonds, N+ four, N- two; H+, H- and B+ fewer, B- four
        group = -abs(charges[k]) if z in (1, 6, 14) else -charges[k] if z == 5 else charges[k]
        if bonds[k] < _VALENCE[z] + group:
            found.append(k)
    return np.array(found, dtype=int)


def _at(atoms: Iterable[int]) -> str:
    numbers = [str(k + 1) for k in atoms]
    return f"(atom{'s' * (len(numbers) > 1)} {_listed(numbers[:_SHOWN], len(numbers))})"


def named(molecule: Molecule, atoms: Iterable[int]) -> str:
    """Some atoms by symbol and number, "P2, F3 and 4 more"."""
    table = Chem.GetPeriodicTable()
    texts = [f"{table.GetElementSymbol(int(molecule.z[k]))}{k + 1}" for k in atoms]
    return _listed(texts[:_SHOWN], len(texts))


def _listed(texts: Sequence[str], count: int) -> str:
    more = f" and {count - len(texts)} more" if count > len(texts) else ""
    return ", ".join(texts) + more
