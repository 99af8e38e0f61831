"""The lowest modes and a constant: exact where it can be, elsewhere within the stated bound."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import ArpackNoConvergence

from pyg_diffusion.spectral import Laplacian, heat, lowrank
from pyg_diffusion.spectral.lowrank import LowRankOperator
from pyg_diffusion.testing import assert_operator, laplacian_matrix, matrix_function, random_graph

fast = settings(max_examples=40, deadline=None, derandomize=True)

KERNELS = {
    "heat": heat(0.7),
    "resolvent": lambda lam: 1 / (0.1 + lam),
    "wave": lambda lam: torch.cos(lam),
    "band": lambda lam: torch.exp(-((lam - 2) ** 2)),
    "channels": lambda lam: torch.exp(-lam[..., None] * torch.tensor([0.1, 3.0])) + lam[..., None].sqrt(),
}


def sparse(laplacians, normalized=False):
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


def from_pairs(row, col, n):
    edges = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    w = torch.zeros(n, n, dtype=torch.float64).index_put_(tuple(edges), torch.tensor(1.0).double())
    return torch.diag(w.sum(1)) - w


def ring(n):
    i = torch.arange(n)
    return from_pairs(i, (i + 1) % n, n)


def complete(n):
    return n * torch.eye(n, dtype=torch.float64) - 1


def grid(n):
    return torch.kron(path(n), torch.eye(n).double()) + torch.kron(torch.eye(n).double(), path(n))


def path(n):
    return from_pairs(torch.arange(n - 1), torch.arange(1, n), n)


def tree(n, seed):
    i = torch.arange(1, n)
    back = 1 + torch.randint(0, 4, (n - 1,), generator=torch.Generator().manual_seed(seed))
    return from_pairs(i, (i - back).clamp_min(0), n)


def cube(d):
    lap = torch.zeros(1, 1, dtype=torch.float64)
    for _ in range(d):
        lap = torch.kron(lap, torch.eye(2).double()) + torch.kron(torch.eye(len(lap)).double(), path(2))
    return lap


@st.composite
def graphs(draw, least=0):
    out = []
    for _ in range(draw(st.integers(1, 3))):
        n, density = draw(st.integers(least, 9)), draw(st.sampled_from([0.0, 0.2, 0.6, 1.1]))
        edges, weight = random_graph(n, density, draw(st.booleans()), draw(st.integers(0, 999)))
        out.append(laplacian_matrix(edges, n, weight))
    return out


def build(laplacians):
    return LowRankOperator.from_laplacian(sparse(laplacians), k=9)


@fast
@given(graphs())
def test_all_modes_are_exact(laplacians):
    operator = build(laplacians)
    assert_operator(operator, laplacians, build, gradients=0)
    for kernel in (KERNELS["heat"], KERNELS["band"]):
        assert bool((operator.error_bound(kernel) == 0).all())


def test_laws_with_gradients():
    single, none = torch.zeros(1, 1).double(), torch.zeros(0, 0).double()
    laplacians = [torch.block_diag(complete(3), ring(4)), none, single, torch.zeros(3, 3).double()]
    assert_operator(build(laplacians), laplacians, build)
    nothing = Laplacian.from_edges(torch.zeros(2, 0, dtype=torch.long), 0, batch=torch.zeros(0, dtype=torch.long))
    assert LowRankOperator.from_laplacian(nothing, 3).apply(heat(1.0), torch.zeros(0, 2).double()).shape == (0, 2)


@fast
@given(graphs(least=1), st.integers(1, 8), st.sampled_from(list(KERNELS)), st.booleans(), st.integers(0, 99))
def test_the_error_stays_under_its_bound(laplacians, k, name, normalized, seed):
    laplacian = sparse(laplacians, normalized)
    k = max(k, max(int((torch.linalg.eigvalsh(lap) < 1e-9).sum()) for lap in laplacians))
    operator, kernel = LowRankOperator.from_laplacian(laplacian, k), KERNELS[name]
    x = torch.randn(operator.num_nodes, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    matrix, sizes = laplacian.matrix.to_dense(), operator.sizes.tolist()
    low = [u @ (u.mT @ v) for u, v in zip(operator.eigenvectors.split(sizes), x.split(sizes), strict=True)]
    rest, y, bound = (x - torch.cat(low)).split(sizes), operator.apply(kernel, x).split(sizes), operator.error_bound(kernel)
    for g, nodes in enumerate(torch.arange(len(x)).split(sizes)):
        lam, u = torch.linalg.eigh(matrix[nodes][:, nodes])
        values = kernel(lam[None].clamp_min(0))[0]
        exact = u @ ((values if values.dim() == 2 else values[:, None]) * (u.mT @ x[nodes]))
        assert ((y[g] - exact).norm(dim=0) <= bound[g] * rest[g].norm(dim=0) * (1 + 1e-4) + 1e-7).all()


def test_the_bound_is_attained():
    """On an even ring (-1)^i has λ = 4, the end of the interval: for a monotone f the error is half of f's range."""
    operator = LowRankOperator.from_laplacian(sparse([ring(12), ring(8)]), k=3)
    x = torch.ones(20, 1, dtype=torch.float64)
    x[1::2] = -1
    error = operator.apply(heat(0.5), x) - torch.exp(torch.tensor(-2.0).double()) * x
    torch.testing.assert_close(operator.square_sum(error).sqrt(), operator.error_bound(heat(0.5)) * operator.sizes.sqrt())
    low = 2 - 2 * torch.cos(torch.tensor([2 / 12, 2 / 8], dtype=torch.float64) * torch.pi)
    torch.testing.assert_close(operator.error_bound(heat(0.5)), (torch.exp(-low / 2) - torch.exp(torch.tensor(-2.0))) / 2)
    assert operator.error_bound(lambda lam: torch.stack([lam, lam**2], -1)).shape == (2, 2)


