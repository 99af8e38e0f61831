"""What pictures share, and the curves of a training run."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

REFERENCE, OURS = "#9a9a9a", "#c0392b"


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


def plot_run(run_dir: Path, target: Path) -> None:
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
