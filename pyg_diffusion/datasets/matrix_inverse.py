"""MatrixInverse: random matrices and their inverses, as signals on the rook's graph of the entries."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ..data import grid_graph
from .one_graph import OneGraphDataset

SPLITS = ("train", "val", "test")


def inverse_pairs(x: Tensor, conditioning: float = 0.5) -> tuple[Tensor, Tensor]:
    """A = 2 X Xᵀ + c I and A⁻¹, float64, from `x [S, n, n]` (entries uniform in (-1, 1); Du, Mao and Tenenbaum 2024)."""
    x = x.double()
    a = 2 * x @ x.mT + conditioning * torch.eye(x.size(-1), dtype=x.dtype, device=x.device)
    return a, torch.cholesky_inverse(torch.linalg.cholesky(a))


def matrix_data(matrix: Tensor, inverse: bool = True) -> Data:
    """One square matrix `[n, n]` as data: the grid of its entries, `matrix [n², 1]` and, with `inverse`, `x [n², 1]` = A⁻¹.

    Raises:
        ValueError: the matrix is not square, not finite or, where its inverse is asked for, singular to its precision.

    Example:
        >>> import torch
        >>> from pyg_diffusion.datasets import matrix_data
        >>> matrix_data(2 * torch.eye(2)).x.T
        tensor([[0.5000, 0.0000, 0.0000, 0.5000]])
    """
    if matrix.dim() != 2 or matrix.size(0) != matrix.size(1) or not matrix.numel() or not matrix.is_floating_point():
        raise ValueError(f"a square matrix [n, n] of floating point numbers, n >= 1, is needed; got {list(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("the matrix has entries that are not finite")
    data = grid_graph(matrix.shape, "complete", dtype=matrix.dtype)
    data.matrix = matrix.reshape(-1, 1)
    if inverse:
        values = torch.linalg.svdvals(matrix.double())
        if float(values[-1]) <= float(values[0]) * len(values) * torch.finfo(matrix.dtype).eps:
            raise ValueError(f"the matrix is singular to its precision: singular values {values[0]:.3g} to {values[-1]:.3g}")
        data.x = torch.linalg.inv(matrix.double()).to(matrix.dtype).reshape(-1, 1)
    return data


class MatrixInverse(OneGraphDataset):
    r"""A = 2 X Xᵀ + c I with X ~ U(-1, 1)^{n×n}, and its inverse. Every item is the rook's graph K_n □ K_n with

    - `matrix [n², 1]`: the entries of A, row by row, float32;
    - `x [n², 1]`: those of A⁻¹, the signal.

    Sample k depends on (seed, split, k), n and c alone, so a test set is fixed once and for all; it is stored on the first
    use. c = 0.5 is the usual difficulty, 0.1 the harder one (median condition number at n = 20: 87 and 395). All items share
    one graph; do not change it in place. `matrices` and `inverses` are all of them without the graph, for training.

    Args:
        root: folder; each set of arguments has a folder of its own in `root/processed/`.
        n: rows.
        conditioning: c > 0.
        num_samples, seed: see above.
        split: "train", "val" or "test"; independent of each other whatever the seeds and sizes.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.

    Raises:
        ValueError: naming the argument.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from pyg_diffusion.datasets import MatrixInverse
        >>> with tempfile.TemporaryDirectory() as root:
        ...     data = MatrixInverse(root, n=4, num_samples=3)
        >>> product = data[0].matrix.view(4, 4) @ data[0].x.view(4, 4)
        >>> torch.allclose(product, torch.eye(4), atol=1e-4)
        True
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        n: int = 20,
        conditioning: float = 0.5,
        num_samples: int = 1000,
        seed: int = 0,
        split: str = "train",
        transform: Callable[[Data], Any] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
    ):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
        for name, value, least in (("n", n, 1), ("num_samples", num_samples, 0), ("seed", seed, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if not 0 < conditioning < float("inf"):
            raise ValueError(f"conditioning must be finite and > 0, or A may be singular; got {conditioning!r}")
        self.n, self.conditioning, self.num_samples, self.seed, self.split = n, float(conditioning), num_samples, seed, split
        key = [n, self.conditioning, num_samples, seed, split]
        graph, name = grid_graph((n, n), "complete"), f"inverse-{n}-{split}"
        super().__init__(root, graph, name, key, transform, pre_transform, pre_filter, force_reload)

    @property
    def matrices(self) -> Tensor:
        """A of (this part of) the dataset, `[S, n, n]`."""
        return self.stacked("matrix")

    @property
    def inverses(self) -> Tensor:
        """A⁻¹ of the same, `[S, n, n]`."""
        return self.stacked("inverse")

    def item(self, **row: Tensor) -> Data:
        return self.on_graph(matrix=row["matrix"].reshape(-1, 1), x=row["inverse"].reshape(-1, 1))

    def draw_all(self) -> dict[str, Tensor]:
        x = np.empty((self.num_samples, self.n, self.n))
        for k in range(self.num_samples):
            x[k] = np.random.default_rng([self.seed, SPLITS.index(self.split), k]).uniform(-1, 1, (self.n, self.n))
        matrix, inverse = (values.float() for values in inverse_pairs(torch.from_numpy(x), self.conditioning))
        return {"matrix": matrix, "inverse": inverse}
