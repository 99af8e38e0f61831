"""Every picture: training curves, evaluation results, overlays of conformers, fields."""

import csv
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

REFERENCE, OURS, ELEMENT = "#9a9a9a", "#c0392b", {6: "#333333", 7: "#2c5fc9", 8: "#d62728", 16: "#b58900", 17: "#2ca02c"}


def read_metrics(run_dir: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of every logged quantity, over all pieces of a resumed run."""
    series: dict[str, dict[float, float]] = {}
    for path in sorted(run_dir.glob("logs/*/metrics.csv")):
        with open(path) as stream:
            for row in csv.DictReader(stream):
                for name, text in row.items():
                    if name not in ("step", "epoch") and text:
                        series.setdefault(name, {})[float(row["step"])] = float(text)
    if not series:
        raise ValueError(f"{run_dir}: no training log found (logs/*/metrics.csv)")
    return {name: sorted(values.items()) for name, values in series.items()}


def plot_run(run_dir: Path, target: Path) -> Path:
    """Loss of training and validation, validation by noise level, learning rate."""
    series = read_metrics(run_dir)
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for name, colour in (("train/loss", "#bbbbbb"), ("val/loss", OURS), ("val/loss_exact", REFERENCE)):
        if name in series:
            axes[0].plot(*np.array(series[name]).T, color=colour, label=name, marker="." if "val" in name else None)
    axes[0].set(title="loss per mode and channel (training adds earlier stages)", xlabel="step", yscale="log")
    for name in sorted(n for n in series if n.startswith("val/loss_log_tau")):
        low, high = name.rsplit("_", 2)[1:]
        axes[1].plot(*np.array(series[name]).T, label=f"log τ in [{low}, {high})")
    axes[1].set(title="validation loss by noise level", xlabel="step", yscale="log")
    for name in (n for n in series if n.startswith("lr-")):
        axes[2].plot(*np.array(series[name]).T, label=name)
    axes[2].set(title="learning rate", xlabel="step")
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
    figure.savefig(target, dpi=120)
    plt.close(figure)
    return target


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
    from rdkit import Chem
    from rdkit.Chem import rdMolAlign

    from .chem import read_sdf
    from .chem.heavy import heavy_atoms
    from .metrics import Matcher, group_records

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


def plot_evaluation(source: Path, target: Path, generated: str | None = None, reference: str | None = None) -> Path:
    """Distance of every reference to its nearest generated conformer, method beside method, with overlays beneath."""
    try:
        result = json.loads(source.read_text())
        if result.get("kind") == "fields":
            return _plot_field_evaluation(result, target)
        methods = {
            name: [[np.inf if d is None else float(d) for d in m["recall"]] for m in molecules]
            for name, molecules in result["per_molecule"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: not a result of 'pyg-diffusion evaluate' ({error})") from error
    panels = overlays(generated, reference, 8) if generated and reference else []
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
    return target


def _plot_field_evaluation(result: dict[str, Any], target: Path) -> Path:
    """Errors of every method beside the sampling floor, and power spectra."""
    from .pipeline_fields import ERRORS, FLOOR

    methods = result["methods"]
    figure, (bars, spectra) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    names = sorted(methods, key=lambda name: name == FLOOR)
    for k, name in enumerate(names):
        height = [max(methods[name][error], 1e-6) for error in ERRORS]
        colour = REFERENCE if name == FLOOR else f"C{k}"
        bars.bar(np.arange(len(ERRORS)) + 0.8 * k / len(names), height, 0.8 / len(names), label=name, color=colour)
    bars.set(yscale="log", title="error against held-out fields")
    bars.set_xticks(np.arange(len(ERRORS)) + 0.4, ERRORS, rotation=20, fontsize=8)
    lam = np.array(result["eigenvalues"])
    order = np.argsort(lam)
    for name, power in result["spectrum"].items():
        style = {"color": "black", "lw": 2} if name == "reference" else {"lw": 1}
        spectra.plot(lam[order], np.maximum(np.array(power)[order], 1e-12), label=name, **style)
    spectra.set(yscale="log", xlabel="λ", title="power spectrum p(λ), mean over channels")
    for axis in (bars, spectra):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(target, dpi=120)
    plt.close(figure)
    return target


def _draw_field(axis: Axes, field: np.ndarray, spacing: float, limit: float) -> None:
    """One field `[*shape, C]` on 1, 2 or 3 axes (of 3 the middle slice): its first channel, arrows of the first two."""
    while field.ndim > 3:
        field = field[len(field) // 2]
    if field.ndim == 2:
        axis.plot(spacing * np.arange(len(field)), field, lw=1)
        axis.set_ylim(-limit, limit)
        return
    length = np.linalg.norm(field, axis=-1) if field.shape[-1] > 1 else field[..., 0]
    axis.imshow(length, cmap="viridis" if field.shape[-1] > 1 else "coolwarm", vmin=None, vmax=limit)
    if field.shape[-1] > 1:
        step = max(1, len(field) // 16)
        i, j = (a[::step, ::step] for a in np.mgrid[: field.shape[0], : field.shape[1]])
        axis.quiver(j, i, field[::step, ::step, 1], -field[::step, ::step, 0], color="white", pivot="mid")
    axis.axis("off")


def plot_fields(source: Path, target: Path, count: int = 6) -> Path:
    """The first fields of a file, and under them as many of the law they are of, where that is known."""
    from .data.field_file import read_fields
    from .pipeline_fields import draw_fields

    x, data = read_fields(source)
    count = min(count, len(x))
    rows = [("generated", x[:count])]
    if "law" in data:
        rows.append(("held out", draw_fields(data, "reference", count)))
    figure, axes = plt.subplots(len(rows), count, figsize=(2 * count, 2.2 * len(rows)), layout="constrained", squeeze=False)
    limit = float(rows[-1][1].norm(dim=-1).max())
    for line, (name, fields) in zip(axes, rows, strict=True):
        for axis, field in zip(line, fields.numpy(), strict=True):
            _draw_field(axis, field.reshape(*data["shape"], -1), float(np.mean(data["spacing"])), limit)
        line[0].set_title(name, fontsize=9, loc="left")
    figure.savefig(target, dpi=120)
    plt.close(figure)
    return target
