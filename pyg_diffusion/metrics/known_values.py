"""Measures of fields `[S, N, C]` in which NaN stands for what nobody knows: those that need no whole field.

Each is of all values that are known, and what it is without NaN where there is none.
"""

import torch
from torch import Tensor

from .fields import wasserstein

BLOCK = 256  # rows of a covariance at once


def whole(x: Tensor) -> Tensor:
    """Those of fields `[S, N, C]` of which all is known."""
    return x[~x.flatten(1).isnan().any(1)]


def _pairs(x: Tensor, begin: int) -> tuple[Tensor, Tensor]:
    """Rows of the covariance of `[S, P]` from one on, each pair over the samples that know both, and how many those are."""
    known = (~x.isnan()).to(x)
    x = torch.where(x.isnan(), 0, x)
    some, seen = x[:, begin : begin + BLOCK], known[:, begin : begin + BLOCK]
    count = seen.mT @ known
    product = some.mT @ x - (some.mT @ known) * (seen.mT @ x) / count.clamp_min(1)
    return product / (count - 1).clamp_min(1), count


def covariance_error(generated: Tensor, reference: Tensor) -> float:
    """‖Cov_gen - Cov_ref‖_F / ‖Cov_ref‖_F over the pairs of entries that two samples of each set know together.

    Example:
        >>> import torch
        >>> from pyg_diffusion.metrics.known_values import covariance_error
        >>> x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, float("nan")]])[:, :, None]
        >>> round(covariance_error(2 * x, x), 6)  # 4 Cov - Cov
        3.0
    """
    generated, reference = (x.double().flatten(1) for x in (generated, reference))
    if min(len(generated), len(reference)) < 2:
        raise ValueError("a covariance needs at least 2 samples")
    # The same centre for both, as differences of large numbers lose digits.
    centre = torch.nan_to_num(reference.nanmean(0))
    generated, reference = generated - centre, reference - centre
    gap = size = 0.0
    for begin in range(0, generated.size(1), BLOCK):
        (a, m), (b, n) = _pairs(generated, begin), _pairs(reference, begin)
        both = (m > 1) & (n > 1)
        gap += float(torch.where(both, a - b, 0).square().sum())
        size += float(torch.where(both, b, 0).square().sum())
    return float((gap / max(size, torch.finfo(torch.float64).tiny)) ** 0.5)


def marginal_wasserstein(generated: Tensor, reference: Tensor) -> float:
    """√ of the mean W₂² over the distribution of every node and channel that both sets know, in units of the field.

    Raises:
        ValueError: there is no such node.
    """
    squares = []
    for a, b in zip(generated.double().flatten(1).T, reference.double().flatten(1).T, strict=True):
        a, b = a[~a.isnan()], b[~b.isnan()]
        if len(a) and len(b):
            squares.append(wasserstein(a[:, None], b[:, None]))
    if not squares:
        raise ValueError("there is no node whose value is known in both sets")
    return float(torch.cat(squares).mean().sqrt())


def mean_mse(generated: Tensor, reference: Tensor) -> float:
    """Mean squared error per known entry to the mean of what the reference knows there."""
    return float((generated.double() - reference.double().nanmean(0)).square().nanmean())


BY_NAME = {"covariance": covariance_error, "marginal_wasserstein": marginal_wasserstein, "mean_mse": mean_mse}
