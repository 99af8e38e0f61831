"""Files of matrices: `.npy` arrays `[n, n]` or `[S, n, n]`."""

import numpy as np

from ...console import UsageError


def read_matrices(path: str) -> np.ndarray:
    """Matrices `[S, n, n]`, float64.

    Raises:
        UsageError: no such file, or none of square matrices.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: not a .npy array ({error})") from error
    if found.dtype.kind not in "fiu" or found.ndim not in (2, 3) or found.shape[-1] != found.shape[-2] or not found.size:
        raise UsageError(f"{path}: need square matrices [n, n] or [S, n, n], got {found.dtype} {list(found.shape)}")
    return found.astype(float).reshape(-1, *found.shape[-2:])
