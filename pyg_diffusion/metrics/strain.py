"""Strain of a conformer: its energy above the minimum it relaxes to, in kcal/mol.

strain = E(x) - E(x*),    x* = the local minimum reached from x on the same energy surface (`chem.relax`)
"""

from collections.abc import Callable

from rdkit import Chem

from ..chem.relax import relax_mmff, relax_xtb


def mmff_strain(mol: Chem.Mol) -> float | None:
    """MMFF94s strain of a molecule with explicit hydrogens and one conformer, kcal/mol; None as for `relax_mmff`."""
    found = relax_mmff(mol)
    return None if found is None else found.strain


def xtb_strain(mol: Chem.Mol) -> float | None:
    """GFN2-xTB strain of a molecule with explicit hydrogens and one conformer, kcal/mol; None as for `relax_xtb`.

    Raises:
        ValueError: tblite is not installed.
    """
    found = relax_xtb(mol)
    return None if found is None else found.strain


METHODS: dict[str, Callable[[Chem.Mol], float | None]] = {"MMFF94s": mmff_strain, "GFN2-xTB": xtb_strain}
