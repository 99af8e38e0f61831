"""Pictures of fields and of their evaluation."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ...data import laplacian_operator
from ...data.field_file import grid_of, read_fields
from ...files import json_of
from ...plot import REFERENCE
from ..trajectories import read_trajectories
from ..trajectory_plot import draw_trajectories
from .evaluate import ERRORS, FLOOR, draw_fields


def plot_evaluation(source: Path, target: Path) -> None:
    """Errors of every method beside the sampling floor, and power spectra."""
    result = json_of(source)
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


def _draw_field(axis: Axes, field: np.ndarray, spacing: float, limit: float) -> None:
    """One field `[*shape, C]` on 1, 2 or 3 axes (of 3 the middle slice): its first channel, arrows of the first two."""
    while field.ndim > 3:
        field = field[len(field) // 2]
    if field.ndim == 2:
        axis.plot(spacing * np.arange(len(field)), field, lw=1)
        axis.set_ylim(-limit, limit)
        return
    length = np.linalg.norm(field, axis=-1) if field.shape[-1] > 1 else field[..., 0]
    colours = "viridis" if field.shape[-1] > 1 else "coolwarm"
    lowest = None if field.shape[-1] > 1 else -limit
    axis.imshow(length, cmap=colours, vmin=lowest, vmax=limit, interpolation="nearest")
    if field.shape[-1] > 1:
        step = max(1, len(field) // 16)
        i, j = (a[::step, ::step] for a in np.mgrid[: field.shape[0], : field.shape[1]])
        axis.quiver(j, i, field[::step, ::step, 1], -field[::step, ::step, 0], color="white", pivot="mid")
    axis.axis("off")


def plot_fields(source: Path, target: Path, count: int = 6) -> None:
    """The first fields of a file, and under them as many of the law they are of, where that is known."""
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


def plot_trajectory(source: Path, target: Path) -> None:
    """Frames of the first field, and of all the distance to the end and the smoothness of D."""
    found, data = read_trajectories(source)
    operator = laplacian_operator(grid_of(data))
    limit = float(found[0].denoised[-1].norm(dim=-1).max())
    smoothness = []
    for path in found:  # tr DᵀLD / |D|²
        energy = [float((d * operator.apply(lambda lam: lam, d)).sum() / d.square().sum()) for d in path.denoised]
        smoothness.append(np.array(energy))

    def drawing(axis: Axes, x: np.ndarray) -> None:
        _draw_field(axis, x.reshape(*data["shape"], -1), float(np.mean(data["spacing"])), limit)

    draw_trajectories(found, target, drawing, "", along=("smoothness of D, tr DᵀLD / |D|²", smoothness))
