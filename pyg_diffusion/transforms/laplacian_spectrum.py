"""AddLaplacianSpectrum: attach (λ, U) of a graph's Laplacian."""

from typing import Literal

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from ..spectral import laplacian_spectrum


@functional_transform("add_laplacian_spectrum")
class AddLaplacianSpectrum(BaseTransform):
    r"""Adds the eigendecomposition L = U diag(λ) Uᵀ of the combinatorial Laplacian L = D - W.

    Decomposed in float64, null modes counted by connected component (λ exactly 0, the constant first), then cast. Writes
    `data.eigenvalues [N]` and `data.eigenvectors [N²]`, row-major and flat so that a PyG batch can concatenate them.

    Args:
        weight: name of the attribute with edge weights >= 0, or None for unit weights.
        dtype: "float32" or "float64".
    """

    def __init__(self, weight: str | None = None, dtype: Literal["float32", "float64"] = "float32"):
        self.weight, self.dtype = weight, dtype

    def forward(self, data: Data) -> Data:
        weight = None if self.weight is None else data[self.weight]
        lam, u = laplacian_spectrum(data.edge_index, int(data.num_nodes or 0), weight)
        dtype = getattr(torch, self.dtype)
        data.eigenvalues, data.eigenvectors = lam.to(dtype), u.to(dtype).flatten()
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(weight={self.weight!r}, dtype={self.dtype!r})"
