"""Graphs of fewer nodes: blocks of a grid, clusters of any other graph."""

import warnings

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce

from ..spectral import Laplacian, LowRankOperator
from ..spectral.clusters import Clusters
from ..spectral.grid import KINDS
from .grid import grid_graph

LOWEST = 8  # modes that place the nodes of a graph without positions


def coarsened(graph: Data, factor: int) -> tuple[Data, Clusters]:
    """A graph with a node for each cluster of nodes, and the clusters.

    Of a grid they are blocks of `factor` nodes along each axis, and make a grid of that spacing. Of another graph they are
    `factor` nodes on average, from Ward's tree of clusters that hang together (scikit-learn), by position or, where there is
    none, by the lowest modes: so those of a multiple contain them. The weight between two clusters is the sum of those
    between their nodes.

    Raises:
        ValueError: a grid that has no such blocks, or fewer than two clusters.
        ImportError: scikit-learn is not installed, and the graph is no grid.

    Example:
        >>> from pyg_diffusion.data import grid_graph
        >>> from pyg_diffusion.data.coarsen import coarsened
        >>> coarse, blocks = coarsened(grid_graph((4, 4), "cycle"), 2)
        >>> coarse.grid_shape.tolist(), coarse.grid_spacing.tolist(), blocks.of[:4].tolist()
        ([[2, 2]], [[2.0, 2.0]], [0, 0, 1, 1])
    """
    if factor == 1:
        return graph, Clusters.even(torch.arange(int(graph.num_nodes or 0)))
    if "grid_shape" in graph:
        return _blocks(graph, factor)
    nodes = int(graph.num_nodes or 0)
    count = round(nodes / factor)
    if count < 2:
        raise ValueError(f"clusters of {factor} of {nodes} nodes are fewer than two")
    clusters = Clusters.even(_ward(graph, count))
    return _between(graph, clusters), clusters


def _blocks(graph: Data, factor: int) -> tuple[Data, Clusters]:
    shape, kinds = graph.grid_shape[0].tolist(), [KINDS[k] for k in graph.grid_kind[0].tolist()]
    if any(n % factor for n in shape) or "complete" in kinds:
        raise ValueError(
            f"a {'x'.join(map(str, shape))} grid ({', '.join(kinds)}) has no blocks of {factor} along each axis"
        )
    if all(n == factor for n in shape):
        raise ValueError(f"blocks of {factor} leave nothing of a {'x'.join(map(str, shape))} grid")
    small = [n // factor for n in shape]
    index = torch.cartesian_prod(*(torch.arange(n) // factor for n in shape)).view(-1, len(shape))
    stride = torch.tensor([int(np.prod(small[a + 1 :])) for a in range(len(small))])
    spacing = [float(h) * factor for h in graph.grid_spacing[0]]
    return grid_graph(small, kinds, spacing), Clusters.even((index * stride).sum(1))


def _ward(graph: Data, count: int) -> Tensor:
    """Cluster of each node."""
    from sklearn.cluster import AgglomerativeClustering

    nodes, (row, col) = int(graph.num_nodes or 0), graph.edge_index.numpy()
    if graph.get("pos") is not None:
        place = graph.pos.numpy()
    else:
        laplacian = Laplacian.from_edges(graph.edge_index, nodes, graph.get("edge_weight"))
        place = LowRankOperator.from_laplacian(laplacian, k=min(LOWEST, nodes)).eigenvectors.numpy()
    joined = csr_array((np.ones(len(row)), (row, col)), shape=(nodes, nodes))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*connected components.*")  # which it joins by itself
        found = AgglomerativeClustering(count, connectivity=joined, linkage="ward").fit(place.astype(np.float64))
    return torch.from_numpy(found.labels_.astype(np.int64))


def _between(graph: Data, clusters: Clusters) -> Data:
    """The graph of clusters."""
    weight = graph.get("edge_weight")
    weight = torch.ones(graph.edge_index.size(1)) if weight is None else weight
    index = clusters.of[graph.edge_index]
    apart = index[0] != index[1]
    index, weight = coalesce(index[:, apart], weight[apart], num_nodes=clusters.number, reduce="sum")
    coarse = Data(edge_index=index, edge_weight=weight, num_nodes=clusters.number)
    if graph.get("pos") is not None:
        coarse.pos = clusters.means(graph.pos)
    return coarse
