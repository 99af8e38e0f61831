"""What every backend says of kernels and signals that cannot be."""

import math

import pytest
import torch

from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, LanczosOperator, Laplacian, heat
from pyg_diffusion.spectral.bands import fit_bands

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # λ = 0, 1, 3
MODE = torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)  # of λ = 1


@pytest.fixture
def dense():
    return DenseOperator.from_edges(PATH, 3)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda lam: 2.0, r"\[num_graphs, M\] or \[num_graphs, M, C\], got float"),
        (lambda lam: lam[0], r"or \[num_graphs, M, C\], got \[3\]"),
        (lambda lam: 1 / lam, "not finite at λ = 0; there it must have a value"),
        (lambda lam: torch.where(lam > 2, math.nan, lam), "not finite at λ = 3$"),
    ],
)
def test_a_kernel_that_cannot_be_is_refused(dense, kernel, message):
    with pytest.raises(ValueError, match=message):
        dense.apply(kernel, MODE)


def test_no_terms_and_other_nodes_are_refused(dense):
    with pytest.raises(ValueError, match="combine needs at least one term"):
        dense.combine()
    for operator in (dense, ChebyshevOperator(Laplacian.from_edges(PATH, 3))):
        assert operator.pack(MODE)[0].tolist() == MODE.tolist()
        with pytest.raises(ValueError, match="the signal has 2 nodes, the operator 3"):
            operator.pack(MODE[:2])


def test_one_pass_of_several_kernels_is_each_of_them():
    operator = GridOperator((3,), dtype=torch.float64)
    kernels = [heat(0.5), lambda lam: lam]
    for kernel, w in zip(kernels, operator.fan_out(kernels, operator.to_work(MODE)), strict=True):
        torch.testing.assert_close(operator.from_work(w), float(kernel(torch.ones(()))) * MODE)


def test_names_tell_graphs_and_tolerance():
    laplacian = Laplacian.from_edges(PATH, 3)
    assert repr(ChebyshevOperator(laplacian)) == "ChebyshevOperator(1 graph, 3 nodes, tol=1e-12)"
    assert repr(LanczosOperator(laplacian, tol=1e-3)) == "LanczosOperator(1 graph, 3 nodes, tol=0.001)"


def test_lanczos_refuses_a_pole_at_a_ritz_value_and_hands_nan_on():
    operator = LanczosOperator(Laplacian.from_edges(PATH, 3))
    with pytest.raises(ValueError, match="not finite on the Ritz values"):
        operator.apply(lambda lam: torch.where(lam > 0.5, torch.inf, lam), MODE)
    assert bool(operator.apply(heat(1.0), MODE / 0).isnan().all())


def test_a_spectrum_of_nodes_without_edges_is_that_of_the_null_modes():
    operator = ChebyshevOperator(Laplacian.from_edges(torch.zeros(2, 0, dtype=torch.long), 5))
    p = fit_bands(operator, torch.zeros(5, 4, 2, dtype=torch.float64), torch.tensor([4.0, 9.0]), 1.0)
    torch.testing.assert_close(p(torch.tensor([[0.0, 1.0]]))[0], torch.tensor([[4.0, 9.0], [4.0, 9.0]]))
