import math
from itertools import product

import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyg_diffusion.spectral import grid as module
from pyg_diffusion.spectral import heat, host
from pyg_diffusion.spectral.grid import KINDS, GridOperator
from pyg_diffusion.testing import assert_operator

fast = settings(max_examples=40, deadline=None, derandomize=True)


def axis_laplacian(n: int, kind: str, spacing: float) -> Tensor:
    """L of one axis, edge by edge."""
    w = torch.zeros(n, n, dtype=torch.float64)
    ends = {"path": n - 1, "cycle": n if n > 1 else 0, "complete": 0}[kind]
    pairs = [(i, (i + 1) % n) for i in range(ends)] if kind != "complete" else [(i, j) for i in range(n) for j in range(i)]
    for i, j in pairs:
        w[i, j] += spacing**-2
        w[j, i] += spacing**-2
    return torch.diag(w.sum(1)) - w


def laplacian(operator: GridOperator) -> Tensor:
    """The Kronecker sum, dense."""
    total = torch.zeros(1, 1, dtype=torch.float64)
    for n, kind, spacing in zip(operator.shape, operator.kinds, operator.spacing, strict=True):
        eye, other = torch.eye(n, dtype=torch.float64), torch.eye(len(total), dtype=torch.float64)
        total = torch.kron(total, eye) + torch.kron(other, axis_laplacian(n, kind, spacing))
    return total


def signal(operator: GridOperator, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(operator.num_nodes, channels, generator=generator, dtype=torch.float64).to(operator.dtype)


@st.composite
def grids(draw, max_nodes: int = 120):
    """(arguments of a small grid, matrix or FFT, entries in a block): every kind, even, odd and trivial sides."""
    shape: list[int] = []
    for n in draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)):
        if math.prod(shape) * n <= max_nodes:
            shape.append(n)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=len(shape), max_size=len(shape)))
    spacing = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=len(shape), max_size=len(shape)))
    arguments = (shape, kinds, spacing, draw(st.integers(1, 3)), torch.float64)
    return arguments, draw(st.sampled_from([0, 7])), draw(st.sampled_from([1, 1 << 19]))


@fast
@given(grids())
def test_laws(grid):
    arguments, dense_up_to, block = grid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DENSE_UP_TO", dense_up_to)
        patch.setattr(module, "_BLOCK", block)
        operator = GridOperator(*arguments)
        lap = laplacian(operator)
        assert_operator(operator, [lap] * operator.num_graphs, gradients=0, tol=1e-11)
        single = GridOperator(*arguments[:3], dtype=torch.float64)
        u = single.to_modes(torch.eye(len(lap), dtype=torch.float64))[0].mT
    lam = operator.eigenvalues
    assert lam.shape == operator.mode_mask.shape == (operator.num_graphs, len(lap)) and bool((lam[:, 0] == 0).all())
    torch.testing.assert_close(u[:, 0], torch.full_like(u[:, 0], len(lap) ** -0.5), rtol=1e-14, atol=0)
    torch.testing.assert_close(u.mT @ u, torch.eye(len(lap)).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(lap @ u, u * lam[0], rtol=0, atol=1e-12 * max(1.0, float(lam.max())))


ROUTES = ("ducc0", "scipy", "torch")


def by_route(name: str, monkeypatch) -> None:
    """From here on grids with long axes are transformed so."""
    if name == "ducc0":
        pytest.importorskip("ducc0")
    else:
        monkeypatch.setattr(host, "ducc", lambda: None)
    if name == "torch":
        monkeypatch.setattr(host, "takes", lambda kinds: False)


@pytest.mark.parametrize("route", [*ROUTES, "matrix"])
def test_laws_with_gradients(route, monkeypatch):
    by_route(route, monkeypatch)
    monkeypatch.setattr(module, "DENSE_UP_TO", 4 if route == "matrix" else 0)
    kinds = ("path", "complete", "path") if route == "scipy" else KINDS
    operator = GridOperator((3, 4, 2), kinds, [1.0, 2.0, 0.5], 2, torch.float64)
    assert operator._in_place(signal(operator)) == (route in ("ducc0", "scipy"))
    assert_operator(operator, [laplacian(operator)] * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ((131, 20), "path"),
        ((64, 65), "cycle"),
        ((60, 7, 5), KINDS),
        ((58, 3, 60), ["cycle", "path", "path"]),
        ((97,), "cycle"),
    ],
)
def test_every_route_has_the_same_modes_and_signals(shape, kinds, dtype, monkeypatch):
    operator = GridOperator(shape, kinds, 0.5, 2, dtype)
    x, rates = signal(operator), torch.tensor([[0.2], [0.4]], dtype=dtype)
    found = {}
    for route in [name for name in ROUTES if name != "ducc0" or host.ducc() is not None]:
        with monkeypatch.context() as patch:
            by_route(route, patch)
            y = operator.apply(lambda lam: torch.exp(-rates * lam), x)
            x.requires_grad_()
            slope = torch.autograd.grad(operator.apply(heat(0.3), x).square().sum(), x)[0]
            x = x.detach()
            found[route] = operator.to_modes(x), operator.from_modes(operator.to_modes(x)), y, slope
    tol = 3e-6 if dtype == torch.float32 else 1e-13
    for route in found:
        for one, other in zip(found[route], found["torch"], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=tol * float(other.abs().max()))
    torch.testing.assert_close(found["torch"][1], x, rtol=0, atol=tol * 5)


