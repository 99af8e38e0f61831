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

VERSION = 1
