"""Samplers, grids and temperature as generators and the command line take them."""

import math

import numpy as np
import pytest
import torch

from pyg_diffusion import FieldGenerator
from pyg_diffusion.cli import main
from pyg_diffusion.sample import DDIM, GRIDS, ODE, Ancestral, Exponential, parse_grid, tau_grid, time_grid
from pyg_diffusion.sections import RecipeError
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.weights_io import Card, build_denoiser, save_pretrained

CARD = Card(
    process={"gamma": 1.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0},
    model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 2, "positions": 2},
    bf16=False,
    data={"kind": "fields", "shape": [4, 3], "kinds": "cycle", "spacing": 1.0, "channels": 2},
)
STEPS = 6


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    made = build_denoiser(CARD, PowerSpectrum.harmonic(1.0))
    with torch.no_grad():  # one that is not linear, so that grids differ
        for p in made.net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def only(times):
    """The times of the one span that has been drawn over."""
    (found,) = times.values()
    return found


def generator(denoiser, sampler=None, **options):
    options = {"steps": STEPS} | options
    return FieldGenerator(denoiser, CARD, sampler or Exponential(2), device="cpu", **options)


def test_a_grid_by_name_is_the_grid(denoiser):
    """The fields are those of the sampler on these times, from the same noise."""
    sde = denoiser.sde
    for name, times in (("tau:3.5", tau_grid(sde, STEPS - 1, power=3.5)), ("geometric", time_grid(STEPS - 1))):
        made = generator(denoiser, grid=name)
        x = made.sample(2, seed=3)
        torch.testing.assert_close(only(made._times).float(), times.float(), rtol=0, atol=1e-6)
        assert made.evaluations == STEPS
        plain = generator(denoiser).sample(2, seed=3)
        assert torch.allclose(x, plain, atol=1e-4) == (name == "geometric")


def test_an_optimised_grid_is_fitted_once_and_its_evaluations_are_counted(denoiser):
    made = generator(denoiser, grid="optimised:3")
    first = made.sample(2, seed=3)
    assert made.evaluations == STEPS + 101 + 3 * STEPS  # the path that counts as exact, and three grids
    torch.testing.assert_close(made.sample(2, seed=3), first)
    assert made.evaluations == STEPS


def test_temperature_scales_the_start(denoiser):
    """Without noise all fields are the same; of a linear denoiser a quarter of the temperature is half of the field."""
    cold = generator(denoiser, temperature=0.0).sample(2, seed=3)
    torch.testing.assert_close(cold[0], cold[1])
    linear = build_denoiser(CARD, PowerSpectrum.harmonic(1.0))
    with torch.no_grad():
        for p in linear.net.parameters():
            p.zero_()
    one, quarter = (generator(linear, temperature=t).sample(2, seed=3) for t in (1.0, 0.25))
    torch.testing.assert_close(quarter, 0.5 * one, rtol=1e-4, atol=1e-5)


def test_the_ode_is_where_many_steps_end(denoiser):
    made = generator(denoiser, ODE(1e-5), steps=None)
    x = made.sample(2, seed=3)
    torch.testing.assert_close(x, generator(denoiser, Exponential(3), steps=400).sample(2, seed=3), rtol=1e-3, atol=1e-2)
    assert 7 < made.evaluations < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": ODE(), "steps": 9}, "chooses its steps itself; their number has no effect"),
        ({"sampler": ODE(), "steps": None, "grid": "tau"}, "chooses its times itself; a grid has no effect"),
        (
            {"sampler": Ancestral(), "grid": "optimised"},
            "fitted to a deterministic sampler, such as exponential2, not to A",
        ),
        ({"sampler": DDIM(0.5), "grid": "optimised"}, "not to DDIM"),
        ({"grid": "even"}, "no grid named 'even'; there are geometric, tau, log-snr, optimised"),
        ({"grid": "tau:x"}, "grid 'tau:x': power is a float, got 'x'"),
        ({"temperature": -1.0}, "temperature must be finite and >= 0, got -1"),
        ({"temperature": math.inf}, "temperature must be finite"),
    ],
)
def test_what_has_no_effect_or_sense_is_refused(denoiser, options, message):
    with pytest.raises(ValueError, match=message):
        generator(denoiser, **options)


