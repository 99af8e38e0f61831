"""Blocks of grids and clusters of other graphs."""

import pytest
import torch
from torch_geometric.data import Data

from pyg_diffusion.data import grid_graph
from pyg_diffusion.data.coarsen import coarsened
from pyg_diffusion.datasets.graph_fields import sensor_graph
from pyg_diffusion.spectral import Laplacian


def test_blocks_of_a_grid():
    coarse, blocks = coarsened(grid_graph((4, 6), ("cycle", "path"), 0.5), 2)
    x = torch.arange(24.0)[:, None]
    wanted = x.view(2, 2, 3, 2).mean((1, 3)).view(6, 1)
    torch.testing.assert_close(blocks.means(x), wanted)
    expected = grid_graph((2, 3), ("cycle", "path"), 1.0)
    assert torch.equal(coarse.edge_index, expected.edge_index) and torch.equal(coarse.edge_weight, expected.edge_weight)
    assert torch.equal(coarse.grid_shape, expected.grid_shape)


@pytest.mark.parametrize(
    ("graph", "factor", "said"),
    [
        (grid_graph((4, 6)), 4, r"a 4x6 grid \(path, path\) has no blocks of 4"),
        (grid_graph((4, 4), "complete"), 2, "complete"),
        (grid_graph((4, 4)), 4, "leave nothing of a 4x4 grid"),
        (sensor_graph(8), 8, "clusters of 8 of 8 nodes are fewer than two"),
    ],
)
def test_what_cannot_be_coarsened(graph, factor, said):
    with pytest.raises(ValueError, match=said):
        coarsened(graph, factor)


@pytest.mark.parametrize("placed", [True, False])
def test_clusters_of_a_graph(placed):
    pytest.importorskip("sklearn")
    graph = sensor_graph(60)
    if not placed:
        del graph.pos
    whole = float(graph.edge_weight.sum())
    fine, small = coarsened(graph, 3)
    coarse, large = coarsened(graph, 12)
    assert (small.number, large.number, fine.num_nodes, coarse.num_nodes) == (20, 5, 20, 5)
    within = small.within(large)  # those of a multiple contain them
    torch.testing.assert_close(within.weight.sum(), torch.tensor(60.0, dtype=torch.float64))
    Laplacian.from_edges(coarse.edge_index, 5, coarse.edge_weight)  # symmetric, no negative weight
    inside = float(graph.edge_weight[small.of[graph.edge_index[0]] == small.of[graph.edge_index[1]]].sum())
    assert abs(float(fine.edge_weight.sum()) + inside - whole) < 1e-3
    assert ("pos" in fine) == placed and torch.equal(coarsened(graph, 3)[1].of, small.of)
    for k in range(5):  # each hangs together
        mine = (large.of == k).nonzero().flatten()
        kept = torch.isin(graph.edge_index, mine).all(0)
        reached = {int(mine[0])}
        for _ in range(60):
            reached |= {int(j) for i, j in graph.edge_index[:, kept].T.tolist() if i in reached}
        assert len(reached) == len(mine)


def test_one_is_the_graph_itself():
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    same, clusters = coarsened(graph, 1)
    assert same is graph and clusters.of.tolist() == [0, 1]
