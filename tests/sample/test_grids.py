"""Time grids against their definitions, and the fitted one against an even one on a target with a closed form."""

import pytest
import torch

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.sample import Exponential, log_snr_grid, optimised_grid, tau_grid, time_grid
from pyg_diffusion.sde import GeometricTime, LinearRate, LinearSDE
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.testing import GaussianMixture

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
