"""Relaxation to the nearest minimum: MMFF94s (RDKit), in vacuum or a dielectric, or GFN2-xTB (tblite, optional)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from scipy.optimize import minimize

from .. import extras

BOHR = 0.529177210903  # Å
HARTREE = 627.5094740631  # kcal/mol

MMFF_ROUNDS, MMFF_ITERATIONS = 10, 2000
XTB_ITERATIONS = 2000
XTB_GRADIENT = 1e-4  # Hartree/Bohr, largest component at the minimum
XTB_ACCURACY = 0.1  # of the self-consistent charges, relative to tblite's default of 1e-6 Hartree
BROKEN_BOND = 1.3  # times the sum of the covalent radii


class Relaxed(NamedTuple):
    """A minimum: positions `[N, 3]` in Å, its energy, and that of the start above it, in kcal/mol."""

    pos: np.ndarray
    energy: float
    strain: float


def _mmff_field(mol: Chem.Mol, dielectric: float) -> Any:
    """MMFF94s on the only conformer of a molecule, whose aromaticity it rewrites; None without parameters.

    The field points into the molecule and must not outlive it.
    """
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94s")
    if properties is not None:
        properties.SetMMFFDielectricConstant(dielectric)
    field = None if properties is None else rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    if field is not None:
        field.Initialize()
    return field


def relax_mmff(mol: Chem.Mol, conformer: int = -1, dielectric: float = 1.0) -> Relaxed | None:
    """The MMFF94s minimum below a conformer of a molecule with explicit hydrogens.

    Charges interact through a medium of the given dielectric constant; in vacuum (1) polar groups fold onto each other, as
    they do neither in proteins nor in crystals.

    None where MMFF94s has no parameters for an atom, or the minimisation does not converge.
    """
    work = Chem.Mol(mol, confId=conformer)
    with rdBase.BlockLogs():
        field = _mmff_field(work, dielectric)
        before = float("nan") if field is None else field.CalcEnergy()
        if field is None or not np.isfinite(before):
            return None
        if any(field.Minimize(maxIts=MMFF_ITERATIONS) == 0 for _ in range(MMFF_ROUNDS)):
            energy = field.CalcEnergy()
            return Relaxed(work.GetConformer().GetPositions(), energy, before - energy) if np.isfinite(energy) else None
    return None


def _intact(mol: Chem.Mol, pos: np.ndarray) -> bool:
    """Whether no bond is longer than 1.3 times the sum of the covalent radii; pos in Å, `[N, 3]`."""
    table = Chem.GetPeriodicTable()
    radius = [table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()]
    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    return all(np.linalg.norm(pos[i] - pos[j]) < BROKEN_BOND * (radius[i] + radius[j]) for i, j in ends)


def _xtb_singlepoint(mol: Chem.Mol, conformer: int) -> tuple[Any, Any] | None:
    """(calculator, its state) of GFN2-xTB; None where it does not apply or converge."""
    require(("GFN2-xTB",))
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
    from tblite.interface import Calculator

    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    charge = Chem.GetFormalCharge(mol)
    pos = mol.GetConformer(conformer).GetPositions() / BOHR
    if (numbers.sum() - charge) % 2 or not np.isfinite(pos).all():
        return None
    try:
        calculator = Calculator("GFN2-xTB", numbers, pos, charge=charge, uhf=0)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", XTB_ACCURACY)
        return calculator, calculator.singlepoint()
    except (TBLiteRuntimeError, TBLiteValueError):
        return None


def relax_xtb(mol: Chem.Mol, conformer: int = -1, gradient: float = XTB_GRADIENT) -> Relaxed | None:
    """The GFN2-xTB minimum (gas phase, total formal charge, closed shell) below a conformer with explicit hydrogens.

    By L-BFGS-B in Cartesian coordinates until the largest gradient component is below `gradient` in Hartree/Bohr. None
    where the charges or the relaxation do not converge, for an odd number of electrons, for elements beyond radon, and
    where a bond breaks on the way: then the minimum is another molecule (a zwitterion passes its proton on in the gas
    phase), and the energy a reaction's.

    Raises:
        ValueError: tblite is not installed.
    """
    found = _xtb_singlepoint(mol, conformer)
    if found is None:
        return None
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError

    calculator, state = found
    before = float(state["energy"])
    start = mol.GetConformer(conformer).GetPositions() / BOHR
    try:

        def surface(x: np.ndarray) -> tuple[float, np.ndarray]:
            """Hartree above the start, Hartree/Bohr; each call begins with the charges of the one before."""
            calculator.update(positions=x.reshape(-1, 3))
            calculator.singlepoint(state)
            return float(state["energy"]) - before, np.asarray(state["gradient"]).ravel()

        options = {"maxiter": XTB_ITERATIONS, "maxfun": 2 * XTB_ITERATIONS, "gtol": gradient, "ftol": 0.0}
        found = minimize(surface, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    except (TBLiteRuntimeError, TBLiteValueError):
        return None
    pos = found.x.reshape(-1, 3) * BOHR
    if np.abs(found.jac).max() > gradient or not _intact(mol, pos):
        return None
    return Relaxed(pos, HARTREE * (before + float(found.fun)), 0.0 - HARTREE * float(found.fun))


MMFF_LEVELS = {"MMFF94s": 1.0, "MMFF94s(eps=4)": 4.0}  # dielectric constant of each
RELAX: dict[str, Callable[..., Relaxed | None]] = {
    **{name: partial(relax_mmff, dielectric=constant) for name, constant in MMFF_LEVELS.items()},
    "GFN2-xTB": relax_xtb,
}


def energy(mol: Chem.Mol, level: str, conformer: int = -1) -> float | None:
    """Energy of a conformer with explicit hydrogens on one of `RELAX`'s surfaces, kcal/mol; None where it has none.

    Raises:
        ValueError: another level, or tblite is not installed.
    """
    require((level,))
    if level in MMFF_LEVELS:
        with rdBase.BlockLogs():
            work = Chem.Mol(mol, confId=conformer)
            field = _mmff_field(work, MMFF_LEVELS[level])
            value = None if field is None else field.CalcEnergy()
    else:
        found = _xtb_singlepoint(mol, conformer)
        value = None if found is None else HARTREE * float(found[1]["energy"])
    return value if value is not None and np.isfinite(value) else None


def require(levels: Iterable[str]) -> None:
    """Raises ValueError where a level is unknown, or needs a package that is not installed."""
    for level in levels:
        if level not in RELAX:
            raise ValueError(f"no energy surface '{level}'; there are {', '.join(RELAX)}")
        if level == "GFN2-xTB":
            extras.require("tblite", "xtb", level)
