"""GraphFields: Gaussian fields of known law on irregular graphs."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial import ConvexHull, Delaunay
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, to_undirected

from ..data.operator import laplacian_operator
from ..spectral import DenseOperator
from .one_graph import OneGraphDataset

VERSION = 1
DENSE = 3000  # nodes up to which fields are exact; beyond, to 1e-6 of the largest
TOGETHER = 256  # fields that are drawn at once


def sensor_graph(nodes: int, seed: int = 0) -> Data:
    """Random points in the unit square, joined by their Delaunay triangulation, weights exp(-d²/2d̄²).

    Example:
        >>> from pyg_diffusion.datasets.graph_fields import sensor_graph
        >>> sensor_graph(50).pos.shape
        torch.Size([50, 2])
    """
    if nodes < 4:
        raise ValueError(f"a triangulation needs at least 4 nodes, got {nodes}")
    points = np.random.default_rng(seed).random((nodes, 2))
    index = _sides(Delaunay(points).simplices)
    length = np.linalg.norm(points[index[0].numpy()] - points[index[1].numpy()], axis=1)
    weight = torch.from_numpy(np.exp(-((length / length.mean()) ** 2) / 2)).float()
    return Data(edge_index=index, edge_weight=weight, pos=torch.from_numpy(points).float(), num_nodes=nodes)


def sphere_graph(nodes: int) -> Data:
    """A mesh of the unit sphere: points of a Fibonacci spiral, joined by their convex hull.

    Example:
        >>> from pyg_diffusion.datasets.graph_fields import sphere_graph
        >>> sphere_graph(50).edge_index.shape  # Euler: 3 N - 6 edges, both ways
        torch.Size([2, 288])
    """
    if nodes < 4:
        raise ValueError(f"a mesh needs at least 4 nodes, got {nodes}")
    k = np.arange(nodes) + 0.5
    z, turn = 1 - 2 * k / nodes, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z**2)
    points = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1)
    return Data(edge_index=_sides(ConvexHull(points).simplices), pos=torch.from_numpy(points).float(), num_nodes=nodes)


def _sides(triangles: np.ndarray) -> Tensor:
    """Both directions of all sides, `[2, E]`."""
    corners = torch.from_numpy(triangles.astype(np.int64))
    pairs = torch.cat([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    index: Tensor = coalesce(to_undirected(pairs))
    return index


GRAPHS: dict[str, Callable[[int], Data]] = {"sensors": sensor_graph, "sphere": sphere_graph}


class GraphFields(OneGraphDataset):
    r"""Fields N(0, p(L)) on an irregular graph, p(λ) = (1 + ℓ² λ)^{-ν}: the smoother, the larger ℓ and ν (a Matérn field, as
    Whittle and Lindgren have it on any graph).

    Items: `x [N, 1]`, and the graph, with positions.

    Args:
        root: folder; the signals are kept in it.
        graph: "sensors" (`sensor_graph`) or "sphere" (`sphere_graph`).
        num_nodes, num_samples: how many.
        length, nu: ℓ and ν.
        seed: of the fields; field k is the same whatever their number.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.

    Raises:
        ValueError: no such graph, or an argument out of range.

    Example:
        >>> import tempfile
        >>> from pyg_diffusion.datasets import GraphFields
        >>> with tempfile.TemporaryDirectory() as root:
        ...     fields = GraphFields(root, "sphere", num_nodes=20, num_samples=3)
        ...     len(fields), fields[0].x.shape
        (3, torch.Size([20, 1]))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        graph: str = "sensors",
        num_nodes: int = 2000,
        num_samples: int = 1000,
        length: float = 3.0,
        nu: float = 2.0,
        seed: int = 0,
        transform: Callable[[Data], Any] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
    ):
        if graph not in GRAPHS:
            raise ValueError(f"graph must be one of {', '.join(GRAPHS)}, got {graph!r}")
        if num_samples < 1 or not length >= 0 or not nu >= 0:
            raise ValueError(f"need num_samples >= 1, length >= 0 and nu >= 0, got {num_samples}, {length} and {nu}")
        self.length, self.nu, self.num_samples, self.seed = length, nu, num_samples, seed
        key = {"version": VERSION, "law": [length, nu], "graph": [graph, num_nodes], "samples": [seed, num_samples]}
        made = GRAPHS[graph](num_nodes)
        super().__init__(root, made, f"{graph}-fields", key, transform, pre_transform, pre_filter, force_reload)

    @property
    def fields(self) -> Tensor:
        """All fields, `[S, N, 1]`."""
        return self.stacked("x")

    def power(self, lam: Tensor) -> Tensor:
        """p(λ)."""
        return (1 + self.length**2 * lam) ** -self.nu

    def item(self, **row: Tensor) -> Data:
        return self.on_graph(x=row["x"])

    def draw_all(self) -> dict[str, Tensor]:
        nodes = int(self._graph.num_nodes or 0)
        exact = DenseOperator.from_laplacian if nodes <= DENSE else None
        operator, pieces = laplacian_operator(self._graph, exact), []
        for begin in range(0, self.num_samples, TOGETHER):
            numbers = range(begin, min(begin + TOGETHER, self.num_samples))
            noise = np.stack([np.random.default_rng([self.seed, k]).standard_normal(nodes, np.float32) for k in numbers], 1)
            pieces.append(operator.apply(lambda lam: self.power(lam).sqrt(), torch.from_numpy(noise)).T)
        return {"x": torch.cat(pieces)[:, :, None]}
