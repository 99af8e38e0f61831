"""Pictures of inverses and of their evaluation."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ...files import json_of
from ..trajectories import read_trajectories
from ..trajectory_plot import draw_trajectories
from .evaluate import MEASURES, OURS
from .files import read_matrices


def plot_matrices(source: Path, target: Path, count: int = 6) -> None:
    """The first matrices of a file, entry by entry."""
    found = read_matrices(str(source))[:count]
    figure, axes = plt.subplots(1, len(found), figsize=(2.4 * len(found), 2.6), layout="constrained", squeeze=False)
    limit = float(np.abs(found).max())
    for k, (axis, matrix) in enumerate(zip(axes[0], found, strict=True)):
        image = axis.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_title(f"matrix {k + 1}", fontsize=8)
        axis.axis("off")
    figure.colorbar(image, ax=axes[0].tolist(), shrink=0.8)
    figure.savefig(target, dpi=120)
    plt.close(figure)


def plot_evaluation(source: Path, target: Path) -> None:
    """Errors of conjugate gradients by their steps, and those of the given inverses."""
    result = json_of(source)
    try:
        steps, methods = result["steps"], result["methods"]
        curves = {m: [methods[f"CG, {k} steps"][m] for k in steps] for m in MEASURES}
        ours = {m: methods[OURS][m] for m in MEASURES}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source}: not a result of 'pyg-diffusion evaluate' ({error})") from error
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(9, 3.6), layout="constrained")
    for axis, (measure, text) in zip(axes, MEASURES.items(), strict=True):
        axis.plot(steps, np.maximum(curves[measure], 1e-16), marker=".", color="#9a9a9a", label="conjugate gradients")
        axis.axhline(ours[measure], color="#c0392b", label=OURS)
        axis.set(xscale="log", yscale="log", xlabel="steps of conjugate gradients", title=text)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(target, dpi=120)
    plt.close(figure)


def plot_trajectory(source: Path, target: Path) -> None:
    """Frames of the first descent, and of all the distance to the end."""
    found, _ = read_trajectories(source)
    limit = float(found[0].denoised[-1].abs().max())

    def drawing(axis: Axes, x: np.ndarray) -> None:
        axis.imshow(x.reshape(round(len(x) ** 0.5), -1), cmap="RdBu", vmin=-limit, vmax=limit)
        axis.axis("off")

    draw_trajectories(found, target, drawing, "")
