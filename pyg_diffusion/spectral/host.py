"""Transforms of grids on the CPU, `[graphs, n₁, ..., n_d, C]`, along axes where they lie: by ducc0 if installed, else SciPy.

A path takes the DCT-II, a cycle the discrete Hartley transform (ducc0 alone), a complete graph a reflection, all orthonormal
and in the order of modes of `grid.axis_eigenvalues`.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import scipy.fft
import torch
from torch import Tensor


@cache
def ducc() -> ModuleType | None:
    """`ducc0.fft`, None where it is not installed."""
    try:
        import ducc0.fft
    except ImportError:
        return None
    return ducc0.fft  # type: ignore[no-any-return]


def takes(kinds: Sequence[str]) -> bool:
    """Whether grids with axes of these kinds can be transformed here."""
    return "cycle" not in kinds or ducc() is not None


def turn(x: Tensor, kinds: Sequence[str], inverse: bool, overwrite: bool) -> Tensor:
    """Uᵀ x, or U x if `inverse`, of a contiguous signal on the CPU, which may be overwritten.

    Args:
        x: `[graphs, n₁, ..., n_d, C]`, float32 or float64.
        kinds: of the axes, those that `takes`.
    """
    x = x.detach()
    if not x.numel():
        return x.clone()
    for kind, step in (("path", _cosine), ("cycle", _hartley), ("complete", _reflect)):
        if axes := [a for a, name in enumerate(kinds, 1) if name == kind]:
            x, overwrite = step(x, axes, inverse, overwrite), True
    return x


def _cosine(x: Tensor, axes: list[int], inverse: bool, overwrite: bool) -> Tensor:
    kind, threads, fft = 3 if inverse else 2, torch.get_num_threads(), ducc()
    if fft is None:
        array = scipy.fft.dctn(x.numpy(), kind, axes=axes, norm="ortho", overwrite_x=overwrite, workers=threads)
        return torch.from_numpy(array)
    out = x if overwrite else torch.empty_like(x)
    fft.dct(x.numpy(), axes=axes, type=kind, inorm=1, out=out.numpy(), nthreads=threads)
    return out


def _hartley(x: Tensor, axes: list[int], inverse: bool, overwrite: bool) -> Tensor:
    fft = ducc()
    assert fft is not None
    out = x if overwrite else torch.empty_like(x)
    fft.separable_fht(x.numpy(), axes=axes, inorm=1, out=out.numpy(), nthreads=torch.get_num_threads())
    return out


def _reflect(x: Tensor, axes: list[int], inverse: bool, overwrite: bool) -> Tensor:
    """x - v (vᵀx) / (1 - s) with s = 1/√n, v = e₀ - s 1, which takes e₀ to the constant and is its own inverse."""
    x = x if overwrite else x.clone()
    for axis in axes:
        s, node = x.size(axis) ** -0.5, x.select(axis, 0)
        first = s * x.sum(axis)
        step = (node - first) * (s / (1 - s) if s < 1 else 0.0)
        x += step.unsqueeze(axis)
        node.copy_(first)
    return x
