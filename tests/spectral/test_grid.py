"""Grids and rook's graphs against a Kronecker sum written out densely."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_diffusion.spectral import DenseOperator, GridOperator, grid, heat
from pyg_diffusion.testing import assert_operator

KINDS = ("path", "cycle", "complete")


def axis_matrix(n, kind, spacing):
    """Laplacian of one axis, edge by edge; the two edges of a cycle of 2 add up."""
    w = torch.zeros(n, n, dtype=torch.float64)
    pairs = [(i, i + 1) for i in range(n - 1)]
    if kind == "cycle" and n > 1:
        pairs.append((n - 1, 0))
    if kind == "complete":
        pairs = [(i, j) for i in range(n) for j in range(i)]
    for i, j in pairs:
        w[i, j] += 1 / spacing**2
        w[j, i] += 1 / spacing**2
    return torch.diag(w.sum(1)) - w


def kronecker_sum(shape, kinds, spacing):
    total = torch.zeros(math.prod(shape), math.prod(shape), dtype=torch.float64)
    for a, (n, kind, h) in enumerate(zip(shape, kinds, spacing, strict=True)):
        before, after = math.prod(shape[:a]), math.prod(shape[a + 1 :])
        middle = torch.kron(torch.eye(before, dtype=torch.float64), axis_matrix(n, kind, h))
        total += torch.kron(middle, torch.eye(after, dtype=torch.float64))
    return total


@given(data=st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("dense_up_to", [64, 0], ids=["matrix", "FFT"])
def test_laws(dense_up_to, data):
    axes = data.draw(st.integers(1, 3))
    shape = [data.draw(st.integers(1, 7)) for _ in range(axes)]
    kinds = [data.draw(st.sampled_from(KINDS)) for _ in range(axes)]
    spacing = [data.draw(st.sampled_from([0.5, 1.0, 1.7])) for _ in range(axes)]
    copies = data.draw(st.integers(1, 3))
    before, grid.DENSE_UP_TO = grid.DENSE_UP_TO, dense_up_to
    try:
        operator = GridOperator(shape, kinds, spacing, copies, torch.float64)
        laplacian = kronecker_sum(shape, kinds, spacing)
        small = math.prod(shape) * copies <= 30
        assert_operator(operator, [laplacian] * copies, tol=1e-9, gradients=2 if small else 0)
        lam = torch.linalg.eigvalsh(laplacian)
        torch.testing.assert_close(operator.eigenvalues[0].sort().values, lam, rtol=0, atol=1e-9 * (1 + float(lam[-1])))
        constant = operator.to_modes(torch.ones(operator.num_nodes, 1, dtype=torch.float64))
        assert constant[:, 1:].abs().max() < 1e-10 if constant.size(1) > 1 else True
        assert (operator.eigenvalues[:, 0] == 0).all()
    finally:
        grid.DENSE_UP_TO = before


@pytest.mark.parametrize("shape", [(65, 66), (131,), (3, 70, 2), (128, 5)])
def test_long_axes_agree_with_their_matrices(shape, monkeypatch):
    """Odd and even lengths beyond the crossover; both ways give the same modes, in the same order."""
    x = torch.randn(2 * math.prod(shape), 2, dtype=torch.float64)
    for kind in KINDS:
        long = GridOperator(shape, kind, 0.7, 2, torch.float64)
        with monkeypatch.context() as patch:
            patch.setattr(grid, "DENSE_UP_TO", 1000)
            short = GridOperator(shape, kind, 0.7, 2, torch.float64)
        torch.testing.assert_close(long.to_modes(x), short.to_modes(x), rtol=0, atol=1e-11)
        torch.testing.assert_close(long.from_modes(long.to_modes(x)), x, rtol=0, atol=1e-11)


def test_float32_against_scipy():
    shape, x = (300, 200), torch.randn(60_000, 3)
    axes = [4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2 for n in shape]
    response = np.exp(-0.8 * (axes[0][:, None] + axes[1]))[..., None]
    modes = scipy.fft.dctn(x.double().view(*shape, 3).numpy(), axes=(0, 1), norm="ortho")
    exact = torch.from_numpy(scipy.fft.idctn(response * modes, axes=(0, 1), norm="ortho")).view(-1, 3)
    got = GridOperator(shape).apply(heat(0.8), x)
    assert got.dtype == torch.float32 and (got - exact).norm() < 1e-6 * exact.norm()


def test_a_million_nodes_take_little_to_store():
    operator = GridOperator((1000, 1000))
    assert operator.precomputed_bytes < 64 * 1024
    found = sum(v.nbytes for v in operator.axis_eigenvalues)
    found += sum(v.nbytes for axis in operator._axes for v in vars(axis).values() if isinstance(v, torch.Tensor))
    assert found <= operator.precomputed_bytes


def test_rooks_graph_moves_to_the_mean_of_row_and_column():
    """On K_m x K_n, exp(-sL) is a product of two steps towards the mean, e^{-sm} and e^{-sn} to go."""
    m, n, s = 5, 4, 0.1
    start = torch.randn(m, n, dtype=torch.float64)
    expected = start
    for axis, size in ((0, m), (1, n)):
        mean = expected.mean(axis, keepdim=True)
        expected = mean + math.exp(-s * size) * (expected - mean)
    got = GridOperator((m, n), "complete", dtype=torch.float64).apply(heat(s), start.view(-1, 1))
    torch.testing.assert_close(got.view(m, n), expected)


def test_to_and_repr():
    operator = GridOperator((4, 70), ("cycle", "path"), (1.0, 0.5), 3)
    operator.reason = "because"
    double = operator.to(torch.float64)
    assert double.dtype == torch.float64 and double.reason == "because" and double.num_graphs == 3
    assert repr(operator) == "GridOperator(3 graphs, 840 nodes, cycle of 4 x path of 70, h=0.5; because)"
    x = torch.randn(840, 2, dtype=torch.float64)
    torch.testing.assert_close(operator.apply(heat(1.0), x.float()).double(), double.apply(heat(1.0), x), rtol=0, atol=1e-5)


def test_empty_batch():
    operator = GridOperator((3, 4), num_graphs=0, dtype=torch.float64)
    assert operator.apply(heat(1.0), torch.zeros(0, 2, dtype=torch.float64)).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), "at least one axis"),
        (((3, 0),), "at least 1 node"),
        (((3,), "torus"), "path, cycle, complete"),
        (((3, 3), ("path",)), "2 axes, but 1 kinds"),
        (((3,), "path", 0.0), "spacing must be"),
        (((3,), "path", float("nan")), "spacing must be"),
        (((3,), "path", 1.0, -1), "num_graphs"),
        (((3,), "path", 1.0, 1, torch.bfloat16), "float32 or float64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridOperator(*arguments)


def test_signal_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"\[num_nodes = 12, C\]"):
        GridOperator((3, 4)).apply(heat(1.0), torch.zeros(11, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees():
    operator, x = GridOperator((70, 40, 3), dtype=torch.float64), torch.randn(8400, 3, dtype=torch.float64)
    there = operator.to("cuda").apply(heat(1.0), x.cuda()).cpu()
    torch.testing.assert_close(there, operator.apply(heat(1.0), x), rtol=0, atol=1e-11)


def test_dense_operator_of_the_same_graph_agrees():
    lap = kronecker_sum((4, 5), ("path", "path"), (1.0, 1.0))
    w = torch.diag(lap.diagonal()) - lap
    dense = DenseOperator.from_edges(w.nonzero().T, 20, w[w != 0])
    x = torch.randn(20, 2, dtype=torch.float64)
    torch.testing.assert_close(GridOperator((4, 5), dtype=torch.float64).apply(heat(1.0), x), dense.apply(heat(1.0), x))
