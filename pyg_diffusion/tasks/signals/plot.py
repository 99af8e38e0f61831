"""Pictures of signals."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch_geometric.data import Data

from ...data.signal_file import facts_in, read_signals
from ...data.signals import Names, SignalError, SignalSet
from ..trajectories import read_trajectories
from ..trajectory_plot import draw_trajectories
from .source import parts_of

EDGES = 20_000  # of a graph that are drawn


def plot_signals(source: Path, target: Path, count: int = 6) -> None:
    """The first signals of a file, and under them held-out ones, where these are still there."""
    data = facts_in(source)
    made = read_signals(source, Names(gaps=True))
    rows = [("generated" if data else "signals", made.take(np.arange(min(count, len(made)))))]
    if data.get("path") or data.get("dataset"):
        try:
            held = parts_of(data).test
            rows.append(("held out", held.take(np.arange(min(count, len(held))))))
        except ValueError:  # they have moved, or are others
            pass
    columns = max(len(signals) for _, signals in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(2 * columns, 2.2 * len(rows)), layout="constrained", squeeze=False
    )
    limit = float(max(torch.as_tensor(x).abs().max() for x in rows[-1][1].x)) or 1.0
    for line, (name, signals) in zip(axes, rows, strict=True):
        for axis in line[len(signals) :]:
            axis.axis("off")
        for k, axis in zip(range(len(signals)), line, strict=False):
            x = signals.x[k] if signals.known is None else torch.where(signals.known[k], signals.x[k], torch.nan)
            draw_signal(axis, signals.data(k), x.numpy(), limit, _title(signals, k))
        line[0].set_title(name, fontsize=9, loc="left")
    figure.savefig(target, dpi=120)
    plt.close(figure)


def _title(signals: SignalSet, k: int) -> str:
    return ", ".join(f"{name} {values[k]:g}" for name, values in signals.scalars.items())


def draw_signal(axis: Axes, graph: Data, x: np.ndarray, limit: float, title: str = "") -> None:
    """The first channel `[N, C]` of a signal: as an image on a grid of two axes, as dots where nodes have two positions or
    more, else over the nodes in their order."""
    axis.set_title(title, fontsize=8)
    value, pos = x[:, 0], graph.get("pos")
    style: dict[str, Any] = {"cmap": "coolwarm", "vmin": -limit, "vmax": limit}
    if "grid_shape" in graph and graph.grid_shape.size(1) == 2:
        axis.imshow(value.reshape(graph.grid_shape[0].tolist()), interpolation="nearest", **style)
    elif pos is not None and pos.size(1) >= 2:
        where, edges = pos[:, :2].numpy(), graph.edge_index.numpy()
        if edges.shape[1] <= EDGES:
            axis.add_collection(LineCollection(where[edges.T], colors="#dddddd", linewidths=0.3, zorder=0))
        front = slice(None) if pos.size(1) == 2 else np.argsort(pos[:, 2].numpy())  # those in front over the others
        size = max(1.0, min(30.0, 2000 / len(value)))
        axis.scatter(where[front, 0], where[front, 1], c=value[front], s=size, linewidths=0, **style)
        axis.set_aspect("equal")
    else:
        axis.plot(x, lw=1)
        axis.set_ylim(-limit, limit)
        return
    axis.axis("off")


def plot_trajectory(source: Path, target: Path) -> None:
    """Frames of the first signal, over the nodes in their order, and the distance of all to the end."""
    found, _ = read_trajectories(source)
    if not found:
        raise SignalError(f"{source}: no trajectories")
    limit = float(found[0].denoised[-1].abs().max())

    def drawing(axis: Axes, x: np.ndarray) -> None:
        axis.plot(x, lw=1)
        axis.set_ylim(-limit, limit)

    draw_trajectories(found, target, drawing, "")
