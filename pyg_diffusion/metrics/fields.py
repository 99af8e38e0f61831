"""How good are generated fields? Two sets of samples `[S, N, C]` of one graph compared, and the baselines to beat.

Every error is 0 for identical sets, never for two finite sets of one law: `field_measures.sampling_floor` says what is left
there. With S samples in each set, squared errors of the floor go like 2/S, and what T training samples leave unknown adds
1/T: T should be ten times S or more.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..deprecated import moved
from ..spectral import ExactOperator, LaplacianOperator
from ..spectral.bands import band_powers
from ..spectral.sparse import SparseOperator

SMALL = 1e-3  # modes with less than this share of the mean power count as if they had it


def same_shape(*sets: Tensor) -> list[Tensor]:
    """The sets in float64, where they are `[S >= 1, N, C]` of one N and C, and finite."""
    for x in sets:
        if x.dim() != 3 or x.size(0) == 0 or x.shape[1:] != sets[0].shape[1:]:
            shapes = ", ".join(str(list(y.shape)) for y in sets)
            raise ValueError(f"fields must be [S >= 1, N, C] with the same N and C, got {shapes}")
        if not bool(torch.isfinite(x).all()):
            bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
            raise ValueError(f"{bad} of {x.size(0)} fields are not finite; a generator's failures must not go uncounted")
    return [x.double() for x in sets]


def _on_nodes(operator: LaplacianOperator, x: Tensor) -> Tensor:
    """Samples as channels: `[S, N, C] -> [N, S C]`, for the operator of one graph."""
    if operator.num_graphs != 1 or operator.num_nodes != x.size(1):
        raise ValueError(
            f"the operator must be that of one graph with {x.size(1)} nodes; it has {operator.num_graphs} graphs and "
            f"{operator.num_nodes} nodes"
        )
    return x.transpose(0, 1).reshape(x.size(1), -1).to(operator.dtype)


def spectrum_at(operator: LaplacianOperator) -> Tensor:
    """λ of what `power_spectrum` tells, `[M]`."""
    if isinstance(operator, ExactOperator):
        return operator.eigenvalues[0]
    return band_powers(_sparse(operator), torch.zeros(operator.num_nodes, 1))[0]


def _sparse(operator: LaplacianOperator) -> SparseOperator:
    if not isinstance(operator, SparseOperator):
        raise TypeError(f"a spectrum needs modes or a sparse operator, got {type(operator).__name__}")
    return operator


def power_spectrum(x: Tensor, operator: LaplacianOperator) -> Tensor:
    """p(λ_m) = E|Ŝ_m|² of each mode and channel, `[S, N, C] -> [M, C]`; on a graph that is not decomposed, of bands an
    octave wide in place of modes (`spectral.bands`)."""
    if not isinstance(operator, ExactOperator):
        bands = band_powers(_sparse(operator), _on_nodes(operator, x))[1].double()
        return bands.view(len(bands), x.size(0), x.size(2)).mean(1)
    modes = operator.to_modes(_on_nodes(operator, x))[0]
    return modes.double().view(modes.size(0), x.size(0), x.size(2)).square().mean(1)


def spectrum_error(generated: Tensor, reference: Tensor, operator: LaplacianOperator) -> float:
    """Mean over modes and channels of |p_gen - p_ref| / max(p_ref, `SMALL` · mean p_ref): every mode counts alike."""
    generated, reference = same_shape(generated, reference)
    p, q = power_spectrum(generated, operator), power_spectrum(reference, operator)
    return float(((p - q).abs() / q.clamp_min(SMALL * float(q.mean()))).mean()) if float(q.sum()) else float(p.sum() > 0)


def covariance_error(generated: Tensor, reference: Tensor) -> float:
    """‖Cov_gen - Cov_ref‖_F / ‖Cov_ref‖_F over all nodes and channels.

    By Gram matrices of the samples, so that no NC x NC matrix is formed: ⟨XᵀX, YᵀY⟩ = ‖X Yᵀ‖².
    """
    generated, reference = same_shape(generated, reference)
    if min(len(generated), len(reference)) < 2:
        raise ValueError("a covariance needs at least 2 samples")
    x, y = ((z - z.mean(0)).flatten(1) / math.sqrt(len(z) - 1) for z in (generated, reference))
    gg, gr, rr = ((a @ b.mT).square().sum() for a, b in ((x, x), (x, y), (y, y)))
    return float((gg - 2 * gr + rr).clamp_min(0).sqrt() / rr.sqrt().clamp_min(torch.finfo(torch.float64).tiny))


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of each column's empirical distributions, exact: `[S, P]`, `[R, P]` -> `[P]`."""
    (s, r), a, b = (len(a), len(b)), a.sort(0).values, b.sort(0).values
    if s == r:
        return (a - b).square().mean(0)
    # Both quantile functions are constant between the levels i/s and j/r, here in units of 1/(s r).
    levels = torch.cat([torch.arange(1, s + 1) * r, torch.arange(1, r + 1) * s]).unique().to(a.device)
    weight = levels.diff(prepend=levels.new_zeros(1)).to(a) / (s * r)
    return (weight[:, None] * (a[(levels - 1) // r] - b[(levels - 1) // s]).square()).sum(0)


def sliced_wasserstein(generated: Tensor, reference: Tensor, projections: int = 512, seed: int = 0) -> float:
    """√ of the mean W₂² of the projections on random unit vectors (Bonneel et al. 2015), in units of the field.

    In many dimensions projections of anything are nearly Gaussian: beside it look at `marginal_wasserstein`.
    """
    generated, reference = (x.flatten(1) for x in same_shape(generated, reference))
    rng = np.random.default_rng(seed)
    directions = torch.from_numpy(rng.standard_normal((generated.size(1), projections))).to(generated.device)
    directions /= directions.norm(dim=0)
    return float(wasserstein(generated @ directions, reference @ directions).mean().sqrt())


def marginal_wasserstein(generated: Tensor, reference: Tensor) -> float:
    """√ of the mean W₂² over every node's and channel's own distribution, in units of the field."""
    generated, reference = (x.flatten(1) for x in same_shape(generated, reference))
    return float(wasserstein(generated, reference).mean().sqrt())


def mmd(generated: Tensor, reference: Tensor) -> float:
    r"""√ of the biased maximum mean discrepancy (Gretton et al. 2012) with a sum of three Gaussian kernels.

    k(x, y) = ⅓ Σ_c exp(-|x - y|² / 2 c² h²), c = ½, 1, 2, h the median distance within the reference.
    """
    generated, reference = (x.flatten(1) for x in same_shape(generated, reference))
    within = torch.cdist(reference, reference)
    apart = ~torch.eye(len(reference), dtype=torch.bool, device=reference.device)
    h2 = float(within[apart].square().median()) if len(reference) > 1 else 0.0
    h2 = h2 or 1.0

    def kernel(d: Tensor) -> Tensor:
        return torch.stack([torch.exp(-d.square() / (2 * c**2 * h2)).mean() for c in (0.5, 1.0, 2.0)]).mean()

    value = kernel(torch.cdist(generated, generated)) - 2 * kernel(torch.cdist(generated, reference)) + kernel(within)
    return float(value.clamp_min(0).sqrt())


def smoothness(x: Tensor, operator: LaplacianOperator) -> Tensor:
    """‖L S‖² of each sample, `[S, N, C] -> [S]`."""
    rough = operator.apply(lambda lam: lam, _on_nodes(operator, x))
    return rough.double().view(x.size(1), x.size(0), x.size(2)).square().sum((0, 2))


def nearest_mse(generated: Tensor, others: Tensor) -> float:
    """Mean over generated samples of the squared error per entry to the nearest of the others.

    With the training set as the others it shows copying: far below what fresh samples of the law have.
    """
    generated, others = (x.flatten(1) for x in same_shape(generated, others))
    nearest = torch.cat([torch.cdist(block, others).amin(1) for block in generated.split(256)])
    return float(nearest.square().mean() / max(generated.size(1), 1))


def interpolation(train: Tensor, count: int, seed: int = 0) -> Tensor:
    """Baseline: (1 - u) a + u b between two different random training samples, u uniform, `[count, N, C]`."""
    (train,), rng = same_shape(train), np.random.default_rng(seed)
    if len(train) < 2:
        raise ValueError("interpolation needs at least 2 training samples")
    a = rng.integers(len(train), size=count)
    b = (a + rng.integers(1, len(train), size=count)) % len(train)
    return torch.lerp(train[a], train[b], torch.from_numpy(rng.random((count, 1, 1))).to(train.device))


def uniform(train: Tensor, count: int, seed: int = 0) -> Tensor:
    """Baseline: every entry uniform between the least and the largest value of its channel, `[count, N, C]`."""
    (train,), rng = same_shape(train), np.random.default_rng(seed)
    low, high = train.amin((0, 1)), train.amax((0, 1))
    return low + (high - low) * torch.from_numpy(rng.random((count, *train.shape[1:]))).to(train.device)


def gaussian_iid(train: Tensor, count: int, seed: int = 0) -> Tensor:
    """Baseline: every entry normal with its own training mean and standard deviation, independent, `[count, N, C]`."""
    (train,), rng = same_shape(train), np.random.default_rng(seed)
    noise = torch.from_numpy(rng.standard_normal((count, *train.shape[1:]))).to(train.device)
    return train.mean(0) + train.std(0, correction=min(1, len(train) - 1)) * noise


def gaussian_cov(train: Tensor, count: int, seed: int = 0) -> Tensor:
    """Baseline: normal with the training mean and covariance, `[count, N, C]`: mean + Xᵀz/√(T - 1), X centred samples."""
    (train,), rng = same_shape(train), np.random.default_rng(seed)
    if len(train) < 2:
        raise ValueError("a covariance needs at least 2 samples")
    z = torch.from_numpy(rng.standard_normal((count, len(train)))).to(train.device)
    mean = train.mean(0)
    draws = z @ (train - mean).flatten(1) / math.sqrt(len(train) - 1)
    return mean + draws.view(count, *train.shape[1:])


BASELINES = {f.__name__: f for f in (interpolation, uniform, gaussian_iid, gaussian_cov)}

__getattr__ = moved(__name__, dict.fromkeys(("compare_fields", "sampling_floor"), "metrics.field_measures"))
