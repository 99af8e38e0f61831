"""Samplers by name, the package's own and others."""

import subprocess
import sys

import pytest
import torch

from pyg_diffusion import sample
from pyg_diffusion.sample import SAMPLERS, ProbabilityFlow, Sampler, parse_sampler, time_grid
from pyg_diffusion.sample.registry import sampler
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import GridOperator, PowerSpectrum
from pyg_diffusion.testing import gaussian_denoiser


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ancestral", "Ancestral()"),
        ("ddim", "DDIM(eta=0.0)"),
        ("ddim:0.5", "DDIM(eta=0.5)"),
        ("ddim:eta=1", "DDIM(eta=1.0)"),
        ("exponential1", "Exponential(order=1)"),
        ("exponential2", "Exponential(order=2)"),
        ("exponential3", "Exponential(order=3)"),
        ("euler", "ProbabilityFlow(order=1)"),
        ("heun", "ProbabilityFlow(order=2)"),
        ("predictor-corrector", "PredictorCorrector(Ancestral(), corrections=1, size=0.2)"),
        ("predictor-corrector:ddim,2,size=0.1", "PredictorCorrector(DDIM(eta=0.0), corrections=2, size=0.1)"),
    ],
)
def test_a_text_names_a_sampler(text, shown):
    assert repr(parse_sampler(text)) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anncestral", "no sampler named 'anncestral'; there are ancestral, ddim"),
        ("ddim:half", "sampler 'ddim:half': eta is a float, got 'half'"),
        ("ddim:2", r"eta must lie in \[0, 1\], got 2.0"),
        ("ddim:0.5,1", "sampler 'ddim:0.5,1': ddim has no option; it has eta"),
        ("ancestral:order=2", "ancestral has no order; it has no options"),
    ],
)
def test_what_names_none_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        parse_sampler(text)
    with pytest.raises(KeyError, match="no samplers named 'x'; there are ancestral"):
        sampler("x")
    with pytest.raises(TypeError, match="the sampler ddim has no order; it has eta"):
        sampler("ddim", order=1)


def test_names_cost_no_torch():
    code = "import sys; sys.modules['torch'] = None; from pyg_diffusion.sample.registry import SAMPLERS; print(*SAMPLERS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(SAMPLERS)


class Jump(Sampler):
    """S_s = φ_s D."""

    def __init__(self, share: float = 1.0):
        self.share = share

    def step(self, x_t, context):
        return context.operator.combine((lambda lam: self.share * context.sde.mean(context.s)(lam), context.denoised))


def test_one_from_outside_samples_like_the_own():
    """One step and the last estimate, by hand: D(½ φ_s D(S_t, t), s)."""
    operator = GridOperator((4, 3), dtype=torch.float64)
    denoiser = gaussian_denoiser(LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.5), PowerSpectrum.harmonic())
    grid, noise = time_grid(1).double(), torch.randn(12, 1, dtype=torch.float64)
    SAMPLERS.add("jump", Jump)
    try:
        made = parse_sampler("jump:0.5").sample(denoiser, operator, grid, lambda: noise)
        assert "jump" in list(SAMPLERS)
        with pytest.raises(ValueError, match="taken"):
            SAMPLERS.add("jump", Jump)
    finally:
        SAMPLERS.remove("jump")
    start = operator.apply(denoiser.parts(grid[0]).std, noise)
    after = 0.5 * operator.apply(denoiser.sde.mean(grid[1]), denoiser(operator, start, grid[0]))
    torch.testing.assert_close(made, denoiser(operator, after, grid[1]))


def test_a_name_that_the_room_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'pyg_diffusion\.sample' has no attribute 'Sampelr'"):
        _ = sample.Sampelr
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        ProbabilityFlow(3)
