"""Pictures of how samples were drawn: frames in a row, what happened along the way, and an animation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from torch import Tensor

from ..plot import OURS, REFERENCE
from ..sample import Trajectory

IN_A_ROW = 8
MODES = 6  # of which the signal-to-noise is drawn
STILL = 8  # repeats of an animation's last frame

# Draws one signal [N, C] of a path into an axis
Drawing = Callable[[Axes, np.ndarray], None]


def aligned(x: Tensor, y: Tensor) -> Tensor:
    """x `[F, N, 3]` moved and turned to where each frame fits y `[N, 3]` best, without reflection."""
    x, y = x - x.mean(1, keepdim=True), y - y.mean(0)
    u, _, v = (x.mT @ y).double().svd()
    hand = (u.det() * v.det())[:, None, None]
    u = u.clone()
    u[:, :, 2:] *= hand
    return x @ (u @ v.mT).to(x.dtype)


def to_the_end(path: Tensor, end: Tensor, turned: bool) -> np.ndarray:
    """Root mean square distance over nodes of every frame `[F, N, C]` to the end `[N, C]`, `[F]`."""
    if turned:
        path, end = aligned(path, end), end - end.mean(0)
    return (path - end).square().sum(2).mean(1).sqrt().numpy()


def draw_trajectories(
    found: Sequence[Trajectory],
    target: Path,
    drawing: Drawing,
    unit: str,
    turned: bool = False,
    along: tuple[str, list[np.ndarray]] | None = None,
) -> None:
    """A picture, or, where the target's name ends in .gif, an animation of the first.

    Args:
        drawing: of one frame.
        unit: of the distance to the end.
        turned: whether signals have no orientation.
        along: what else goes along with the path, by name, of every trajectory `[F]`.
    """
    if target.suffix.lower() == ".gif":
        animate(found[0], target, drawing)
        return
    first = found[0]
    chosen = np.unique(np.linspace(0, len(first.t) - 1, min(IN_A_ROW, len(first.t))).round().astype(int))
    panels = 2 + (along is not None)
    figure = plt.figure(figsize=(12, 6.5), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=[1.2, 1])
    rows, curves = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    frames = rows.subplots(2, len(chosen), squeeze=False)
    for line, signals, name in ((frames[0], first.signal, "$S_t$"), (frames[1], first.denoised, "$D(S_t, t)$")):
        for axis, k in zip(line, chosen, strict=True):
            drawing(axis, signals[k].numpy())
            axis.set_title(f"{name}\nτ = {float(first.tau[k]):.2g}" if k == chosen[0] else f"τ = {float(first.tau[k]):.2g}")
            axis.title.set_fontsize(8)
    axes = curves.subplots(1, panels, squeeze=False)[0]
    _draw_snr(axes[0], first)
    for one in found:
        for path, colour in ((one.signal, REFERENCE), (one.denoised, OURS)):
            apart = to_the_end(path, one.denoised[-1], turned)
            axes[1].plot(one.tau, np.where(apart > 0, apart, np.nan), color=colour, lw=1)  # the end itself is at no distance
    axes[1].plot([], [], color=REFERENCE, label="$S_t$")
    axes[1].plot([], [], color=OURS, label="D")
    axes[1].set(xscale="log", yscale="log", title=f"RMSD to the end{unit}")
    axes[1].legend(fontsize=8)
    if along is not None:
        name, values = along
        for one, value in zip(found, values, strict=True):
            if len(value):
                axes[2].plot(one.tau, value, color=OURS, lw=1)
        axes[2].set(xscale="log", yscale="log", title=name)
        if not any(len(value) for value in values):
            axes[2].text(0.5, 0.5, "no parameters for it", transform=axes[2].transAxes, ha="center")
    for axis in axes:
        axis.invert_xaxis()
        axis.set_xlabel("τ")
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _draw_snr(axis: Axes, path: Trajectory) -> None:
    """φ²p/σ² of a few modes, from the smoothest to the roughest."""
    axis.set(xscale="log", yscale="log", title="signal-to-noise by mode, φ²p/σ²")
    if path.snr is None or path.eigenvalues is None:
        axis.text(0.5, 0.5, "modes are not known", transform=axis.transAxes, ha="center")
        return
    order = path.eigenvalues.argsort()
    for k, place in enumerate(np.unique(np.linspace(0, len(order) - 1, MODES).round().astype(int))):
        mode = int(order[place])
        shown = path.snr[:, mode].numpy()
        shown = np.where(shown > 1e-8, shown, np.nan)
        axis.plot(
            path.tau, shown, color=plt.get_cmap("viridis")(k / MODES), label=f"λ = {float(path.eigenvalues[mode]):.2g}"
        )
    axis.axhline(1, color="black", lw=0.5)
    axis.legend(fontsize=7)


def animate(path: Trajectory, target: Path, drawing: Drawing) -> None:
    """S_t and D beside each other, as a GIF."""
    figure, axes = plt.subplots(1, 2, figsize=(4.4, 2.5), layout="constrained")

    def show(frame: int) -> list[Axes]:
        k = min(frame, len(path.t) - 1)
        for axis, signals, name in zip(axes, (path.signal, path.denoised), ("$S_t$", "$D(S_t, t)$"), strict=True):
            axis.clear()
            drawing(axis, signals[k].numpy())
            axis.set_title(f"{name}, τ = {float(path.tau[k]):.2g}", fontsize=9)
        return list(axes)

    FuncAnimation(figure, show, frames=len(path.t) + STILL).save(target, writer=PillowWriter(fps=8), dpi=80)
    plt.close(figure)
