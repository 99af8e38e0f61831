"""The picture of what `evaluate` measured of signals."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ..files import json_of
from ..plot import REFERENCE
from .scores import ERRORS, FLOOR


def plot_evaluation(source: Path, target: Path, what: str) -> None:
    """Errors of every method beside the sampling floor, and power spectra.

    Args:
        what: they are of, for the title.
    """
    result = json_of(source)
    methods = result["methods"]
    figure, (bars, spectra) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    names = sorted(methods, key=lambda name: name == FLOOR)
    errors = [error for error in ERRORS if all(error in methods[name] for name in names)]
    for k, name in enumerate(names):
        height = [max(methods[name][error], 1e-6) for error in errors]
        colour = REFERENCE if name == FLOOR else f"C{k}"
        bars.bar(np.arange(len(errors)) + 0.8 * k / len(names), height, 0.8 / len(names), label=name, color=colour)
    bars.set(yscale="log", title=f"error against held-out {what}")
    bars.set_xticks(np.arange(len(errors)) + 0.4, errors, rotation=20, fontsize=8)
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
