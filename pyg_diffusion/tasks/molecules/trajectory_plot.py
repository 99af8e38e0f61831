"""Pictures of how conformers were drawn."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds, rdForceFieldHelpers

from ...chem import with_positions
from ...sample import Trajectory
from ..trajectory_plot import draw_trajectories
from .plot import ELEMENT
from .trajectory import read_trajectories


def plot_trajectory(source: Path, target: Path) -> None:
    """Frames of the first conformer, and of all the distance to the end and the energy of D."""
    found = read_trajectories(source)
    first = found[0][1]
    mol = _with_bonds(*found[0])
    end = first.denoised[-1].numpy()
    view = np.linalg.svd(end - end.mean(0))[2][:2].T  # along its thinnest axis
    reach = 1.6 * np.abs((end - end.mean(0)) @ view).max() + 0.5
    energies = [energies_along(own, path) for own, path in found]
    drawing = partial(_draw, mol=mol, view=view, reach=reach)
    along = ("MMFF94s energy of D above the lowest + 1, kcal/mol", energies)
    draw_trajectories([path for _, path in found], target, drawing, ", Å", turned=True, along=along)


def energies_along(mol: Chem.Mol, path: Trajectory) -> np.ndarray:
    """MMFF94s energy of D at every frame above the lowest, and 1 for a logarithmic axis; `[]` without parameters.

    So is it of molecules that were read from XYZ, which knows no bond orders.
    """
    if mol.NeedsUpdatePropertyCache():
        return np.zeros(0)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, "MMFF94s")
    if properties is None:
        return np.zeros(0)
    placed = with_positions(mol, path.denoised.double().numpy())
    found = []
    for conformer in placed.GetConformers():
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(placed, properties, confId=conformer.GetId())
        found.append(field.CalcEnergy())
    return np.array(found) - min(found) + 1


def _with_bonds(mol: Chem.Mol, path: Trajectory) -> Chem.Mol:
    """A molecule of an XYZ file with the bonds that its end shows; another as it is."""
    if mol.GetNumBonds() or mol.GetNumAtoms() < 2:
        return mol
    placed = with_positions(mol, path.denoised[-1:].double().numpy())
    rdDetermineBonds.DetermineConnectivity(placed)
    return placed


def _draw(axis: Axes, x: np.ndarray, mol: Chem.Mol, view: np.ndarray, reach: float) -> None:
    """Sticks and balls `[N, 3]`, as seen along the end's thinnest axis."""
    flat = (x - x.mean(0)) @ view
    reach = max(reach, 0.7 * float(np.abs(flat).max()))  # noise is shown smaller
    for bond in mol.GetBonds():
        axis.plot(*flat[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]].T, color="#bbbbbb", lw=1.5, zorder=1)
    colours = ["#c8c8c8" if a.GetAtomicNum() == 1 else ELEMENT.get(a.GetAtomicNum(), "#8e44ad") for a in mol.GetAtoms()]
    axis.scatter(flat[:, 0], flat[:, 1], s=[8 if a.GetAtomicNum() == 1 else 22 for a in mol.GetAtoms()], c=colours, zorder=2)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axis.set_aspect("equal")
    axis.axis("off")
