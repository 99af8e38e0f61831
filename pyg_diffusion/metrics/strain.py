"""Strain of a conformer: its energy above the minimum it relaxes to, in kcal/mol.

    strain = E(x) - E(x*),    x* = the local minimum reached from x on the same energy surface

with MMFF94s (RDKit) or GFN2-xTB (tblite, an optional dependency; gas phase, total formal charge, closed shell).
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from scipy.optimize import minimize

BOHR = 0.529177210903  # Å
HARTREE = 627.5094740631  # kcal/mol

MMFF_ROUNDS, MMFF_ITERATIONS = 10, 2000
XTB_ITERATIONS = 2000
XTB_GRADIENT = 1e-4  # Hartree/Bohr, largest component at the minimum
XTB_ACCURACY = 0.1  # of the self-consistent charges, relative to tblite's default of 1e-6 Hartree
BROKEN_BOND = 1.3  # times the sum of the covalent radii


def mmff_strain(mol: Chem.Mol) -> float | None:
    """MMFF94s strain of a molecule with explicit hydrogens and one conformer, kcal/mol.

    None where MMFF94s has no parameters for an atom, or the minimisation does not converge.
    """
    work = Chem.Mol(mol)  # MMFF rewrites the aromaticity of the molecule it works on
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(work, mmffVariant="MMFF94s")
        if properties is None:
            return None
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(work, properties)
        if field is None:
            return None
        field.Initialize()
        before = field.CalcEnergy()
        if not np.isfinite(before):
            return None
        if any(field.Minimize(maxIts=MMFF_ITERATIONS) == 0 for _ in range(MMFF_ROUNDS)):
            strain = before - field.CalcEnergy()
            return float(strain) if np.isfinite(strain) else None
    return None


def _intact(mol: Chem.Mol, pos: np.ndarray) -> bool:
    """Whether no bond is longer than 1.3 times the sum of the covalent radii; pos in Å, `[N, 3]`."""
    table = Chem.GetPeriodicTable()
    radius = [table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()]
    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    return all(np.linalg.norm(pos[i] - pos[j]) < BROKEN_BOND * (radius[i] + radius[j]) for i, j in ends)


def xtb_strain(mol: Chem.Mol) -> float | None:
    """GFN2-xTB strain of a molecule with explicit hydrogens and one conformer, kcal/mol.

    Relaxed by L-BFGS-B in Cartesian coordinates until the largest gradient component is below 1e-4 Hartree/Bohr. None
    where the charges or the relaxation do not converge, for an odd number of electrons, for elements beyond radon, and
    where a bond breaks on the way: then the minimum is another molecule (a zwitterion passes its proton on in the gas
    phase), and the energy a reaction's.

    Raises:
        ValueError: tblite is not installed.
    """
    require(("GFN2-xTB",))
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
    from tblite.interface import Calculator

    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    charge = Chem.GetFormalCharge(mol)
    start = mol.GetConformer().GetPositions() / BOHR
    if (numbers.sum() - charge) % 2 or not np.isfinite(start).all():
        return None
    try:
        calculator = Calculator("GFN2-xTB", numbers, start, charge=charge, uhf=0)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", XTB_ACCURACY)
        state = calculator.singlepoint()
        before = float(state["energy"])

        def surface(x: np.ndarray) -> tuple[float, np.ndarray]:
            """Hartree above the start, Hartree/Bohr; each call begins with the charges of the one before."""
            calculator.update(positions=x.reshape(-1, 3))
            calculator.singlepoint(state)
            return float(state["energy"]) - before, np.asarray(state["gradient"]).ravel()

        options = {"maxiter": XTB_ITERATIONS, "maxfun": 2 * XTB_ITERATIONS, "gtol": XTB_GRADIENT, "ftol": 0.0}
        found = minimize(surface, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    except (TBLiteRuntimeError, TBLiteValueError):
        return None
    if np.abs(found.jac).max() > XTB_GRADIENT or not _intact(mol, found.x.reshape(-1, 3) * BOHR):
        return None
    return 0.0 - HARTREE * float(found.fun)


METHODS: dict[str, Callable[[Chem.Mol], float | None]] = {"MMFF94s": mmff_strain, "GFN2-xTB": xtb_strain}


def require(methods: Iterable[str]) -> None:
    """Raises ValueError where a method is unknown, or needs a package that is not installed."""
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"no strain method '{method}'; there are {', '.join(METHODS)}")
        if method == "GFN2-xTB" and find_spec("tblite") is None:
            raise ValueError("strain with GFN2-xTB needs the package tblite: pip install tblite")
