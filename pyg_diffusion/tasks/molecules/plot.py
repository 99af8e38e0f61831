"""Pictures of an evaluation of conformers, with overlays."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ...chem import read_sdf
from ...chem.heavy import heavy_atoms
from ...metrics import Matcher, group_records
from ...plot import OURS, REFERENCE

ELEMENT = {6: "#333333", 7: "#2c5fc9", 8: "#d62728", 16: "#b58900", 17: "#2ca02c"}
OVERLAYS = 8


def draw_overlay(axis: Axes, mol: Any, reference: np.ndarray, generated: np.ndarray, title: str) -> None:
    """Two superposed conformers `[N, 3]` of one molecule as sticks, seen along the reference's thinnest axis."""
    center = reference.mean(0)
    view = np.linalg.svd(reference - center)[2][:2].T
    for pos, colour, width, order in ((reference, REFERENCE, 4.5, 1), (generated, OURS, 1.6, 2)):
        flat = (pos - center) @ view
        for bond in mol.GetBonds():
            ends = flat[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
            axis.plot(*ends.T, color=colour, lw=width, solid_capstyle="round", zorder=order)
        colours = [ELEMENT.get(a.GetAtomicNum(), "#8e44ad") for a in mol.GetAtoms()]
        if order == 2:
            axis.scatter(flat[:, 0], flat[:, 1], s=14, c=colours, zorder=3)
    axis.set_aspect("equal")
    axis.axis("off")
    axis.set_title(title, fontsize=8)


def overlays(generated: str, reference: str, count: int) -> list[tuple[Any, np.ndarray, np.ndarray, str]]:
    """For the first `count` molecules: heavy atoms, a reference conformer, the nearest generated one superposed, a title."""
    ensembles, _ = group_records(read_sdf(reference))
    matcher = Matcher(ensembles)
    found: list[list[Any]] = [[] for _ in ensembles]
    for record in read_sdf(generated):
        place, status = matcher(record)
        if place is not None and status == "ok":
            found[place].append(record.mol)
    rows = []
    for ensemble, mols in zip(ensembles, found, strict=True):
        bare = heavy_atoms(ensemble.mol)
        best: tuple[float, Any, int] | None = None
        for mol in mols:
            probe = heavy_atoms(mol)
            for conformer in bare.GetConformers():
                if not probe.HasSubstructMatch(bare) or probe.GetNumAtoms() != bare.GetNumAtoms():
                    continue
                rms = rdMolAlign.GetBestRMS(probe, bare, 0, conformer.GetId(), maxMatches=10_000)
                if best is None or rms < best[0]:
                    best = (rms, Chem.Mol(probe), conformer.GetId())
        if best is not None:
            rms, probe, conformer_id = best
            order = list(probe.GetSubstructMatch(bare))
            near = probe.GetConformer(0).GetPositions()[order]  # GetBestRMS left it superposed
            rows.append((bare, bare.GetConformer(conformer_id).GetPositions(), near, f"{ensemble.name[:28]}\n{rms:.2f} Å"))
        if len(rows) == count:
            break
    return rows


def plot_evaluation(source: Path, target: Path, generated: str | None = None, reference: str | None = None) -> None:
    """Distance of every reference to its nearest generated conformer, method beside method, with overlays beneath."""
    try:
        result = json.loads(source.read_text())
        methods = {
            name: [[np.inf if d is None else float(d) for d in m["recall"]] for m in molecules]
            for name, molecules in result["per_molecule"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: not a result of 'pyg-diffusion evaluate' ({error})") from error
    panels = overlays(generated, reference, OVERLAYS) if generated and reference else []
    figure = plt.figure(figsize=(12, 4 + 2.6 * ((len(panels) + 3) // 4)), layout="constrained")
    grid = figure.add_gridspec(1 + (len(panels) + 3) // 4, 4, height_ratios=[1.5] + [1] * ((len(panels) + 3) // 4))
    curve, bars = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2:])
    for name, molecules in methods.items():
        nearest = np.sort([d for m in molecules for d in m])
        curve.step(nearest, np.arange(1, len(nearest) + 1) / len(nearest), where="post", label=name)
    curve.set(xlabel="RMSD to the nearest generated conformer, Å", ylabel="share of references", xlim=(0, 2), ylim=(0, 1))
    curve.set_title("recall: references covered, by threshold")
    curve.grid(alpha=0.3)
    curve.legend(fontsize=8)
    for k, (name, molecules) in enumerate(methods.items()):
        means = np.sort([np.mean(m) for m in molecules])
        bars.plot(means, color=f"C{k}", label=name)
    bars.set(xlabel="molecules, best to worst", ylabel="AMR-R, Å", title="mean recall distance of each molecule")
    bars.grid(alpha=0.3)
    bars.legend(fontsize=8)
    for k, (mol, ref, near, title) in enumerate(panels):
        draw_overlay(figure.add_subplot(grid[1 + k // 4, k % 4]), mol, ref, near, title)
    figure.savefig(target, dpi=120)
    plt.close(figure)
