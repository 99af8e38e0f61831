"""Tables and plot of `matrix_inversion.py`."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def spread(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{np.exp(np.mean(np.log(values))):.1e} ({low:.1e} to {high:.1e})" if len(values) > 1 else f"{values[0]:.1e}"


def plot(record: dict, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    for name, (same, harder) in record["rows"].items():
        ours = name.startswith("ours")
        axes[0].plot(same, harder, "o" if ours else "x", color="C3" if ours else "0.4")
        axes[0].annotate(name, (same, harder), fontsize=6, xytext=(3, 2), textcoords="offset points")
    axes[0].set(xscale="log", yscale="log", xlabel="MSE, same", ylabel="MSE, harder", title="n = 20, 500 matrices")
    for k, name in enumerate(("same", "harder")):
        points = [(r["landscapes"] * r["steps"], r[name]) for r in record["steps"]]
        axes[1].plot(*zip(*sorted(points), strict=True), "o", color=f"C{k}", label=name)
    axes[1].set(xscale="log", yscale="log", xlabel="steps in all", ylabel="MSE", title="accuracy against descent steps")
    axes[1].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def show(rows: dict[str, tuple], seeds: dict[str, dict], tests: Iterable[str]) -> None:
    print(f"{'MSE per entry, n = 20':48} {'same':>9} {'harder':>9}")
    for name, (same, harder) in rows.items():
        print(f"{name:48} {same:>9.2g} {harder:>9.2g}")
    for name, values in seeds.items():
        same, harder = (spread([r[k] for r in values["results"]]) for k in tests)
        print(f"{name}, geometric mean and range of seeds: same {same}, harder {harder}")


def show_mining(mined: list[dict], exact: dict[str, dict[str, float]], tests: Iterable[str]) -> None:
    head = " ".join(f"{k:>32} {'ratio':>6} {'p':>5}" for k in tests)
    print(f"{'net':>6} {'negatives':>12} {'ms/step':>8} {head} false kept")
    for r in mined:
        cells = []
        for k in tests:
            p = r[f"{k}_p"]
            cells.append(f"{spread(r[k]):>32} {r[f'{k}_ratio']:>6.2f} {'-' if p is None else f'{p:.2f}':>5}")
        share = r["mining"]
        tail = f"{share['false_negatives']:.2f} {share['kept']:.2f}" if share else ""
        print(f"{r['net']:>6} {r['miner']:>12} {r['ms_per_step']:>8.1f} {cells[0]} {cells[1]} {tail}")
    for miner, shares in exact.items():
        cells = " ".join(f"{share:.2f}" for share in shares.values())
        print(f"false negatives on the exact energy at σ = {', '.join(shares)}: {miner:>12} {cells}")
