"""The measures of fields, and two sets of fields compared by all of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..spectral import LaplacianOperator
from . import known_values
from .fields import (
    covariance_error,
    marginal_wasserstein,
    mmd,
    nearest_mse,
    same_shape,
    sliced_wasserstein,
    smoothness,
    spectrum_error,
    wasserstein,
)
from .registry import measure, measured


@dataclass(frozen=True)
class FieldSets:
    """Generated `[S, N, C]` and reference fields `[R, N, C]` of one graph.

    Attributes:
        projections, seed: of the sliced Wasserstein distance.
    """

    generated: Tensor
    reference: Tensor
    operator: LaplacianOperator
    projections: int = 512
    seed: int = 0

    @cached_property
    def rough(self) -> tuple[Tensor, Tensor]:
        """‖L S‖² of each generated and each reference field."""
        return smoothness(self.generated, self.operator), smoothness(self.reference, self.operator)


@measure("fields", error=True)
def spectrum(sets: FieldSets) -> float:
    """`spectrum_error`."""
    return spectrum_error(sets.generated, sets.reference, sets.operator)


@measure("fields", error=True)
def covariance(sets: FieldSets) -> float:
    """`covariance_error`."""
    return covariance_error(sets.generated, sets.reference)


@measure("fields", error=True)
def sliced(sets: FieldSets) -> float:
    """`sliced_wasserstein`."""
    return sliced_wasserstein(sets.generated, sets.reference, sets.projections, sets.seed)


@measure("fields", error=True)
def marginal(sets: FieldSets) -> float:
    """`marginal_wasserstein`."""
    return marginal_wasserstein(sets.generated, sets.reference)


@measure("fields", error=True)
def discrepancy(sets: FieldSets) -> float:
    """`mmd`."""
    return mmd(sets.generated, sets.reference)


@measure("fields", error=True)
def smoothness_distance(sets: FieldSets) -> float:
    """W₂ between the distributions of ‖L S‖², relative to the reference's mean."""
    made, wanted = sets.rough
    gap = wasserstein(made[:, None], wanted[:, None]).sqrt()
    return float(gap / wanted.mean().clamp_min(torch.finfo(torch.float64).tiny))


@measure("fields")
def mean_smoothness(sets: FieldSets) -> float:
    """Mean of ‖L S‖², to agree with the reference's own."""
    return float(sets.rough[0].mean())


@measure("fields")
def mean_mse(sets: FieldSets) -> float:
    """Mean squared error per entry to the reference's mean field; least for generators without any variety."""
    return float((sets.generated - sets.reference.mean(0)).square().mean())


@measure("fields")
def nearest(sets: FieldSets) -> float:
    """`nearest_mse` to the reference; least for generators without any variety."""
    return nearest_mse(sets.generated, sets.reference)


def compare_fields(
    generated: Tensor,
    reference: Tensor,
    operator: LaplacianOperator,
    projections: int = 512,
    seed: int = 0,
    gaps: bool = False,
) -> dict[str, float]:
    """Every measure of generated `[S, N, C]` against held-out `[R, N, C]` samples.

    Some are errors, 0 at best, `sampling_floor` at sensible best. `smoothness`, `mean_mse` and `nearest_mse` are not, but
    figures to agree with the reference's own.

    Args:
        operator: of one graph, such as `laplacian_operator(dataset[0], dtype=torch.float64)`.
        projections, seed: of the sliced Wasserstein distance.
        gaps: whether NaN is a value that nobody knows. The measures of `known_values` are then of all that is known, the
            others of the fields that are whole, and left out where a set has fewer than two of those.

    Raises:
        ValueError: shapes that do not fit, fields that are not finite.
        TypeError: a measure that gives no number.
    """
    if gaps:
        rows = {name: found(generated, reference) for name, found in known_values.BY_NAME.items()}
        few = known_values.whole(generated), known_values.whole(reference)
        return (compare_fields(*few, operator, projections, seed) if min(map(len, few)) > 1 else {}) | rows
    generated, reference = same_shape(generated, reference)
    sets = FieldSets(generated, reference, operator, projections, seed)
    values = {}
    for name, row in measured("fields", sets).items():
        if not isinstance(row.value, float | int):
            raise TypeError(f"the measure {name!r} of fields gives {row.value!r}, which is no number")
        values[name] = float(row.value)
    return values


def sampling_floor(
    held_out: Tensor,
    reference: Tensor,
    operator: LaplacianOperator,
    projections: int = 512,
    seed: int = 0,
    gaps: bool = False,
) -> dict[str, float]:
    """`compare_fields` of fresh samples of the law against the reference: the mean over blocks of the reference's size.

    Args:
        held_out: at least as many samples as the reference, and none of its own.
        projections, seed, gaps: as of `compare_fields`.
    """
    size = len(reference)
    if len(held_out) < size or not size:
        raise ValueError(f"the floor needs as many held-out samples as there are references, {size}; got {len(held_out)}")
    blocks = held_out[: len(held_out) // size * size].split(size)
    rows = [compare_fields(block, reference, operator, projections, seed, gaps) for block in blocks]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
