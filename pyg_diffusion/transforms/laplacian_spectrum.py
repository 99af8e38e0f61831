"""AddLaplacianSpectrum: attach (λ, U) of a graph's Laplacian."""

from typing import Literal

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from ..data.operator import edge_weights, edges_of
from ..spectral import DenseOperator


@functional_transform("add_laplacian_spectrum")
class AddLaplacianSpectrum(BaseTransform):
    r"""Adds the eigendecomposition L = U diag(λ) Uᵀ of L = D - W, or of L = I - D^{-1/2} W D^{-1/2}.

    Decomposed in float64, null modes counted by connected component (λ exactly 0, the constant first), then cast. Writes
    `data.eigenvalues [N]` and `data.eigenvectors [N²]`, row-major and flat so that a PyG batch can concatenate them.
    `laplacian_operator` takes them from there, after a check that they belong to the edges and weights it is asked for; so
    weights that are added or changed must come before this transform.

    Args:
        weight: name of the attribute with edge weights >= 0, `[E]`, or None for unit weights. "edge_weight" may be absent
            and means 1 then.
        dtype: "float32" or "float64".
        normalized: take the symmetrically normalised Laplacian. An isolated node's row is 0.

    Edges may also stand in `adj_t`, as `ToSparseTensor` leaves them.

    Raises:
        TypeError, ValueError: in one sentence, as for `laplacian_operator`.

    Example:
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> from pyg_diffusion.transforms import AddLaplacianSpectrum
        >>> data = AddLaplacianSpectrum()(grid_graph((3,)))
        >>> data.eigenvalues
        tensor([0., 1., 3.])
        >>> type(laplacian_operator(data)).__name__
        'DenseOperator'
    """

    def __init__(
        self,
        weight: str | None = "edge_weight",
        dtype: Literal["float32", "float64"] = "float32",
        normalized: bool = False,
    ):
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self.weight, self.dtype, self.normalized = weight, dtype, normalized

    def forward(self, data: Data) -> Data:
        operator = DenseOperator.from_edges(
            edges_of(data),
            int(data.num_nodes or 0),
            edge_weights(data, self.weight),
            num_graphs=1,
            normalized=self.normalized,
        )
        dtype = getattr(torch, self.dtype)
        data.eigenvalues, data.eigenvectors = operator.eigenvalues[0].to(dtype), operator.eigenvectors[0].to(dtype).flatten()
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(weight={self.weight!r}, dtype={self.dtype!r}, normalized={self.normalized})"