def test_a_recipe_says_how_its_weights_sample(denoiser):
    """Unless something else is asked for; its grid goes with its sampler."""
    sample = {"sampler": "ddim:0.5", "steps": 7, "grid": "tau", "temperature": 0.5}
    recipe = recipe_from({"data": {"kind": "fields"}, "sample": sample}).to_dict()
    card = CARD.model_copy(update={"training": {"recipe": recipe}})
    made = FieldGenerator(denoiser, card, device="cpu")
    made.sample(1)
    assert (repr(made.sampler), made.steps, made.temperature) == ("DDIM(eta=0.5)", 7, 0.5)
    torch.testing.assert_close(only(made._times), tau_grid(denoiser.sde, 6))
    other = FieldGenerator(denoiser, card, Exponential(1), 3, "cpu", temperature=1.0)
    assert (other.steps, other.temperature, other._grid) == (3, 1.0, None)
    plain = FieldGenerator(denoiser, CARD, device="cpu")
    assert (repr(plain.sampler), plain.steps, plain.temperature) == ("Exponential(order=2)", 50, 1.0)


@pytest.mark.parametrize(
    ("kind", "sample", "message"),
    [
        ("fields", {"sampler": "magic"}, "no sampler named 'magic'; there are ancestral"),
        ("fields", {"grid": "tau"}, "grid goes with sampler"),
        ("fields", {"sampler": "ode", "steps": 9}, "steps has no effect on ode, which chooses its steps"),
        ("fields", {"sampler": "ancestral", "grid": "optimised"}, "fitted to a deterministic sampler"),
        ("fields", {"steps": 1}, "steps must be at least 2, got 1"),
        ("matrices", {"temperature": 0.5}, "sample: inverses are found by descent"),
    ],
)
def test_a_recipe_that_cannot_sample_so_is_refused(kind, sample, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from({"data": {"kind": kind}, "sample": sample})


def test_another_grid_by_name(denoiser):
    GRIDS.add("half", lambda asked, share=0.5: torch.linspace(asked.start, share * asked.start, asked.steps + 1))
    try:
        made = generator(denoiser, grid="half:0.75")
        made.sample(1)
        torch.testing.assert_close(only(made._times), torch.linspace(1, 0.75, STEPS))
        assert parse_grid("half", Exponential()).keywords == {}
    finally:
        GRIDS.remove("half")


def test_from_the_command_line(denoiser, tmp_path, capsys):
    weights, out = str(tmp_path / "w.safetensors"), str(tmp_path / "x.h5")
    save_pretrained(weights, denoiser, CARD)
    command = ["sample", "-n", "2", "--weights", weights, "-o", out, "--quiet"]
    assert main([*command, "--sampler", "ode", "--tolerance", "0.01", "--temperature", "0.5"]) == 0
    assert main([*command, "--grid", "log-snr:4", "--steps", "5"]) == 0
    assert "5 network evaluations each" in capsys.readouterr().err
    for more, message in (
        (["--tolerance", "0.1"], "--tolerance belongs to --sampler ode"),
        (["--sampler", "ode", "--tolerance", "2"], r"tolerance must lie in (0, 1), got 2.0"),
        (["--sampler", "ode", "--steps", "9"], "--steps has no effect on --sampler ode"),
        (["--sampler", "ode", "--grid", "tau"], "a grid has no effect on it"),
        (["--sampler", "ancestral", "--grid", "optimised"], "fitted to a deterministic sampler"),
        (["--grid", "tau:-1"], "power must be > 0"),
    ):
        assert main([*command, *more]) in (1, 2)
        assert message in capsys.readouterr().err
    matrices = Card(process=CARD.process, model={"kind": "matrix_energy", "n": 3}, bf16=False, data={"kind": "matrices"})
    (tmp_path / "m.json").write_text(matrices.model_dump_json())
    np.save(tmp_path / "a.npy", np.eye(3))
    for option in (["--grid", "tau"], ["--temperature", "0.5"], ["--sampler", "ode"], ["--tolerance", "0.1"]):
        assert main(["sample", str(tmp_path / "a.npy"), "--weights", str(tmp_path / "m.safetensors"), *option]) == 2
        assert f"{option[0]} is for conformers or fields" in capsys.readouterr().err
