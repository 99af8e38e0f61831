"""Measures by name: the rows of what `evaluate` tells of a file of samples.

A measure is a function and a line in `MEASURES`. Another package brings one through the entry point group
`pyg_diffusion.metrics`, a program through `MEASURES.add`; it is then a row of the table like all others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..registry import Registry

Value = float | int | str | None


@dataclass(frozen=True)
class Measure:
    """One measure of the samples of one task.

    Attributes:
        of: name of the task.
        function: of what that task gives its measures (molecules: `molecule_measures.Scored`, signals of one graph:
            `field_measures.FieldSets`, of graphs that differ: `graph_signals.SignalSets`); gives the value, None where there
            is nothing to measure, or several rows by name.
        unit: of every value, "" for shares, counts and texts.
        error: 0 for samples of the right law, if there are enough: then a table may tell it in multiples of what fresh
            samples of the law have.
    """

    of: str
    function: Callable[[Any], Value | Mapping[str, Value]]
    unit: str = ""
    error: bool = False

    def __call__(self, given: Any) -> Value | Mapping[str, Value]:
        return self.function(given)


def measure(of: str, unit: str = "", error: bool = False) -> Callable[[Callable[[Any], Any]], Measure]:
    """A decorator that makes a function a `Measure`.

    Example:
        >>> from pyg_diffusion.metrics import MEASURES, measure, measured
        >>> @measure("walks", unit="m")
        ... def length(steps):
        ...     return float(sum(steps))
        >>> MEASURES.add("length", length)
        >>> measured("walks", [1.0, 2.5])
        {'length': Row(value=3.5, unit='m', error=False)}
        >>> MEASURES.remove("length")
    """
    return lambda function: Measure(of, function, unit, error)


_MOLECULES, _FIELDS = "pyg_diffusion.metrics.molecule_measures", "pyg_diffusion.metrics.field_measures"
_SIGNALS = "pyg_diffusion.metrics.graph_signals"
MEASURES: Registry[Measure] = Registry(
    "metrics",
    {
        "conformers": f"{_MOLECULES}:conformers",
        "status": f"{_MOLECULES}:status",
        "unmatched": f"{_MOLECULES}:unmatched",
        "yield": f"{_MOLECULES}:valid",
        "unsolved molecules": f"{_MOLECULES}:unsolved",
        "RMSD an upper bound": f"{_MOLECULES}:upper_bounds",
        "stereo right": f"{_MOLECULES}:stereo",
        "coverage": f"{_MOLECULES}:coverage",
        "AMR-R": f"{_MOLECULES}:amr_r",
        "AMR-P": f"{_MOLECULES}:amr_p",
        "AMR-R all": f"{_MOLECULES}:amr_r_all",
        "AMR-P all": f"{_MOLECULES}:amr_p_all",
        "bond MAE": f"{_MOLECULES}:bond_mae",
        "angle MAE": f"{_MOLECULES}:angle_mae",
        "bond MAE heavy": f"{_MOLECULES}:heavy_bond_mae",
        "angle MAE heavy": f"{_MOLECULES}:heavy_angle_mae",
        "sound": f"{_MOLECULES}:sound",
        "clashes": f"{_MOLECULES}:clashes",
        "faults": f"{_MOLECULES}:faults",
        "PoseBusters": f"{_MOLECULES}:posebusters",
        "strain": f"{_MOLECULES}:strain",
        "strain known": f"{_MOLECULES}:strain_known",
        "best of": f"{_MOLECULES}:best_of",
        "best of, shares": f"{_MOLECULES}:best_of_shares",
        "spectrum": f"{_FIELDS}:spectrum",
        "covariance": f"{_FIELDS}:covariance",
        "sliced_wasserstein": f"{_FIELDS}:sliced",
        "marginal_wasserstein": f"{_FIELDS}:marginal",
        "mmd": f"{_FIELDS}:discrepancy",
        "smoothness_wasserstein": f"{_FIELDS}:smoothness_distance",
        "smoothness": f"{_FIELDS}:mean_smoothness",
        "mean_mse": f"{_FIELDS}:mean_mse",
        "nearest_mse": f"{_FIELDS}:nearest",
        "binned_spectrum": f"{_SIGNALS}:binned_spectrum",
        "values_wasserstein": f"{_SIGNALS}:values_wasserstein",
        "roughness_wasserstein": f"{_SIGNALS}:roughness_wasserstein",
        "roughness": f"{_SIGNALS}:roughness",
        "power": f"{_SIGNALS}:power",
    },
)


class Row(NamedTuple):
    """One value with what its measure says of it."""

    value: Value
    unit: str
    error: bool


def measured(of: str, given: Any) -> dict[str, Row]:
    """Every measure of a task's samples, in the order of `MEASURES`.

    Args:
        of: name of the task.
        given: what the task gives its measures.
    """
    rows: dict[str, Row] = {}
    for name, one in MEASURES.items():
        if one.of == of:
            found = one(given)
            values = found if isinstance(found, Mapping) else {name: found}
            rows |= {row: Row(value, one.unit, one.error) for row, value in values.items()}
    return rows
