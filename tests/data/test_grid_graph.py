import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.utils import get_laplacian, to_dense_adj

from pyg_diffusion.data import grid_graph
from pyg_diffusion.data.grid import num_edges

AXES = {
    "path": lambda n: np.diff(np.eye(n), axis=0).T @ np.diff(np.eye(n), axis=0),
    "cycle": lambda n: 2 * np.eye(n) - np.roll(np.eye(n), 1, 0) - np.roll(np.eye(n), -1, 0),
    "complete": lambda n: n * np.eye(n) - np.ones((n, n)),
}
axis = st.tuples(st.integers(1, 5), st.sampled_from(sorted(AXES)), st.floats(0.1, 10))


@settings(deadline=None, max_examples=60)
@given(st.lists(axis, min_size=1, max_size=3))
def test_laplacian_is_the_kronecker_sum(axes):
    shape, kinds, spacing = zip(*axes, strict=True)
    data = grid_graph(shape, kinds, spacing, dtype=torch.float64)
    n = int(np.prod(shape))
    expected = np.zeros((n, n))
    for a, (m, kind, h) in enumerate(axes):
        before, after = int(np.prod(shape[:a])), int(np.prod(shape[a + 1 :]))
        expected += np.kron(np.kron(np.eye(before), AXES[kind](m) / h**2), np.eye(after))
    index, value = get_laplacian(data.edge_index, data.edge_weight, num_nodes=n)
    np.testing.assert_allclose(to_dense_adj(index, edge_attr=value, max_num_nodes=n)[0], expected, rtol=1e-12)
    assert data.is_coalesced() and not data.has_self_loops() and data.num_nodes == n
    assert num_edges(shape, kinds) == data.num_edges
    np.testing.assert_allclose(data.pos, np.stack(np.unravel_index(np.arange(n), shape), 1) * np.array(spacing))


def test_a_batch_keeps_one_row_of_attributes_per_grid():
    grids = [grid_graph((3, 2), spacing=0.5), grid_graph((2, 4), ["cycle", "complete"])]
    batch = Batch.from_data_list(grids)
    assert batch.grid_shape.tolist() == [[3, 2], [2, 4]]
    assert batch.grid_kind.tolist() == [[0, 0], [1, 2]]
    assert batch.grid_spacing.tolist() == [[0.5, 0.5], [1, 1]]
    assert batch.edge_weight.unique().tolist() == [1, 2, 4]
    for one, again in zip(grids, batch.to_data_list(), strict=True):
        assert all(torch.equal(one[key], again[key]) for key in one.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), "shape must be one or more"),
        (((3, 0),), "shape must be one or more"),
        (((3.5,),), "sequence of integers"),
        ((7,), "sequence of integers"),
        (((3,), "torus"), "path, cycle, complete; got 'torus'"),
        (((3, 3), ["path"]), "kinds must be one value, or one for each of the 2 axes"),
        (((3, 3), "path", [1.0]), "spacing must be one value, or one for each"),
        (((3,), "path", 0.0), "spacing must be finite and > 0"),
        (((3,), "path", float("nan")), "spacing must be finite"),
        (((3,), "path", 1.0, torch.long), "floating point"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid_graph(*arguments)