def test_without_ducc0_cycles_go_by_torch_and_paths_by_scipy(monkeypatch):
    by_route("scipy", monkeypatch)
    path, cycle = GridOperator((70, 3)), GridOperator((70, 3), ["path", "cycle"])
    assert path._in_place(signal(path)) and not cycle._in_place(signal(cycle))
    assert not GridOperator((9, 3))._in_place(signal(GridOperator((9, 3))))  # matrices are faster


def test_kernels_with_gradients_or_more_channels_in_many_pieces(monkeypatch):
    monkeypatch.setattr(module, "_RESPONSE", 50)
    operator = GridOperator((70, 3), dtype=torch.float64)
    x, rate = signal(operator), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y = operator.apply(lambda lam: torch.exp(-rate * lam), x)
    torch.testing.assert_close(operator.apply(heat(0.3), x), y.detach(), rtol=0, atol=1e-14)
    (slope,) = torch.autograd.grad(y.square().sum(), rate)
    expected = -2 * (operator.apply(lambda lam: lam, y) * y).sum()
    torch.testing.assert_close(slope, expected.detach(), rtol=1e-12, atol=0)
    fan = operator.apply(lambda lam: torch.stack([lam, 2 * lam], -1), x[:, :1])
    torch.testing.assert_close(fan[:, 1], 2 * operator.apply(lambda lam: lam, x)[:, 0], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="not finite at λ = 0"):
        operator.apply(lambda lam: 1 / lam, x)


@pytest.mark.parametrize(("shape", "kinds"), [((131,), "path"), ((130,), "cycle"), ((3, 65), ["complete", "path"])])
def test_laws_on_long_axes(shape, kinds):
    operator = GridOperator(shape, kinds, dtype=torch.float64)
    assert_operator(operator, [laplacian(operator)], gradients=0, tol=1e-11)


@pytest.mark.parametrize(("n", "kind"), product([1, 2, 3, 56, 99, 200], ["path", "cycle"]))
def test_matrix_and_fft_are_the_same_basis(n, kind, monkeypatch):
    modes = []
    for dense_up_to in (0, n):
        monkeypatch.setattr(module, "DENSE_UP_TO", dense_up_to)
        operator = GridOperator((n, 2), [kind, "path"], dtype=torch.float64)
        modes.append(operator.to_modes(signal(operator)))
    torch.testing.assert_close(modes[0], modes[1], rtol=0, atol=1e-12)


def by_scipy(x: Tensor, shape: tuple[int, ...], kind: str, rate: float) -> Tensor:
    """exp(-rate L) x in float64, along axes all of one kind."""
    field = x.double().view(*shape, -1).numpy()
    lam = sum(axis_spectrum(n, kind).reshape(-1, *[1] * (len(shape) - a)) for a, n in enumerate(shape))
    f, axes = torch.exp(-rate * lam).numpy(), tuple(range(len(shape)))
    if kind == "path":
        y = scipy.fft.idctn(f * scipy.fft.dctn(field, axes=axes, norm="ortho"), axes=axes, norm="ortho")
    else:
        y = scipy.fft.ifftn(f * scipy.fft.fftn(field, axes=axes), axes=axes).real
    return torch.from_numpy(y).view(len(x), -1)


def axis_spectrum(n: int, kind: str) -> Tensor:
    return 2 - 2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n * (1 if kind == "path" else 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "kind"), [((300, 200), "path"), ((300, 201), "cycle"), ((70, 12, 65), "path"), ((30_000,), "path")]
)
def test_large_grids_against_scipy(shape, kind, dtype):
    operator = GridOperator(shape, kind, dtype=dtype)
    x = signal(operator)
    exact = by_scipy(x, shape, kind, 0.2)
    error = (operator.apply(heat(0.2), x).double() - exact).norm() / exact.norm()
    assert error < (5e-7 if dtype == torch.float32 else 2e-15)


