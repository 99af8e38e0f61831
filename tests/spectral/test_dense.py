import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyg_diffusion.spectral import DenseOperator, laplacian_spectrum
from pyg_diffusion.testing import assert_equivariant, assert_operator, laplacian_matrix, random_graph

fast = settings(max_examples=25, deadline=None, derandomize=True)


def build(laplacians) -> DenseOperator:
    """The dense operator of given Laplacians, through its public door `from_edges`."""
    edges, weights, batch, first = [], [], [], 0
    for g, lap in enumerate(laplacians):
        w = torch.diag(lap.diagonal()) - lap
        edges.append(w.nonzero().T + first)
        weights.append(w[w != 0])
        batch += [g] * len(lap)
        first += len(lap)
    return DenseOperator.from_edges(
        torch.cat(edges, 1), first, torch.cat(weights), torch.tensor(batch, dtype=torch.long), num_graphs=len(laplacians)
    )


def path(n: int) -> Tensor:
    k = torch.arange(n - 1)
    return torch.stack([torch.cat([k, k + 1]), torch.cat([k + 1, k])])


def complete(n: int) -> Tensor:
    return n * torch.eye(n, dtype=torch.float64) - 1


@st.composite
def laplacians(draw, max_graphs: int = 4, max_nodes: int = 8):
    """Batches of random graphs: empty, single nodes, disconnected, weighted and degenerate ones among them."""
    batch = []
    for _ in range(draw(st.integers(1, max_graphs))):
        n = draw(st.integers(0, max_nodes))
        edges, weight = random_graph(
            n, draw(st.sampled_from([0.0, 0.2, 0.5, 1.1])), draw(st.booleans()), draw(st.integers(0, 999))
        )
        batch.append(laplacian_matrix(edges, n, weight))
    return batch


@fast
@given(laplacians())
def test_laws(batch):
    assert_operator(build(batch), batch, build, gradients=False)


@pytest.mark.parametrize(
    "batch",
    [
        [laplacian_matrix(path(4), 4)],
        [
            complete(4),
            torch.zeros(0, 0, dtype=torch.float64),
            torch.zeros(1, 1, dtype=torch.float64),
            torch.zeros(3, 3).double(),
        ],
        [torch.block_diag(complete(3), complete(2)), laplacian_matrix(*random_graph(5, 0.6, True)[:1], 5)],
    ],
    ids=["path", "degenerate, empty, single, isolated nodes", "two fragments"],
)
def test_laws_with_gradients(batch):
    assert_operator(build(batch), batch, build)


@fast
@given(laplacians())
def test_null_space_is_counted_by_component(batch):
    operator = build(batch)
    for g, lap in enumerate(batch):
        n = len(lap)
        reach = torch.linalg.matrix_power((lap != 0).double() + torch.eye(n), max(n, 1)) > 0
        k = len({tuple(row) for row in reach.tolist()})  # one distinct row per component
        lam, u = operator.eigenvalues[g], operator.eigenvectors[g]
        assert (lam[:k] == 0).all() and (lam[k:n] > 0).all() and (lam[n:] == 1).all()
        assert (lam[k:n].diff() >= 0).all()
        assert (u[n:] == 0).all() and (u[:, n:] == 0).all()
        torch.testing.assert_close(u[:n, :n].mT @ u[:n, :n], torch.eye(n).double(), rtol=0, atol=1e-12)
        torch.testing.assert_close(lap @ u[:n, :n], u[:n, :n] * lam[:n], rtol=0, atol=1e-12 * (1 + n))
        if n:
            torch.testing.assert_close(u[:n, 0], torch.full((n,), n**-0.5, dtype=torch.float64), rtol=0, atol=1e-15)
        for row in reach:  # null modes are constant on every component
            assert (u[:n, :k][row].std(0, correction=0) < 1e-12).all()


@pytest.mark.parametrize("weight", [1e-6, 1e-10, 1e-13, 1e-15, 1e-17, 1e-300])
def test_a_very_weak_bond_leaves_the_basis_orthonormal(weight):
    """λ₁ ~ eps ‖L‖ cannot be told from 0 by `eigh`; mode 0 must be the constant all the same, and U orthonormal."""
    w = torch.tensor([1, 1, weight, 1, 1], dtype=torch.float64)
    lam, u = laplacian_spectrum(path(6), 6, torch.cat([w, w]))
    assert lam[0] == 0 and (lam >= 0).all() and lam[2] > 0.9
    torch.testing.assert_close(u.mT @ u, torch.eye(6).double(), rtol=0, atol=1e-12)
    step = torch.tensor([1, 1, 1, -1, -1, -1]).double() / 6**0.5
    assert abs(step @ u[:, 1]) > 1 - 1e-5


