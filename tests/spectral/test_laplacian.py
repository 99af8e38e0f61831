"""Edges to Laplacian: values, null space and bound against dense constructions, and every refusal by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_diffusion.spectral import Laplacian
from pyg_diffusion.testing import laplacian_matrix, random_graph

fast = settings(max_examples=60, deadline=None, derandomize=True)


def path(n):
    k = torch.arange(n - 1)
    return torch.stack([torch.cat([k, k + 1]), torch.cat([k + 1, k])])


@st.composite
def graphs(draw):
    """(edges, weights, sizes) of one to four graphs of 0 to 8 nodes: disconnected, without edges, of any scale."""
    edges, weights, sizes = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, 8))
        e, w = random_graph(n, draw(st.sampled_from([0.0, 0.2, 0.6, 1.1])), draw(st.booleans()), draw(st.integers(0, 999)))
        edges.append(e + sum(sizes))
        weights.append(w * 10.0 ** draw(st.integers(-12, 12)))
        sizes.append(n)
    return torch.cat(edges, 1), torch.cat(weights), sizes


def components(matrix):
    """Component of every node by repeated squaring of the reachability matrix."""
    reach = (matrix != 0) | torch.eye(len(matrix), dtype=torch.bool)
    for _ in range(6):
        reach = (reach.double() @ reach.double()) > 0
    return torch.tensor([int(row.nonzero()[0]) for row in reach])  # its first node


@fast
@given(graphs(), st.booleans(), st.booleans())
def test_laws(graph, normalized, narrow):
    """Values, L n = 0 on each component, ‖n‖ = 1, 0 <= λ <= bound, of a batch."""
    edges, weight, sizes = graph
    num_nodes, batch = sum(sizes), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    index = edges.int() if narrow else edges
    laplacian = Laplacian.from_edges(index, num_nodes, weight, batch, len(sizes), normalized)
    expected = laplacian_matrix(edges, num_nodes, weight)
    label, root = components(expected), torch.ones(num_nodes, dtype=torch.float64)
    if normalized:
        root = torch.where(expected.diagonal() > 0, expected.diagonal(), 1.0).sqrt()
        expected = expected / root / root[:, None]
    torch.testing.assert_close(laplacian.matrix.to_dense(), expected, rtol=1e-12, atol=0)
    assert laplacian.sizes.tolist() == sizes and (laplacian.num_graphs, laplacian.num_nodes) == (len(sizes), num_nodes)
    assert laplacian.num_components == len(label.unique())
    assert torch.equal(laplacian.component[:, None] == laplacian.component, label[:, None] == label)

    for c in range(laplacian.num_components):
        n = torch.where(laplacian.component == c, laplacian.null[:, 0], 0.0)
        torch.testing.assert_close(n.norm(), torch.tensor(1.0).double(), rtol=1e-14, atol=0)
        assert ((laplacian.matrix @ n).abs() <= 1e-13 * expected.diagonal()).all()
        share = root[n != 0]
        torch.testing.assert_close(n[n != 0], share / share.norm(), rtol=1e-13, atol=0)

    for block, bound in zip(torch.arange(num_nodes).split(sizes), laplacian.bound.tolist(), strict=True):
        lam = torch.linalg.eigvalsh(expected[block][:, block])
        assert bound > 0 and (lam <= bound * (1 + 1e-12)).all()


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_the_bound_is_attained(scale):
    """λ_max = 4 on an even ring, N on a star: the bound is no larger. Without edges any positive one will do."""
    i = torch.arange(6)
    ring, star = torch.stack([i, (i + 1) % 6]), torch.stack([torch.zeros(5, dtype=torch.long), torch.arange(1, 6)])
    edges = torch.cat([ring, ring.flip(0), star + 6, star.flip(0) + 6], 1)
    weight = torch.full((edges.size(1),), scale, dtype=torch.float64)
    batch = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([6, 6, 1]))
    torch.testing.assert_close(
        Laplacian.from_edges(edges, 13, weight, batch).bound / torch.tensor([scale, scale, 1], dtype=torch.float64),
        torch.tensor([4.0, 6.0, 1.0]).double(),
        rtol=1e-15,
        atol=0,
    )


@pytest.mark.parametrize("normalized", [False, True])
def test_equivalent_spellings_of_a_graph(normalized):
    def matrix(edges, weight=None):
        return Laplacian.from_edges(edges, 4, weight, normalized=normalized).matrix.to_dense()

    plain = matrix(path(4))
    loops = torch.cat([path(4), torch.tensor([[1, 3], [1, 3]])], 1)
    torch.testing.assert_close(matrix(loops), plain)  # self loops drop out
    torch.testing.assert_close(matrix(path(4).repeat(1, 2), torch.full((12,), 0.5)), plain)  # parallel edges add up
    closed = torch.cat([path(4), torch.tensor([[0, 3], [3, 0]])], 1)
    torch.testing.assert_close(matrix(closed, torch.tensor([1.0] * 6 + [0.0] * 2)), plain)  # weight 0 is no edge ...
    cut = Laplacian.from_edges(path(4), 4, torch.tensor([1.0, 0.0, 1.0] * 2), normalized=normalized)
    assert cut.num_components == 2  # ... and can cut a graph in two
    shuffled = path(4)[:, torch.tensor([5, 0, 3, 1, 4, 2])]
    torch.testing.assert_close(matrix(shuffled), plain, rtol=0, atol=0)


def test_nothing_at_all():
    """One graph without nodes, no graph, and empty graphs at both ends of a batch."""
    none = torch.zeros(2, 0, dtype=torch.long)
    assert repr(Laplacian.from_edges(none, 0)) == "Laplacian(combinatorial, 1 graphs, 0 nodes, 0 components)"
    assert Laplacian.from_edges(none, 0, batch=torch.zeros(0, dtype=torch.long)).num_graphs == 0
    ends = Laplacian.from_edges(path(2), 2, batch=torch.tensor([1, 1]), num_graphs=4, normalized=True)
    assert ends.sizes.tolist() == [0, 2, 0, 0] and ends.num_components == 1
    single = Laplacian.from_edges(none, 1)
    assert (
        single.matrix.to_dense().tolist() == [[0.0]] and single.null.tolist() == [[1.0]] and single.bound.tolist() == [1.0]
    )


def test_a_large_graph_and_casts():
    """1e5 nodes in 1000 rings, no dense matrix anywhere."""
    i = torch.arange(100_000)
    after = i - i % 100 + (i + 1) % 100
    laplacian = Laplacian.from_edges(torch.cat([torch.stack([i, after]), torch.stack([after, i])], 1), 100_000)
    assert laplacian.num_components == 1000 and laplacian.matrix._nnz() == 300_000 and laplacian.bound.tolist() == [4.0]
    low = laplacian.to(torch.float32)
    assert low.matrix.dtype == low.null.dtype == low.bound.dtype == torch.float32 and low.sizes.dtype == torch.long
    assert bool(((low.matrix @ low.null).abs() < 1e-6).all())


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("edges", "weight", "message"),
    [
        ([[0, 5], [5, 0]], None, "names node 5, but the nodes are 0..2"),
        ([[0, -1], [-1, 0]], None, "names node -1"),
        ([[0, 1], [1, 0]], [-1.0, -1.0], "edge 0-1 has weight -1.0"),
        ([[1, 2], [2, 1]], [1.0, NAN], "edge 2-1 has weight nan"),
        ([[1, 2], [2, 1]], [INF, INF], "edge 1-2 has weight inf"),
        ([[1], [2]], None, "edge 1-2 differs from 2-1"),
        ([[2, 0, 1], [1, 1, 0]], None, "edge 1-2 differs from 2-1"),
        ([[1, 2], [2, 1]], [1.0, 2.0], "edge 1-2 differs from 2-1"),
        ([[1, 2], [2, 1]], [1e-12, 2e-12], "edge 1-2 differs from 2-1"),  # at any scale
        ([[1, 0, 1], [2, 1, 0]], [1e-12, 1.0, 1.0], "edge 1-2 differs from 2-1"),
        ([[1, 2], [2, 1]], [1.0], r"edge_weight must be \[2\], got \[1\]"),
        ([[1, 2], [2, 1]], [[1.0], [1.0]], r"edge_weight must be \[2\], got \[2, 1\]"),
        ([0, 1, 2], None, r"integers \[2, num_edges\], got torch.int64 \[3\]"),
        ([[0, 1], [1, 2], [2, 0]], None, r"integers \[2, num_edges\], got torch.int64 \[3, 2\]"),
        ([[0.0, 1.0], [1.0, 0.0]], None, "integers .* got torch.float32"),
    ],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_bad_edges_are_named(edges, weight, message, normalized):
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        Laplacian.from_edges(torch.tensor(edges), 3, weight, normalized=normalized)


@pytest.mark.parametrize(
    ("edges", "batch", "message"),
    [
        ([[1, 2], [2, 1]], [0, 0, 1, 1, 1], "edge 1-2 joins two graphs"),
        ([[0, 1, 3], [1, 0, 4]], [0, 0, 0, 1, 1], "edge 3-4 differs from 4-3"),  # numbered as in the input
        ([[0, 2], [2, 0]], [0, 1, 0, 1, 1], "sorted vector of 5"),
        ([[0, 1], [1, 0]], [0, 0, 0, 0], "sorted vector of 5"),
        ([[0, 1], [1, 0]], [-1, -1, 0, 0, 0], "sorted vector of 5"),
        ([[0, 1], [1, 0]], [0, 0, 1, 1, 3], "batch names graph 3, but num_graphs is 3"),
    ],
)
def test_bad_batches_are_named(edges, batch, message):
    with pytest.raises(ValueError, match=message):
        Laplacian.from_edges(torch.tensor(edges), 5, batch=torch.tensor(batch), num_graphs=3)


def test_what_is_no_real_tensor_is_refused():
    with pytest.raises(TypeError, match=r"edge_weight must be a tensor, got list; see torch\.as_tensor"):
        Laplacian.from_edges(path(2), 2, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"edge_weight must be real, got torch\.complex64"):
        Laplacian.from_edges(path(2), 2, torch.ones(2, dtype=torch.complex64))


def test_weights_that_differ_by_their_rounding_are_replaced_by_their_mean():
    """1 and 1 + 4·2⁻²³ in float32."""
    weights = torch.tensor([1.0, 1.0 + 2**-21])
    matrix = Laplacian.from_edges(path(2), 2, weights).matrix.to_dense()
    w = 1 + 2**-22
    assert matrix.tolist() == [[w, -w], [-w, w]]


def test_a_negative_number_of_nodes_is_refused():
    with pytest.raises(ValueError, match="num_nodes must be >= 0, got -1"):
        Laplacian.from_edges(torch.zeros(2, 0, dtype=torch.long), -1)
