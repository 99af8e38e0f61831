"""Pictures of fields."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ...data import laplacian_operator
from ...data.field_file import grid_of, read_fields
from ..trajectories import read_trajectories
from ..trajectory_plot import draw_trajectories
from .evaluate import draw_fields


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