def test_long_rooks_graph_in_float32():
    """On K_n, f(L) x = f(n/h²) x + (f(0) - f(n/h²)) mean(x), axis by axis."""
    operator = GridOperator((500, 600), "complete", [10.0, 20.0])
    x = signal(operator, 2) + 3
    y = x.double().view(500, 600, 2)
    for axis, lam in ((0, 5.0), (1, 1.5)):
        f = math.exp(-0.1 * lam)
        y = f * y + (1 - f) * y.mean(axis, keepdim=True)
    assert (operator.apply(heat(0.1), x).double() - y.view(-1, 2)).norm() < 1e-6 * y.norm()


def test_inputs_of_any_layout_are_left_alone():
    operator = GridOperator((70, 3), ["path", "cycle"], num_graphs=2, dtype=torch.float64)
    wide = signal(operator, 6)
    x, before = wide[:, ::2], wide.clone()
    expected = operator.apply(heat(0.3), x.contiguous())
    modes = operator.to_modes(x)
    kept = modes.clone()
    torch.testing.assert_close(operator.apply(heat(0.3), x), expected, rtol=0, atol=0)
    torch.testing.assert_close(operator.from_modes(modes.contiguous()), operator.from_modes(modes), rtol=0, atol=0)
    assert torch.equal(wide, before) and torch.equal(modes, kept)
    shifted = torch.cat([kept.new_zeros(1), kept.mT.flatten()])[1:].view(2, 3, 210).mT  # starts at an odd offset
    torch.testing.assert_close(operator.from_modes(shifted), operator.from_modes(modes), rtol=0, atol=0)
    assert operator.apply(heat(0.3), x[:, :0]).shape == (420, 0)
    rates = torch.tensor([0.1, 0.3], dtype=torch.float64)
    fanned = operator.apply(lambda lam: torch.exp(-rates * lam.unsqueeze(-1)), x[:, :1])
    torch.testing.assert_close(fanned[:, 1], expected[:, 0])
    empty = GridOperator((70, 3), num_graphs=0)
    assert empty.apply(heat(0.3), torch.zeros(0, 2)).shape == (0, 2) and empty.eigenvalues.shape == (0, 210)


def test_what_is_stored_and_casts():
    operator = GridOperator((1000, 1000), ["path", "cycle"], spacing=0.1)
    assert operator.precomputed_bytes < 32_768 and operator.to(torch.float64).precomputed_bytes < 65_536
    assert operator.eigenvalues.shape == (1, 1_000_000)
    small = GridOperator((6, 4), ["path", "complete"], [0.1, 1.0], num_graphs=2)
    small.reason = "as told"
    other = small.to(torch.float64)
    assert (other.dtype, other.sizes.dtype, other.num_graphs) == (torch.float64, torch.long, 2)
    assert_operator(other, [laplacian(other)] * 2, gradients=0)  # the spectrum is float64 anew, not float32 cast
    assert repr(other) == "GridOperator(2 graphs, 48 nodes, path of 6, h=0.1 x complete of 4; as told)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": ()}, "at least one axis"),
        ({"shape": (3, 0)}, r"at least 1 node, got \(3, 0\)"),
        ({"shape": (3, 3), "kinds": "ring"}, "one of path, cycle, complete"),
        ({"shape": (3, 3), "kinds": ["path"]}, "2 axes, but 1 kinds and 2 spacings"),
        ({"shape": (3, 3), "spacing": [1.0, 1.0, 1.0]}, "2 axes, but 2 kinds and 3 spacings"),
        ({"shape": (3,), "spacing": 0.0}, "spacing must be finite and > 0"),
        ({"shape": (3,), "spacing": math.nan}, "spacing must be finite and > 0"),
        ({"shape": (3,), "spacing": math.inf}, "spacing must be finite and > 0"),
        ({"shape": (3,), "num_graphs": -1}, "num_graphs must be >= 0"),
        ({"shape": (3,), "dtype": torch.float16}, "float32 or float64"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridOperator(**arguments)


def test_bad_signals_are_named():
    with pytest.raises(ValueError, match=r"num_nodes = 9, C\], got \[8, 2\]"):
        GridOperator((3, 3)).apply(heat(0.1), torch.zeros(8, 2))
    with pytest.raises(ValueError, match="cast one of them"):
        GridOperator((3, 3)).apply(heat(0.1), torch.zeros(9, 2).double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    here = GridOperator((131, 20, 6), KINDS, num_graphs=2, dtype=torch.float64)
    there = here.to("cuda")
    x = signal(here).requires_grad_()
    y, z = here.apply(heat(0.3), x), there.apply(heat(0.3), x.cuda())
    torch.testing.assert_close(z.cpu(), y, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(z.square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(y.square().sum(), x)[0], rtol=0, atol=1e-11)
