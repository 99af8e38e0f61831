"""MatrixInverse: random matrices and their inverses, as signals on the rook's graph of the entries."""

import copy
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset
from torch_geometric.data.collate import collate
from torch_geometric.data.dataset import _repr
from torch_geometric.data.separate import separate

from ..data import grid_graph

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


class MatrixInverse(Dataset):
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
    """

    def __init__(
        self,
        root: str | os.PathLike,
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
        self._graph = grid_graph((n, n), "complete")
        self._key = [n, self.conditioning, num_samples, seed, split, _repr(pre_transform), _repr(pre_filter)]
        super().__init__(os.path.expanduser(os.fspath(root)), transform, pre_transform, pre_filter, True, force_reload)
        stored = torch.load(self.processed_paths[0], weights_only=True, mmap=True)
        self._matrices, self._inverses, self._slices = stored["matrix"], stored["inverse"], stored["slices"]
        self._items = None if self._slices is None else Data.from_dict(stored["items"])

    @property
    def raw_file_names(self) -> list[str]:
        return []

    @property
    def processed_dir(self) -> str:
        digest = hashlib.sha256(json.dumps(self._key).encode()).hexdigest()[:16]
        return os.path.join(self.root, "processed", f"inverse-{self.n}-{self.split}-{digest}")

    @property
    def processed_file_names(self) -> list[str]:
        return ["matrices.pt"]

    @property
    def matrices(self) -> Tensor:
        """A of (this part of) the dataset, `[S, n, n]`."""
        return self._matrices if self._indices is None else self._matrices[list(self._indices)]

    @property
    def inverses(self) -> Tensor:
        """A⁻¹ of the same, `[S, n, n]`."""
        return self._inverses if self._indices is None else self._inverses[list(self._indices)]

    def _item(self, matrix: Tensor, inverse: Tensor) -> Data:
        data = copy.copy(self._graph)
        data.matrix, data.x = matrix.reshape(-1, 1).clone(), inverse.reshape(-1, 1).clone()
        return data

    def process(self) -> None:
        x = np.empty((self.num_samples, self.n, self.n))
        for k in range(self.num_samples):
            x[k] = np.random.default_rng([self.seed, SPLITS.index(self.split), k]).uniform(-1, 1, (self.n, self.n))
        pairs = [values.float() for values in inverse_pairs(torch.from_numpy(x), self.conditioning)]
        if self.pre_filter is not None:
            kept = [bool(self.pre_filter(self._item(*pair))) for pair in zip(*pairs, strict=True)]
            pairs = [values[kept] for values in pairs]
        stored: dict[str, Any] = {"matrix": pairs[0], "inverse": pairs[1], "items": None, "slices": None}
        if self.pre_transform is not None and len(pairs[0]):
            items = [self.pre_transform(self._item(*pair)) for pair in zip(*pairs, strict=True)]
            merged, slices, _ = collate(Data, items, increment=False, add_batch=False)
            stored |= {"items": merged.to_dict(), "slices": dict(slices)}
        path = self.processed_paths[0]
        torch.save(stored, f"{path}.part")
        os.replace(f"{path}.part", path)  # an interrupted run leaves no half file behind

    def len(self) -> int:
        return len(self._matrices)

    def get(self, idx: int) -> Data:
        if self._items is None:
            return self._item(self._matrices[idx], self._inverses[idx])
        return separate(Data, self._items, idx=idx, slice_dict=self._slices, decrement=False).apply(torch.clone)
