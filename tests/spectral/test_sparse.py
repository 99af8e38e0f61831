"""Chebyshev, Lanczos and conjugate gradients against float64 dense matrix functions."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_diffusion.spectral import ChebyshevOperator, LanczosOperator, Laplacian, heat
from pyg_diffusion.testing import assert_operator, laplacian_matrix, matrix_function, random_graph

BACKENDS = [ChebyshevOperator, LanczosOperator]


def sparse(laplacians, normalized=False):
    """The `Laplacian` of dense combinatorial Laplacians."""
    edges, weights, batch, start = [], [], [], 0
    for g, lap in enumerate(laplacians):
        w = -lap + torch.diag(lap.diagonal())
        edges.append(w.nonzero().T + start)
        weights.append(w[w != 0])
        batch += [g] * lap.size(0)
        start += lap.size(0)
    edges = torch.cat(edges, 1)
    return Laplacian.from_edges(edges, start, torch.cat(weights), torch.tensor(batch), len(laplacians), normalized)


def normalized_matrix(lap):
    degree = lap.diagonal()
    root = torch.where(degree > 0, degree, 1.0).rsqrt()
    return root[:, None] * lap * root


def inverse_root(lam):
    """λ^{-1/2} off the null space, 0 on it; the cut is far below any eigenvalue here."""
    return torch.where(lam > 1e-10, lam.clamp_min(1e-10).rsqrt(), 0.0)


@st.composite
def graphs(draw):
    """One to three weighted graphs of 1 to 9 nodes, often disconnected, complete, or without edges."""
    out = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 9))
        density = draw(st.sampled_from([0.0, 0.3, 0.6, 1.0]))
        out.append(laplacian_matrix(*_flip(random_graph(n, density, draw(st.booleans()), draw(st.integers(0, 99))), n)))
    return out


def _flip(graph, n):
    return graph[0], n, graph[1]


@pytest.mark.parametrize("backend", BACKENDS)
@given(laplacians=graphs(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_laws(backend, laplacians, seed):
    gradients = 2 if backend is ChebyshevOperator else 1
    operator = backend(sparse(laplacians))
    assert_operator(operator, laplacians, lambda laps: backend(sparse(laps)), 1e-8, gradients if seed % 5 == 0 else 0, seed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_normalized(backend):
    laplacians = [laplacian_matrix(*_flip(random_graph(7, 0.3, True, seed), 7)) for seed in range(3)]
    operator = backend(sparse(laplacians, normalized=True))
    assert_operator(operator, [normalized_matrix(lap) for lap in laplacians], tol=1e-8, gradients=1)
    with pytest.raises(ValueError, match="combinatorial"):
        operator.center(torch.zeros(21, 1, dtype=torch.float64))


@given(
    n=st.integers(1, 30),
    density=st.sampled_from([0.05, 0.2, 0.7]),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.01, 0.3, 3.0, 40.0]),
    kind=st.sampled_from(["heat", "resolvent", "std", "wave", "kink", "root"]),
    tol=st.sampled_from([1e-12, 1e-6, 1e-2]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=150, deadline=None)
def test_chebyshev_error_stays_under_its_bound(n, density, seed, scale, kind, tol, dtype):
    """‖y - f(L)x‖ <= bound ‖x‖, channel by channel, also where the degree does not suffice (a kink, a root at 0)."""
    kernel = {
        "heat": heat(scale),
        "resolvent": lambda lam: 1 / (0.05 + scale * lam),
        "std": lambda lam: (-torch.expm1(-scale * (lam + 0.1)) / (lam + 0.1)).sqrt(),
        "wave": lambda lam: torch.cos(scale * lam) + 2,
        "kink": lambda lam: (lam - scale).abs(),
        "root": torch.sqrt,
    }[kind]
    edges, weight = random_graph(n, density, True, seed)
    lap = laplacian_matrix(edges, n, weight)
    operator = ChebyshevOperator(Laplacian.from_edges(edges, n, weight), tol=tol, max_degree=512).to(dtype)
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = [operator.apply(kernel, x.to(dtype)), operator.apply_many([kernel, heat(1.0)], x.to(dtype))[0]]
    lam, u = torch.linalg.eigh(lap)
    exact = u @ (kernel(lam.clamp_min(0) * (lam > 1e-12))[:, None] * (u.mT @ x))
    for y in both:
        error = (y.double() - exact).norm(dim=0) / x.norm(dim=0)
        assert (error <= operator.error_bound(kernel)).all(), (error, operator.error_bound(kernel))


def test_degree_is_what_the_tolerance_needs():
    """A polynomial of degree 3 is recognised as one; heat needs about √(b s log 1/tol) and not the largest degree."""
    edges, weight = random_graph(50, 0.2, seed=1)
    operator = ChebyshevOperator(Laplacian.from_edges(edges, 50, weight))
    assert operator.expand(lambda lam: 1 + lam**3).degree == 3
    assert operator.expand(torch.ones_like).degree == 0
    degrees = [ChebyshevOperator(Laplacian.from_edges(edges, 50), tol=tol).expand(heat(1.0)).degree for tol in (1e-3, 1e-9)]
    assert degrees[0] < degrees[1] < 60
    with pytest.warns(UserWarning, match="does not resolve"):
        operator.apply(torch.sqrt, torch.ones(50, 1, dtype=torch.float64))


def test_null_space_is_exact_by_component():
    """f(0) on every component, however sharp f is at 0, and however small the gap: a bond of 1e-9 is a bond."""
    edges = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 0, 3, 2, 5, 4]])
    laplacian = Laplacian.from_edges(edges, 7, torch.tensor([1.0, 1, 2, 2, 1e-9, 1e-9], dtype=torch.float64))
    x = torch.tensor([3.0, 3, -1, -1, 2, 2, 5], dtype=torch.float64)[:, None]

    def sharp(lam):
        return torch.where(lam == 0, 7.0, torch.exp(-lam))

    for backend in BACKENDS:
        operator = backend(laplacian)
        assert operator.num_components == 4
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.testing.assert_close(operator.apply(sharp, x), 7 * x, rtol=1e-10, atol=0)


def test_lanczos_serves_inverse_roots_that_chebyshev_does_not():
    """λ^{-1/2} on a disconnected graph of 400 nodes: to 1e-10 in a Krylov space that the operator chose."""
    pieces = [random_graph(200, 0.03, True, seed) for seed in (1, 2)]
    edges = torch.cat([pieces[0][0], pieces[1][0] + 200], 1)
    weight = torch.cat([pieces[0][1], pieces[1][1]])
    lap = laplacian_matrix(edges, 400, weight)
    x = torch.randn(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lam, u = torch.linalg.eigh(lap)
    exact = u @ (torch.where(lam > 1e-9, lam.clamp_min(1e-9).rsqrt(), 0.0)[:, None] * (u.mT @ x))
    operator = LanczosOperator(Laplacian.from_edges(edges, 400, weight))
    torch.testing.assert_close(operator.apply(inverse_root, x), exact, rtol=0, atol=1e-10)
    assert operator.error_estimate(inverse_root, x) <= operator.tol
    low = operator.to(torch.float32)
    torch.testing.assert_close(low.apply(inverse_root, x.float()).double(), exact, rtol=0, atol=1e-5)
    short = LanczosOperator(Laplacian.from_edges(edges, 400, weight), max_steps=8)
    with pytest.warns(UserWarning, match="estimated relative error"):
        short.apply(inverse_root, x)


def test_conjugate_gradients():
    """(γL + λ₀)⁻¹ with a rate per graph and channel; γL alone off the null space only."""
    laplacians = [laplacian_matrix(*_flip(random_graph(n, 0.2, True, n), n)) for n in (30, 1, 12)]
    operator = ChebyshevOperator(sparse(laplacians))
    x = torch.randn(43, 2, dtype=torch.float64)
    gamma = torch.tensor([[1.0, 5.0], [2.0, 1.0], [0.0, 0.3]], dtype=torch.float64)

    def kernel(lam):
        return gamma[:, None] * lam[..., None] + 0.01

    y = operator.solve(kernel, x)
    back = operator.apply(kernel, y)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    free = x - operator.null_part(x)
    y = operator.solve(lambda lam: 2 * lam, free)
    torch.testing.assert_close(operator.apply(lambda lam: 2 * lam, y), free, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(operator.null_part(y), 0 * y, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="graph 0, x has a part in the null space"):
        operator.solve(lambda lam: 2 * lam, x)
    with pytest.raises(ValueError, match="must be >= 0"):
        operator.solve(lambda lam: lam - 1, x)
    with pytest.raises(ValueError, match="is 0 on the spectrum"):
        operator.solve(lambda lam: lam**2, x)
    operator.max_iterations = 2
    with pytest.raises(RuntimeError, match="conjugate gradients"):
        operator.solve(lambda lam: lam + 1e-3, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_and_empty(backend):
    edges, weight = random_graph(300, 0.02, True, 5)
    lap = laplacian_matrix(edges, 300, weight)
    operator = backend(Laplacian.from_edges(edges, 300, weight)).to(torch.float32)
    assert operator.dtype == torch.float32 and operator.tol == 1e-6
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    for kernel in (heat(0.5), heat(20.0)):
        exact = matrix_function(lap, kernel) @ x.double()
        torch.testing.assert_close(operator.apply(kernel, x).double(), exact, rtol=0, atol=5e-6)
    empty = backend(Laplacian.from_edges(torch.zeros(2, 0, dtype=torch.long), 0))
    assert empty.apply(heat(1.0), torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 3)
    no_edges, none = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    nothing = backend(Laplacian.from_edges(no_edges, 0, batch=none, num_graphs=0))
    assert nothing.apply_many([heat(1.0)], torch.zeros(0, 3, dtype=torch.float64))[0].shape == (0, 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e200])
def test_a_signal_of_any_size(backend, size):
    """f(L) is linear: neither squares that underflow nor squares that overflow show."""
    edges, weight = random_graph(40, 0.1, True, 5)
    operator = backend(Laplacian.from_edges(edges, 40, weight))
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(operator.apply(heat(0.5), size * x) / size, operator.apply(heat(0.5), x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_input(backend):
    laplacian = Laplacian.from_edges(torch.tensor([[0, 1], [1, 0]]), 3)
    operator = backend(laplacian)
    with pytest.raises(ValueError, match=r"\[num_nodes = 3, C\], got \[4, 1\]"):
        operator.apply(heat(1.0), torch.zeros(4, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="cast one of them"):
        operator.apply(heat(1.0), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="not finite"):
        operator.apply(lambda lam: 1 / lam, torch.ones(3, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least one term"):
        operator.combine()
    with pytest.raises(ValueError, match="tol must lie"):
        backend(laplacian, tol=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        backend(laplacian, **{"max_degree" if backend is ChebyshevOperator else "max_steps": 0})
    with pytest.raises(ValueError, match="float32 or float64"):
        operator.to(torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cuda_agrees(backend):
    edges, weight = random_graph(200, 0.05, True, 5)
    operator = backend(Laplacian.from_edges(edges, 200, weight))
    x = torch.randn(200, 3, dtype=torch.float64)
    there = operator.to("cuda")
    torch.testing.assert_close(there.apply(heat(2.0), x.cuda()).cpu(), operator.apply(heat(2.0), x), rtol=1e-9, atol=1e-10)


def test_a_network_in_bf16_leaves_the_operator_in_full_precision():
    edges, _ = random_graph(12, 0.5, seed=1)
    operator = ChebyshevOperator(Laplacian.from_edges(edges, 12)).to(torch.float32)
    x = torch.randn(12, 3, requires_grad=True)
    found = []
    for on in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
            y, (z,) = operator.combine((heat(0.7), x)), operator.fan_out([heat(0.2)], x)
            with torch.no_grad():
                in_place = operator.combine((heat(0.7), x))
        found.append((y.detach(), z.detach(), in_place, *torch.autograd.grad(y.square().sum() + z.sum(), x)))
    assert all(one.dtype == torch.float32 and torch.equal(one, other) for one, other in zip(*found, strict=True))
