"""Explicit eigenvectors: the laws, the null space, and that neither batching nor threads show."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyg_diffusion.spectral import DenseOperator, Laplacian, dense, laplacian_spectrum
from pyg_diffusion.testing import assert_equivariant, assert_operator, laplacian_matrix, random_graph

fast = settings(max_examples=25, deadline=None, derandomize=True)


def sparse(laplacians, normalized=False) -> Laplacian:
    """The `Laplacian` of dense combinatorial ones."""
    edges, weights, batch, first = [], [], [], 0
    for g, lap in enumerate(laplacians):
        w = torch.diag(lap.diagonal()) - lap
        edges.append(w.nonzero().T + first)
        weights.append(w[w != 0])
        batch += [g] * len(lap)
        first += len(lap)
    batch = torch.tensor(batch, dtype=torch.long)
    return Laplacian.from_edges(torch.cat(edges, 1), first, torch.cat(weights), batch, len(laplacians), normalized)


def build(laplacians) -> DenseOperator:
    return DenseOperator.from_laplacian(sparse(laplacians))


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
    assert_operator(build(batch), batch, build, gradients=0)


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


@fast
@given(laplacians())
def test_normalised(batch):
    """√degree (1 at an isolated node) is null on every component, mode 0 is positive everywhere, and L = U Λ Uᵀ."""
    degree = [torch.where(lap.diagonal() > 0, lap.diagonal(), 1.0) for lap in batch]
    expected = [lap * d.rsqrt() * d.rsqrt()[:, None] for lap, d in zip(batch, degree, strict=True)]
    operator, plain = DenseOperator.from_laplacian(sparse(batch, normalized=True)), build(batch)
    assert_operator(operator, expected, gradients=0)
    assert torch.equal(operator.eigenvalues == 0, plain.eigenvalues == 0) and bool((operator.eigenvalues <= 2 + 1e-12).all())
    for g, (lap, d) in enumerate(zip(expected, degree, strict=True)):
        n, k = len(lap), int((operator.eigenvalues[g] == 0).sum())
        u = operator.eigenvectors[g, :n, :n]
        assert (u[:, :1] > 0).all()
        torch.testing.assert_close(u.mT @ u, torch.eye(n).double(), rtol=0, atol=1e-12)
        torch.testing.assert_close(lap @ u[:, :k], torch.zeros(n, k).double(), rtol=0, atol=1e-12)
        if k == 1:
            torch.testing.assert_close(u[:, 0], (d / d.sum()).sqrt(), rtol=1e-12, atol=0)
    assert operator.to(torch.float32).constant_null is False


def test_neither_batch_nor_threads_show(monkeypatch):
    """300 graphs are decomposed size by size, over threads; a few at a time padded, in one. Threads do not change a bit."""
    monkeypatch.setattr(dense, "_WORK", 2000)
    batch = []
    for seed in range(300):
        n = seed % 13
        edges, weight = random_graph(n, 0.25 + seed % 3, seed % 2 == 0, seed)
        batch.append(laplacian_matrix(edges, n, weight))
    outer, operators = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            operators.append(build(batch))
            assert torch.get_num_threads() == threads
        with torch.inference_mode():
            assert torch.equal(build(batch).eigenvalues, operators[0].eigenvalues)
    finally:
        torch.set_num_threads(outer)
    one, two = operators
    assert torch.equal(one.eigenvalues, two.eigenvalues) and torch.equal(one.eigenvectors, two.eigenvectors)
    few = [build(batch[k : k + 50]) for k in range(0, 300, 50)]
    for kernel in (lambda lam: lam, lambda lam: torch.exp(-lam)):
        torch.testing.assert_close(one.matrix(kernel), torch.cat([f.matrix(kernel) for f in few]), rtol=0, atol=1e-12)


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
    with pytest.raises(ValueError, match=r"have \[9, 35\] numbers in eigenvalues and eigenvectors, got \[9, 25\]"):
        DenseOperator.from_flat(lam, u[:25], operator.sizes)
    operator.reason = "so that"
    low = operator.to(torch.float32)
    assert low.eigenvectors.dtype == low.dtype == torch.float32 and low.sizes.dtype == torch.long
    assert repr(low) == "DenseOperator(3 graphs, 9 nodes, 5 modes at most; so that)" and low.constant_null


def test_center_is_translation_invariant():
    operator = build([torch.block_diag(complete(3), complete(2)), torch.zeros(0, 0).double(), complete(1)])
    x = torch.randn(6, 3, dtype=torch.float64)

    def center(x: Tensor) -> Tensor:
        return operator.from_work(operator.center(operator.to_work(x)))

    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    assert_equivariant(center, x, lambda x: x @ rotation, tol=1e-12)
    torch.testing.assert_close(center(x + 7.0), center(x))


def test_bad_signals_are_refused():
    with pytest.raises(ValueError, match="the signal has 3 nodes, the operator 4"):
        build([complete(4)]).to_modes(torch.zeros(3, 2).double())
    with pytest.raises(ValueError, match="cast one of them"):
        build([complete(4)]).apply(torch.exp, torch.zeros(4, 2))