# Spectra with multiple eigenvalues; which modes stand for one is arbitrary, f(L) is not where f is flat across the cut.
# `_iterate` inverts the first six; the others expand.
LARGE = {
    "ring": ring(300),
    "path": path(301),
    "tree": tree(400, 0),
    "fragments": torch.block_diag(*[path(70)] * 8, torch.zeros(2, 2)),
    "star": from_pairs(torch.zeros(1199, dtype=torch.long), torch.arange(1, 1200), 1200),
    "weak bond": torch.block_diag(tree(150, 2), tree(150, 4)) + 1e-15 * torch.nn.functional.pad(path(2), (149, 149) * 2),
    "grid": grid(18),
    "small fragments": torch.block_diag(*[tree(20, 1)] * 15, torch.zeros(2, 2)),
    "cube": cube(8),
    "complete": complete(150),
    "random": laplacian_matrix(*random_graph(300, 0.04, True, 3)[:1], 300),
    "scale": 1e9 * cube(8),
}


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", LARGE)
def test_modes_by_arpack(name, normalized, monkeypatch):
    """The eigenvalues of a dense `eigh`, copies of multiple ones included, and f(L), twice the same where f levels off."""
    monkeypatch.setattr(lowrank, "_DENSE", 0)
    laplacian = sparse([LARGE[name]], normalized)
    k = laplacian.num_components + 12
    operator = LowRankOperator.from_laplacian(laplacian, k)
    matrix, bound, u = laplacian.matrix.to_dense(), float(laplacian.bound), operator.eigenvectors
    lam = torch.linalg.eigvalsh(matrix)
    torch.testing.assert_close(operator.eigenvalues[0], lam[:k].clamp_min(0), rtol=1e-9, atol=1e-14 * len(lam) * bound)
    assert (operator.eigenvalues[0, : laplacian.num_components] == 0).all()
    torch.testing.assert_close(u.mT @ u, torch.eye(k).double(), rtol=0, atol=1e-11)
    cut = operator.eigenvalues[:, -1:]
    flat = lambda lam: torch.exp(-torch.minimum(lam, cut) / cut)  # noqa: E731
    x = torch.randn(len(lam), 2, dtype=torch.float64)
    expected = matrix_function(matrix, flat) @ x
    # modes of a multiple eigenvalue are any basis of its space, which rounding turns; f(L) x does not see which
    for again in (operator, LowRankOperator.from_laplacian(laplacian, k)):
        torch.testing.assert_close(again.apply(flat, x), expected, rtol=0, atol=1e-8)
    assert (operator.error_bound(flat) == 0).all()


def test_signals_of_the_span_are_exact():
    """Any kernel, a parameter per graph and a response per channel; graphs of any size side by side."""
    laplacians = [tree(600, 3), ring(5), torch.zeros(1, 1).double(), grid(5)]
    operator = LowRankOperator.from_laplacian(sparse(laplacians), k=8)
    rate = torch.tensor([[0.3], [1.0], [2.0], [5.0]], dtype=torch.float64)
    c = torch.randn(4, 8, 2, dtype=torch.float64)
    low = torch.cat([u @ c_g for u, c_g in zip(operator.eigenvectors.split(operator.sizes.tolist()), c, strict=True)])

    def kernel(lam):
        return torch.cos(rate * lam)[..., None] * torch.tensor([1.0, -2.0])

    expected = [
        torch.cat(
            [matrix_function(lap, lambda lam, r=r: torch.cos(r * lam)) @ x * s for s, x in ((1, p[:, :1]), (-2, p[:, 1:]))],
            1,
        )
        for lap, r, p in zip(laplacians, rate, low.split(operator.sizes.tolist()), strict=True)
    ]
    torch.testing.assert_close(operator.apply(kernel, low), torch.cat(expected), rtol=0, atol=1e-10)


