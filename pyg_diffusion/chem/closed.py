"""Geometries in closed form: one atom, and two, of which the length is all there is to know."""

from typing import NamedTuple

import numpy as np
from rdkit import Chem

from ..data.molecule import Molecule
from ..data.schema import BOND_ORDERS, BOND_TYPES, COVALENT_RADII
from .fragments import formal_charges

# Equilibrium lengths in Å by elements and charge. Huber and Herzberg 1979, Constants of Diatomic Molecules; dianions as in
# their salts (O2: Na2O2, C2: CaC2, S2: Na2S2).
LENGTHS = {
    (1, 1, 0): 0.741, (1, 1, 1): 1.052, (1, 3, 0): 1.596, (1, 5, 0): 1.232, (1, 6, 0): 1.120, (1, 6, 1): 1.131,
    (1, 7, 0): 1.036, (1, 7, -1): 1.040, (1, 7, 1): 1.070, (1, 8, 0): 0.970, (1, 8, -1): 0.964, (1, 8, 1): 1.029,
    (1, 9, 0): 0.917, (1, 11, 0): 1.887, (1, 12, 1): 1.652, (1, 13, 0): 1.648, (1, 14, 0): 1.520, (1, 15, 0): 1.422,
    (1, 16, 0): 1.341, (1, 16, -1): 1.343, (1, 17, 0): 1.275, (1, 17, 1): 1.315, (1, 19, 0): 2.243, (1, 34, 0): 1.475,
    (1, 35, 0): 1.414, (1, 53, 0): 1.609, (1, 2, 1): 0.774,
    (3, 3, 0): 2.673, (3, 9, 0): 1.564, (3, 17, 0): 2.021, (3, 35, 0): 2.170, (3, 53, 0): 2.392, (3, 8, -1): 1.688,
    (5, 7, 0): 1.281, (5, 8, 0): 1.205, (5, 9, 0): 1.263, (5, 17, 0): 1.715,
    (6, 6, 0): 1.243, (6, 6, -2): 1.191, (6, 6, -1): 1.268, (6, 7, 0): 1.172, (6, 7, -1): 1.177, (6, 7, 1): 1.173,
    (6, 8, 0): 1.128, (6, 8, 1): 1.115, (6, 9, 0): 1.272, (6, 9, 1): 1.154, (6, 15, 0): 1.562, (6, 16, 0): 1.535,
    (6, 17, 0): 1.645, (6, 34, 0): 1.676,
    (7, 7, 0): 1.098, (7, 7, 1): 1.116, (7, 8, 0): 1.151, (7, 8, 1): 1.063, (7, 8, -1): 1.258, (7, 9, 0): 1.317,
    (7, 15, 0): 1.491, (7, 16, 0): 1.494, (7, 16, 1): 1.440, (7, 17, 0): 1.611,
    (8, 8, 0): 1.208, (8, 8, 1): 1.116, (8, 8, -1): 1.350, (8, 8, -2): 1.490, (8, 9, 0): 1.354, (8, 12, 0): 1.749,
    (8, 14, 0): 1.510, (8, 15, 0): 1.476, (8, 16, 0): 1.481, (8, 17, 0): 1.570, (8, 17, -1): 1.690, (8, 20, 0): 1.822,
    (8, 35, 0): 1.717, (8, 53, 0): 1.868,
    (9, 9, 0): 1.412, (9, 11, 0): 1.926, (9, 13, 0): 1.654, (9, 17, 0): 1.628, (9, 19, 0): 2.172, (9, 35, 0): 1.759,
    (9, 53, 0): 1.910, (11, 11, 0): 3.079, (11, 17, 0): 2.361, (11, 35, 0): 2.502, (11, 53, 0): 2.711,
    (13, 17, 0): 2.130, (14, 16, 0): 1.929, (15, 15, 0): 1.893, (16, 16, 0): 1.889, (16, 16, -2): 2.130,
    (17, 17, 0): 1.988, (17, 19, 0): 2.667, (17, 35, 0): 2.136, (17, 53, 0): 2.321, (19, 35, 0): 2.821,
    (19, 53, 0): 3.048, (35, 35, 0): 2.281, (35, 53, 0): 2.469, (53, 53, 0): 2.666,
}  # fmt: skip


class Closed(NamedTuple):
    """Positions `[N, 3]` in Å and where they are from."""

    pos: np.ndarray
    source: str


def closed_form(molecule: Molecule) -> Closed | None:
    """The geometry of one atom, at the origin, or of two bonded ones, along x; None for any other molecule."""
    if len(molecule.z) == 1:
        return Closed(np.zeros((1, 3)), "one atom")
    if len(molecule.z) != 2 or len(molecule.bond_index) != 1:
        return None
    a, b = (int(z) for z in molecule.z)
    charge = int(formal_charges(molecule).sum())
    source, length = "measured bond length", LENGTHS.get((min(a, b), max(a, b), charge))
    if length is None:
        source, length = "length from covalent radii", radii_length(a, b, BOND_TYPES[int(molecule.bond_type[0])])
    return Closed(np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]) * length, f"{source}, {length:.3f} Å")


def radii_length(a: int, b: int, kind: str) -> float:
    """Sum of covalent radii in Å for a bond of `schema.BOND_TYPES`: Pyykkö's by order, where he has none RDKit's."""
    if kind not in BOND_ORDERS or a not in COVALENT_RADII or b not in COVALENT_RADII:
        table = Chem.GetPeriodicTable()
        return table.GetRcovalent(a) + table.GetRcovalent(b)

    def of_order(order: int) -> float:
        return sum(r[min(order, len(r)) - 1] for r in (COVALENT_RADII[a], COVALENT_RADII[b]))

    return (of_order(1) + of_order(2)) / 2 if kind == "aromatic" else of_order(int(BOND_ORDERS[kind]))
