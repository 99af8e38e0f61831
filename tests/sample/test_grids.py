"""Time grids against their definitions, and the fitted one against an even one on a target with a closed form."""

import pytest
import torch

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.sample import (
    Ancestral,
    Exponential,
    GridRequest,
    geometric_grid,
    log_snr_grid,
    optimised_grid,
    parse_grid,
    tau_grid,
    time_grid,
)
from pyg_diffusion.sample.ode import ODE
from pyg_diffusion.sde import GeometricTime, LinearRate, LinearSDE
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.testing import GaussianMixture, gaussian_denoiser

SDE = LinearSDE(GeometricTime(1e-4, 100.0), gamma=1.0, lambda0=0.1)


def spectrum(lam):
    return 1 / (0.2 + 0.5 * lam)


@pytest.mark.parametrize("sde", [SDE, LinearSDE(LinearRate(0.1, 20.0), 0.5, 0.2, "matched")], ids=repr)
def test_grids_are_even_in_what_they_say(sde):
    end = 0.01
    tau = sde.schedule.tau(tau_grid(sde, 9, 1.0, end)).diff()
    torch.testing.assert_close(tau, tau[:1].expand(9), rtol=1e-5, atol=0)
    root = (sde.schedule.tau(tau_grid(sde, 9, 0.9, end, power=3.5)) ** (1 / 3.5)).diff()
    torch.testing.assert_close(root, root[:1].expand(9), rtol=1e-5, atol=0)
    for lam in (0.0, 2.0):
        grid = log_snr_grid(sde, 9, lam, 0.9, end)
        ell = sde.half_log_snr(grid[:, None])(torch.full((1, 1), lam, dtype=torch.float64)).squeeze(1).diff()
        torch.testing.assert_close(ell, ell[:1].expand(9), rtol=1e-5, atol=0)
        assert grid[0] == 0.9 and grid[-1] == end and bool((grid.diff() < 0).all())
    with pytest.raises(ValueError, match="at least 1 step"):
        tau_grid(sde, 0)
    with pytest.raises(ValueError, match="power"):
        tau_grid(sde, 5, power=0.0)


def test_a_grid_fitted_to_the_model_samples_a_mixture_better():
    """Fitted on one draw, it is better on another."""
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    shifts = torch.arange(32).repeat_interleave(6) * 4
    many = DenseOperator.from_edges(edges.repeat(1, 32) + shifts, 128, batch=torch.arange(32).repeat_interleave(4))
    means = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = GaussianMixture(means, torch.tensor([0.5, 0.5]).double(), lambda lam: 0.1 * spectrum(lam), SDE, spectrum)
    denoiser = Denoiser(net, SDE, spectrum)

    draws = torch.randn(2, 128, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for sampler in (Exponential(1), Exponential(2)):
        fitted = optimised_grid(sampler, denoiser, many, 8, draws[0])
        assert fitted[0] == 1 and fitted[-1] == 0 and bool((fitted.diff() < 0).all()) and len(fitted) == 9
        exact = Exponential(3).sample(denoiser, many, time_grid(150), lambda: draws[1])
        errors = [
            float((sampler.sample(denoiser, many, grid, lambda: draws[1]) - exact).square().mean().sqrt())
            for grid in (fitted, time_grid(8))
        ]
        assert errors[0] < 0.8 * errors[1], errors


def test_named_grids_are_those_of_the_functions():
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    operator, draw = DenseOperator.from_edges(edges, 4), torch.ones(4, 2, dtype=torch.float64)
    sampler, denoiser = Exponential(2), gaussian_denoiser(SDE, spectrum)
    asked = GridRequest(5, 0.9, 0.1, sampler, denoiser, operator, draw)
    for text, grid in {
        "tau": tau_grid(SDE, 5, 0.9, 0.1),
        "tau:3.5": tau_grid(SDE, 5, 0.9, 0.1, power=3.5),
        "log-snr:lam=0.5": log_snr_grid(SDE, 5, 0.5, 0.9, 0.1),
        "optimised:trials=4": optimised_grid(sampler, denoiser, operator, 5, draw, start=0.9, end=0.1, trials=4),
    }.items():
        torch.testing.assert_close(parse_grid(text, sampler)(asked), grid, rtol=0, atol=0)


def test_a_grid_without_effect_or_sense_is_refused():
    with pytest.raises(ValueError, match=r"ODE\(tolerance=0\.001\) chooses its times itself; a grid has no effect on it"):
        parse_grid("tau", ODE())
    with pytest.raises(ValueError, match=r"optimised grid is fitted to a deterministic sampler, .* not to Ancestral\(\)"):
        parse_grid("optimised", Ancestral())
    with pytest.raises(ValueError, match="a geometric grid has no end at τ = 0; end where τ > 0"):
        geometric_grid(LinearSDE(LinearRate(0.1, 20.0)), 5)


def test_a_fit_stays_within_its_bounds_where_the_best_lies_beyond():
    """All error of this sampler is at early times: the density wants to have all its mass there."""

    class Early(Exponential):
        def sample(self, denoiser, operator, grid, noise, context=None):
            return noise() * grid[1]

    operator, draw = DenseOperator.from_edges(torch.tensor([[0, 1], [1, 0]]), 2), torch.ones(2, 1, dtype=torch.float64)
    grid = optimised_grid(Early(2), gaussian_denoiser(SDE, spectrum), operator, 4, draw, fine=10**6, trials=200)
    assert bool((grid.diff() < 0).all()) and 0.97 < float(grid[1]) < 1
