"""Digits: handwritten digits as signals on a grid."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..data.grid import grid_graph
from .one_graph import OneGraphDataset


class Digits(OneGraphDataset):
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak 1998), on a grid.

    Items: `x [64, 1]`, ink from -1 to 1, `digit [1]`, and the grid (`grid_graph`).

    Args:
        root: folder; the signals are kept in it.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.

    Raises:
        ImportError: there is no scikit-learn.

    Example:
        >>> import tempfile
        >>> from pyg_diffusion.datasets import Digits
        >>> with tempfile.TemporaryDirectory() as root:
        ...     digits = Digits(root)
        ...     len(digits), digits[7].x.shape, int(digits[7].digit)
        (1797, torch.Size([64, 1]), 7)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Data], Any] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
    ):
        super().__init__(root, grid_graph((8, 8)), "digits", [1], transform, pre_transform, pre_filter, force_reload)

    def item(self, **row: Tensor) -> Data:
        return self.on_graph(x=row["x"], digit=row["digit"][None])

    def draw_all(self) -> dict[str, Tensor]:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError("the digits come with scikit-learn: pip install scikit-learn") from error
        found = load_digits()
        return {"x": torch.from_numpy(found.data).float()[:, :, None] / 8 - 1, "digit": torch.from_numpy(found.target)}
