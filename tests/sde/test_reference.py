import pytest
import torch

from pyg_diffusion.sde import ConstantRate, GeometricTime, LinearRate, LinearSDE
from pyg_diffusion.sde.reference import euler_diagonal, euler_full, euler_steps
from pyg_diffusion.testing import laplacian_matrix, matrix_function, random_graph

STAR = laplacian_matrix(torch.tensor([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]]), 4)
CYCLE = laplacian_matrix(torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]]), 4)
ONE = torch.tensor(1.0, dtype=torch.float64)


def exact(laplacian, sde):
    return matrix_function(laplacian, sde.mean(ONE)), matrix_function(laplacian, sde.var(ONE))


@pytest.mark.parametrize("noise", ["white", "matched"])
@pytest.mark.parametrize("schedule", [ConstantRate(1.5), LinearRate(0.1, 4.0)], ids=repr)
def test_full_recursion_converges_with_first_order(schedule, noise):
    edges, weight = random_graph(7, 0.5, weighted=True, seed=1)
    lap = laplacian_matrix(edges, 7, weight)
    sde = LinearSDE(schedule, 0.6, 0.1, noise)
    errors = []
    for steps in (200, 400, 800):
        errors.append(
            [float((a - b).abs().max()) for a, b in zip(euler_full(lap, sde, steps), exact(lap, sde), strict=True)]
        )
    errors = torch.tensor(errors)
    order = torch.log2(errors[:-1] / errors[1:])
    assert ((order > 0.95) & (order < 1.05)).all(), order
    assert (errors[-1] < 5e-3).all()


def test_time_is_counted_from_tau_0_where_the_schedule_starts_later():
    sde = LinearSDE(GeometricTime(1e-3, 1.0), 1.0, 0.1)
    for a, b in zip(euler_full(STAR, sde, 3000), exact(STAR, sde), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)


def test_steps_end_at_the_full_result():
    sde = LinearSDE(ConstantRate(), 1.0)
    states = list(euler_steps(STAR, sde, 10))
    assert len(states) == 10
    for a, b in zip(states[-1], euler_full(STAR, sde, 10), strict=True):
        assert torch.equal(a, b)
    half = euler_full(STAR, sde, 5, t=0.5)
    torch.testing.assert_close(states[4][1], half[1])
    with pytest.raises(ValueError, match="at least 1 step"):
        euler_full(STAR, sde, 0)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("noise", ["white", "matched"])
def test_a_step_is_the_formula_dense_and_sparse(noise):
    """Φ ← MΦ, Σ ← MΣMᵀ + βΔ g² with M = I - ½βΔ a(L) written out."""
    sde, eye = LinearSDE(LinearRate(0.5, 2.0), 0.7, 0.2, noise), torch.eye(4, dtype=torch.float64)
    drift = 0.7 * STAR + 0.2 * eye
    phi, sigma = eye, 0 * eye
    dense, sparse = euler_steps(STAR, sde, 5), euler_steps(STAR.to_sparse(), sde, 5)
    for k, states in enumerate(zip(dense, sparse, strict=True)):
        step = sde.schedule.tau(ONE * (k + 1) / 5) - sde.schedule.tau(ONE * k / 5)
        move = eye - 0.5 * step * drift
        phi, sigma = move @ phi, move @ sigma @ move.mT + step * (eye if noise == "white" else drift)
        for got_phi, got_sigma in states:
            torch.testing.assert_close(got_phi, phi)
            torch.testing.assert_close(got_sigma, sigma)


@pytest.mark.parametrize("lap", [STAR, CYCLE], ids=["star (not regular)", "cycle (regular)"])
@pytest.mark.parametrize("noise", ["white", "matched"])
def test_diagonal_recursion_converges_to_something_else(lap, noise):
    """Its error settles at a constant: more steps change it by less than 2%, and it stays a tenth of the value or more."""
    sde = LinearSDE(ConstantRate(1.5), 1.0, 0.1, noise)
    errors = []
    for steps in (1000, 4000):
        pairs = zip(euler_diagonal(lap, sde, steps), exact(lap, sde), strict=True)
        errors.append([float((a - b.diagonal()).abs().max() / b.diagonal().abs().max()) for a, b in pairs])
    errors = torch.tensor(errors)
    assert (errors > 0.1).all(), errors
    torch.testing.assert_close(errors[0], errors[1], rtol=0.02, atol=0)


def test_diagonal_recursion_is_right_where_there_are_no_neighbours():
    sde = LinearSDE(ConstantRate(1.5), 1.0, 0.4)
    lap = torch.zeros(3, 3, dtype=torch.float64)
    for a, b in zip(euler_diagonal(lap, sde, 4000), exact(lap, sde), strict=True):
        torch.testing.assert_close(a, b.diagonal(), rtol=1e-3, atol=0)
