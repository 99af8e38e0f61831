"""The categorical features of atoms and bonds: one table that chemistry, store and network share. Needs no RDKit."""

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)  # H B C N O F Si P S Cl Se Br I; anything else is "other"
HYBRIDIZATIONS = ("S", "SP", "SP2", "SP3", "SP3D")  # anything else is "other"

# Columns of `x` with their number of classes.
ATOM_FEATURES = {
    "element": len(ELEMENTS) + 1,
    "charge": 5,  # -2, -1, 0, +1, +2, clipped
    "hybridization": len(HYBRIDIZATIONS) + 1,
    "aromatic": 2,
    "ring_size": 7,  # not in a ring, smallest ring 3, 4, 5, 6, 7, 8 or more
    "degree": 7,  # explicit neighbours, clipped at 6
}

# Classes of `edge_attr`; 0 is kept for "not bonded" in dense pair features.
BOND_TYPES = ("none", "single", "conjugated", "double", "triple", "aromatic", "other")
CIS, TRANS = 1, 2

# Order of a bond, as RDKit's `Bond.GetBondTypeAsDouble`. "conjugated" is a single bond beside π bonds: formally one.
BOND_ORDERS = {"single": 1.0, "conjugated": 1.0, "double": 2.0, "triple": 3.0, "aromatic": 1.5}

# Additive covalent radii in Å for (single, double, triple) bonds; hydrogen has but the first.
# Pyykkö and Atsumi 2009, Chem. Eur. J. 15, 186 and 12770; Pyykkö, Riedel and Patzschke 2005, Chem. Eur. J. 11, 3511.
COVALENT_RADII: dict[int, tuple[float, ...]] = {
    1: (0.32,),
    5: (0.85, 0.78, 0.73),
    6: (0.75, 0.67, 0.60),
    7: (0.71, 0.60, 0.54),
    8: (0.63, 0.57, 0.53),
    9: (0.64, 0.59, 0.53),
    14: (1.16, 1.07, 1.02),
    15: (1.11, 1.02, 0.94),
    16: (1.03, 0.94, 0.95),
    17: (0.99, 0.95, 0.93),
    34: (1.16, 1.07, 1.07),
    35: (1.14, 1.09, 1.10),
    53: (1.33, 1.29, 1.25),
}

VERSION = 1
