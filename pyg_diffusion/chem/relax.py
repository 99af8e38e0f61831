"""Relaxation to the nearest minimum: MMFF94s (RDKit), in vacuum or a dielectric, GFN2-xTB (tblite, optional), or any
calculator of ASE (optional)."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from scipy.optimize import minimize

from .. import extras
from ..deadline import check_time, is_limited
from .acceptance import Acceptance
from .features import molecule_from_mol
from .records import reason_of
from .torsions import Torsions, torsion

BOHR = 0.529177210903  # Å
HARTREE = 627.5094740631  # kcal/mol
EV = 23.060547830619  # kcal/mol

MMFF_ROUNDS, MMFF_ITERATIONS = 10, 2000
XTB_ITERATIONS = 2000
XTB_GRADIENT = 1e-4  # Hartree/Bohr, largest component at the minimum
XTB_ACCURACY = 0.1  # of the self-consistent charges, relative to tblite's default of 1e-6 Hartree
STIFF = 100.0  # kcal/(mol degree²), of a torsion that is held while the rest relaxes
XTB_STIFF = 0.1  # the same where the spring is moved until the torsion is right: as stiff as what a bond turns about
HOLDS, HELD = 10, 0.01  # rounds of that at most, and degrees that a torsion may be off at the end
BROKEN_BOND = 1.3  # times the sum of the covalent radii


class Relaxed(NamedTuple):
    """A minimum: positions `[N, 3]` in Å, its energy, and that of the start above it, in kcal/mol."""

    pos: np.ndarray
    energy: float
    strain: float


@dataclass(frozen=True)
class Hold:
    """What may not move: atoms, which stay in their places, and torsions, which keep their values."""

    atoms: tuple[int, ...] = ()
    torsions: Torsions | None = None


FREE = Hold()


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


def _minimized(field: Any, atoms: int) -> bool:
    """Whether a minimum is found in so many iterations. Under a deadline large molecules pause between a few, about a second
    for 500 atoms."""
    pause = MMFF_ITERATIONS if not is_limited() else min(MMFF_ITERATIONS, max(50, 8_000_000 // atoms**2))
    for _ in range(MMFF_ROUNDS * MMFF_ITERATIONS // pause):
        check_time()
        if field.Minimize(maxIts=pause) == 0:
            return True
    return False


def relax_mmff(mol: Chem.Mol, conformer: int = -1, dielectric: float = 1.0, hold: Hold = FREE) -> Relaxed | None:
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
        for atom in hold.atoms:
            field.AddFixedPoint(int(atom))
        for lock in () if hold.torsions is None else hold.torsions.locks:
            field.MMFFAddTorsionConstraint(*map(int, lock.row), False, lock.value, lock.value, STIFF)
        if not _minimized(field, work.GetNumAtoms()):
            return None
        pos = work.GetConformer().GetPositions()
        if hold.torsions is not None:  # the rest of a degree; the energy is then that without what held it
            pos = hold.torsions(pos)
            work.GetConformer().SetPositions(pos)
            field = _mmff_field(work, dielectric)
        energy = field.CalcEnergy()
        return Relaxed(pos, energy, before - energy) if np.isfinite(energy) else None


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


def relax_xtb(mol: Chem.Mol, conformer: int = -1, gradient: float = XTB_GRADIENT, hold: Hold = FREE) -> Relaxed | None:
    """The GFN2-xTB minimum (gas phase, total formal charge, closed shell) below a conformer with explicit hydrogens.

    By L-BFGS-B in Cartesian coordinates until the largest gradient component is below `gradient` in Hartree/Bohr. None
    where the charges or the relaxation do not converge, for an odd number of electrons, for elements beyond radon, and
    where a bond breaks on the way: then the minimum is another molecule (a zwitterion passes its proton on in the gas
    phase), and the energy a reaction's.

    Torsions φ are held at φ₀ by multipliers: E + k Σ (φ - φ₁)² is minimised, φ₁ moved by φ₀ - φ, and so on until φ = φ₀
    within `HELD`; energies are without the springs.

    Raises:
        ValueError: tblite is not installed.
    """
    begun = _xtb_singlepoint(mol, conformer)
    if begun is None:
        return None
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError

    before, pos = float(begun[1]["energy"]), mol.GetConformer(conformer).GetPositions()
    springs = None if hold.torsions is None else _Springs(mol, hold.torsions)
    surface = _XtbSurface(*begun, pos, hold.atoms, springs)
    if not len(surface.free):
        return Relaxed(pos, HARTREE * before, 0.0)
    options = {"maxiter": XTB_ITERATIONS, "maxfun": 2 * XTB_ITERATIONS, "gtol": gradient, "ftol": 0.0}
    try:
        for _ in range(HOLDS):
            found = minimize(surface, surface.start, jac=True, method="L-BFGS-B", options=options)
            surface.pos = pos = surface.placed(found.x)
            if springs is None or springs.settled(pos):
                break
        gained = 0.0 - float(found.fun)
        if springs is not None:
            pos = springs.torsions(pos)
            gained = 0.0 - surface.energy(pos)[0]
    except (TBLiteRuntimeError, TBLiteValueError):
        return None
    if np.abs(found.jac).max() > gradient or not _intact(mol, pos):
        return None
    return Relaxed(pos, HARTREE * (before - gained), HARTREE * gained)


class _XtbSurface:
    """GFN2-xTB of the atoms that are free, with springs: (Hartree above where it began, Hartree/Bohr) at x in Bohr.

    Args:
        calculator, state: of tblite, at `pos [N, 3]` in Å.
        fixed: atoms that stay there.
    """

    def __init__(self, calculator: Any, state: Any, pos: np.ndarray, fixed: Sequence[int], springs: "_Springs | None"):
        self.calculator, self.state, self.pos, self.springs = calculator, state, pos, springs
        self.free, self.before = np.setdiff1d(np.arange(len(pos)), fixed), float(state["energy"])

    @property
    def start(self) -> np.ndarray:
        return self.pos[self.free].ravel() / BOHR

    def placed(self, x: np.ndarray) -> np.ndarray:
        """All positions in Å."""
        pos = self.pos.copy()
        pos[self.free] = x.reshape(-1, 3) * BOHR
        return pos

    def energy(self, pos: np.ndarray) -> tuple[float, np.ndarray]:
        """Without springs; each call begins with the charges of the one before."""
        check_time()
        self.calculator.update(positions=pos / BOHR)
        self.calculator.singlepoint(self.state)
        return float(self.state["energy"]) - self.before, np.asarray(self.state["gradient"])

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        pos = self.placed(x)
        energy, slope = self.energy(pos)
        pull, more = (0.0, 0.0) if self.springs is None else self.springs(pos)
        return energy + pull, (slope + more)[self.free].ravel()


class _Springs:
    """k Σ (φ - φ₁)² of torsions, by RDKit's force field."""

    def __init__(self, mol: Chem.Mol, torsions: Torsions):
        self.mol, self.torsions = mol, torsions
        self.towards = np.array([lock.value for lock in torsions.locks])
        self._wind()

    def _wind(self) -> None:
        self.field = rdForceFieldHelpers.CreateEmptyForceFieldForMol(self.mol)
        self.field.Initialize()
        for lock, value in zip(self.torsions.locks, self.towards, strict=True):
            self.field.MMFFAddTorsionConstraint(*map(int, lock.row), False, value, value, XTB_STIFF)

    def __call__(self, pos: np.ndarray) -> tuple[float, np.ndarray]:
        """Hartree, and Hartree/Bohr `[N, 3]`, at positions in Å."""
        flat = pos.ravel().tolist()
        slope = np.array(self.field.CalcGrad(flat)).reshape(-1, 3)
        return self.field.CalcEnergy(flat) / HARTREE, slope * BOHR / HARTREE

    def settled(self, pos: np.ndarray) -> bool:
        """Whether the torsions of positions in Å are what they shall be; where not, the springs pull further."""
        off = np.array([lock.value - torsion(pos, lock.row) for lock in self.torsions.locks])
        off = (off + 180) % 360 - 180
        self.towards = (self.towards + off + 180) % 360 - 180
        self._wind()
        return bool(np.abs(off).max(initial=0.0) < HELD)


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
    check_time()
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