def test_rounding_never_makes_an_eigenvalue_negative():
    w = torch.ones(29, dtype=torch.float64)
    w[1::2] = 1e-17  # 15 pairs, all but loose: 14 eigenvalues of the order of eps
    lam, u = laplacian_spectrum(path(30), 30, torch.cat([w, w]))
    assert (lam >= 0).all() and (lam[:15] < 1e-14).all() and (lam[15:] > 1.9).all()
    torch.testing.assert_close(u.mT @ u, torch.eye(30).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_spectrum_scales_with_the_weights(scale):
    edges, weight = random_graph(7, 0.7, weighted=True, seed=3)
    lam, _ = laplacian_spectrum(edges, 7, weight)
    torch.testing.assert_close(laplacian_spectrum(edges, 7, weight * scale)[0], lam * scale, rtol=1e-10, atol=0)


def test_known_spectra():
    k = torch.arange(9).double()
    torch.testing.assert_close(laplacian_spectrum(path(9), 9)[0], 2 - 2 * torch.cos(torch.pi * k / 9), rtol=0, atol=1e-13)
    torch.testing.assert_close(
        build([complete(5)]).eigenvalues[0], torch.tensor([0, 5, 5, 5, 5.0]).double(), rtol=0, atol=1e-13
    )


def test_padding_does_not_leak():
    """A graph has the same spectrum alone and beside one ten times its size and a thousand times its weight."""
    small = laplacian_matrix(path(3), 3)
    batch = build([small, 1000 * complete(30)])
    torch.testing.assert_close(batch.eigenvalues[0, :3], build([small]).eigenvalues[0], rtol=0, atol=1e-12)
    s = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    batch.apply(lambda lam: torch.exp(-s * lam), torch.randn(33, 2).double()).sum().backward()
    assert torch.isfinite(s.grad)


def test_equivalent_spellings_of_a_graph():
    lam, _ = laplacian_spectrum(path(4), 4)
    loops = torch.cat([path(4), torch.tensor([[1, 3], [1, 3]])], 1)
    torch.testing.assert_close(laplacian_spectrum(loops, 4)[0], lam)  # self loops drop out
    twice = torch.cat([path(4), path(4)], 1)
    torch.testing.assert_close(laplacian_spectrum(twice, 4, torch.full((12,), 0.5))[0], lam)  # parallel edges add up
    edges = torch.cat([path(4), torch.tensor([[0, 3], [3, 0]])], 1)
    weight = torch.tensor([1.0] * 6 + [0.0] * 2)
    torch.testing.assert_close(laplacian_spectrum(edges, 4, weight)[0], lam)  # weight 0 is no edge
    split = torch.tensor([1.0, 0.0, 1.0] * 2)
    assert (laplacian_spectrum(path(4), 4, split)[0] == 0).sum() == 2  # ... and can cut a graph in two


def test_from_flat_matrix_and_casts():
    batch = [complete(3), laplacian_matrix(path(5), 5), torch.zeros(1, 1).double()]
    operator = build(batch)
    n = operator.sizes.tolist()
    lam = torch.cat([operator.eigenvalues[g, :k] for g, k in enumerate(n)])
    u = torch.cat([operator.eigenvectors[g, :k, :k].flatten() for g, k in enumerate(n)])
    again = DenseOperator.from_flat(lam, u, operator.sizes)
    assert torch.equal(again.eigenvalues, operator.eigenvalues) and torch.equal(again.eigenvectors, operator.eigenvectors)
    assert_operator(again, batch)
    for g, lap in enumerate(batch):
        torch.testing.assert_close(operator.matrix(lambda lam: lam)[g, : n[g], : n[g]], lap, rtol=0, atol=1e-13)
    assert operator.to(torch.float32).eigenvectors.dtype == torch.float32
    assert operator.to(torch.float32).sizes.dtype == torch.long


def test_center_removes_mode_0_and_nothing_else():
    operator = build([torch.block_diag(complete(3), complete(2)), torch.zeros(0, 0).double(), complete(1)])
    x = torch.randn(6, 3, dtype=torch.float64)
    modes = operator.to_modes(x)
    modes[:, 0] = 0
    torch.testing.assert_close(operator.center(x), operator.from_modes(modes))
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    assert_equivariant(operator.center, x, lambda x: x @ rotation, tol=1e-12)
    torch.testing.assert_close(operator.center(x + 7.0), operator.center(x))


@pytest.mark.parametrize(
    ("edges", "weight", "message"),
    [
        ([[0, 5], [5, 0]], None, "names node 5, but the nodes are 0..2"),
        ([[0, -1], [-1, 0]], None, "names node -1"),
        ([[0, 1], [1, 0]], [-1.0, -1.0], "edge 0-1 has weight -1.0"),
        ([[1, 2], [2, 1]], [1.0, float("nan")], "edge 2-1 has weight nan"),
        ([[1, 2], [2, 1]], [float("inf"), float("inf")], "edge 1-2 has weight inf"),
        ([[1], [2]], None, "edge 1-2 differs from 2-1"),
        ([[1, 2], [2, 1]], [1.0, 2.0], "edge 1-2 differs from 2-1"),
        ([[1, 2], [2, 1]], [1.0], r"edge_weight must be \[2\]"),
        ([0, 1, 2], None, r"edge_index must be \[2, num_edges\]"),
    ],
)
def test_bad_edges_are_named(edges, weight, message):
    weight = None if weight is None else torch.tensor(weight)
    with pytest.raises(ValueError, match=message):
        DenseOperator.from_edges(torch.tensor(edges), 3, weight)


def test_bad_batches_and_signals_are_named():
    with pytest.raises(ValueError, match="edge 1-2 joins two graphs"):
        DenseOperator.from_edges(torch.tensor([[1, 2], [2, 1]]), 4, batch=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="edge 3-4 differs from 4-3"):  # numbered as in the input, not within its graph
        DenseOperator.from_edges(torch.tensor([[0, 1, 3], [1, 0, 4]]), 5, batch=torch.tensor([0, 0, 0, 1, 1]))
    with pytest.raises(ValueError, match="the signal has 3 nodes, the operator 4"):
        build([complete(4)]).to_modes(torch.zeros(3, 2).double())


def test_unsorted_batch_is_refused():
    with pytest.raises(ValueError, match="sorted"):
        DenseOperator.from_edges(torch.tensor([[0, 2], [2, 0]]), 3, batch=torch.tensor([0, 1, 0]))