def test_batch_combinations_and_gradients():
    """Truncated: a batch is the loop over its graphs, one pass is many, and two derivatives are right."""
    laplacians = [grid(4), torch.block_diag(ring(7), ring(3)), torch.zeros(1, 1).double()]
    operator = LowRankOperator.from_laplacian(sparse(laplacians), k=4)
    x, other = torch.randn(2, 27, 2, dtype=torch.float64)
    loop = [
        LowRankOperator.from_laplacian(sparse([lap]), k=4).apply(heat(0.4), v)
        for lap, v in zip(laplacians, x.split([16, 10, 1]), strict=True)
    ]
    torch.testing.assert_close(operator.apply(heat(0.4), x), torch.cat(loop), rtol=0, atol=1e-12)
    kernels = [heat(0.4), KERNELS["band"], KERNELS["channels"]]
    for kernel, y in zip(kernels, operator.apply_many(kernels, x), strict=True):
        torch.testing.assert_close(y, operator.apply(kernel, x))
    both = operator.combine((kernels[2], x), (kernels[0], other))
    torch.testing.assert_close(both, operator.apply(kernels[2], x) + operator.apply(kernels[0], other))

    def filtered(x, s):
        return operator.apply(lambda lam: torch.exp(-s[:, :1] * lam)[..., None] / (1 + s[:, None] * lam[..., None]), x)

    inputs = (x.requires_grad_(), torch.rand(3, 2, dtype=torch.float64).requires_grad_())
    assert torch.autograd.gradcheck(filtered, inputs) and torch.autograd.gradgradcheck(filtered, inputs)


def test_casts_and_refusals(monkeypatch):
    laplacian = sparse([ring(6), torch.block_diag(ring(3), ring(3), ring(3))])
    operator = LowRankOperator.from_laplacian(laplacian, 4)
    operator.reason = "asked for"
    low, x = operator.to(torch.float32), torch.randn(15, 2)
    assert repr(low) == "LowRankOperator(2 graphs, 15 nodes, 4 lowest modes; asked for)"
    torch.testing.assert_close(low.apply(heat(0.5), x).double(), operator.apply(heat(0.5), x.double()), rtol=0, atol=1e-6)
    edges = torch.tensor([[0, 1], [1, 0]])
    torch.testing.assert_close(LowRankOperator.from_edges(edges, 2, k=5).eigenvalues, torch.tensor([[0.0, 2.0]]).double())
    with pytest.raises(ValueError, match="float32 or float64"):
        operator.to(torch.bfloat16)
    with pytest.raises(ValueError, match="k = 2 modes are too few: graph 1 has 3 connected components"):
        LowRankOperator.from_laplacian(laplacian, 2)
    with pytest.raises(ValueError, match="at least 1"):
        LowRankOperator.from_laplacian(laplacian, 0)
    with pytest.raises(ValueError, match="at least one term"):
        operator.combine()
    with pytest.raises(ValueError, match=r"\[num_nodes = 15, C\]"):
        operator.apply(heat(1.0), x[:3].double())
    with pytest.raises(ValueError, match="combinatorial"):
        LowRankOperator.from_edges(edges, 2, normalized=True, k=1).center(torch.zeros(2, 1).double())

    monkeypatch.setattr(lowrank, "_DENSE", 0)
    large = sparse([ring(60)])
    monkeypatch.setattr(lowrank, "_iterate", lambda matrix, null, bound, k: np.eye(60)[:, :k])
    with pytest.raises(RuntimeError, match=r"4 lowest modes of a graph with 60 nodes .* residual .* ChebyshevOperator"):
        LowRankOperator.from_laplacian(large, 4)
    monkeypatch.undo()
    monkeypatch.setattr(lowrank, "_DENSE", 0)

    def fail(*args, **kwargs):
        raise ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((60, 0)))

    monkeypatch.setattr(lowrank, "eigsh", fail)
    with pytest.raises(RuntimeError, match=r"no convergence.*take another k"):
        LowRankOperator.from_laplacian(large, 4)