class Outcome(NamedTuple):
    """What became of a conformer: its energy, and that of its start above it, in kcal/mol, NaN where there is none; and why
    it was left as it was, "" where it was not."""

    energy: float
    strain: float
    problem: str = ""


def relax(
    mol: Chem.Mol, calculator: Any, fixed: Sequence[int] = (), force: float = 0.02, steps: int = 1000
) -> list[Outcome]:
    """Move the conformers of a molecule to the nearest minima of a calculator's energy, in place, by ASE's LBFGS.

    One that does not converge, loses its stereo, or becomes unsound (`Soundness`: a broken bond, two atoms on each other)
    without having been so, stays as it was. The calculator sees the formal charges of the atoms as their initial charges,
    and `atoms.info` has the "charge" and the "spin" (multiplicity) of the whole.

    Args:
        mol: with explicit hydrogens.
        calculator: of ASE, such as `tblite.ase.TBLite(method="GFN2-xTB", verbosity=0)`.
        fixed: atoms that stay where they are (`ase.constraints.FixAtoms`), such as a kept core.
        force: on an atom at a minimum, at most, in eV/Å.
        steps: of the minimiser for each conformer, at most.

    Raises:
        MissingPackage: ASE is not installed.
        ValueError: the molecule has no conformer, or an atom to fix is none of it.

    Example:
        >>> from ase.calculators.emt import EMT
        >>> from rdkit import Chem
        >>> from rdkit.Chem.rdDistGeom import EmbedMolecule
        >>> from pyg_diffusion.chem.relax import relax
        >>> mol = Chem.MolFromSmiles("N#N")
        >>> EmbedMolecule(mol, randomSeed=1)
        0
        >>> (outcome,) = relax(mol, EMT())
        >>> outcome.strain > 0, outcome.problem
        (True, '')
    """
    extras.require("ase", "ase", "relaxing by a calculator")
    if not mol.GetNumConformers():
        raise ValueError("the molecule has no conformers to relax")
    if wrong := [k for k in fixed if not 0 <= k < mol.GetNumAtoms()]:
        raise ValueError(f"there is no atom {wrong[0]} to fix among {mol.GetNumAtoms()}")
    accept = Acceptance(molecule_from_mol(mol, conformers=False))
    outcomes = []
    for conformer in mol.GetConformers():
        before = conformer.GetPositions()
        try:
            pos, outcome = _by_ase(mol, before, calculator, fixed, force, steps)
        except Exception as error:  # calculators raise what they like on what they cannot do
            outcomes.append(Outcome(np.nan, np.nan, reason_of(error)))
            continue
        if not outcome.problem and not accept.no_worse(pos, before):
            outcome = outcome._replace(problem=accept.words(pos) or "the stereo would be another")
        if not outcome.problem:
            conformer.SetPositions(pos)
        outcomes.append(outcome)
    return outcomes


def _by_ase(
    mol: Chem.Mol, pos: np.ndarray, calculator: Any, fixed: Sequence[int], force: float, steps: int
) -> tuple[np.ndarray, Outcome]:
    """Where the atoms `[N, 3]` end."""
    from ase import Atoms
    from ase.constraints import FixAtoms
    from ase.optimize import LBFGS

    charges = [atom.GetFormalCharge() for atom in mol.GetAtoms()]
    unpaired = [atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()]
    atoms = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], pos, charges=charges, magmoms=unpaired)
    atoms.info.update(charge=sum(charges), spin=sum(unpaired) + 1)
    atoms.set_constraint(FixAtoms(list(fixed)))
    atoms.calc = calculator
    before = float(atoms.get_potential_energy())
    reached = LBFGS(atoms, logfile=os.devnull).run(fmax=force, steps=steps)
    energy = float(atoms.get_potential_energy())
    problem = "" if reached else f"no force below {force:g} eV/Å within {steps} steps"
    return atoms.get_positions(), Outcome(EV * energy, EV * (before - energy), problem)
