"""Samples near a given one: how far, in closed form, and by the table of `benchmarks/spread.py`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_diffusion.sample import Ancestral, Inpainted, Renoised, time_grid
from pyg_diffusion.tasks.molecules.kept import LEAST, MOST, SPREAD_OF_TAU, tau_of_spread
from pyg_diffusion.testing import gaussian_example

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "spread.json"


@pytest.mark.parametrize("start", [0.3, 0.6, 1.0])
def test_gaussian_data_come_back_as_far_as_twice_the_posterior_variance(start):
    channels = 3000  # independent fields
    denoiser, operator, _ = gaussian_example(channels=channels)
    generator = torch.Generator().manual_seed(1)
    noise = lambda: torch.randn(6, channels, generator=generator)  # noqa: E731
    parts = denoiser.parts(torch.tensor([[start]]))
    given = operator.from_work(operator.combine((lambda lam: parts.power(lam).sqrt(), operator.to_work(noise()))))
    made = Ancestral().sample(Renoised(denoiser, given), operator, time_grid(200, start), noise)
    lam = operator.eigenvalues.reshape(1, -1)
    expected = 2 * float((parts.c_out(lam) ** 2).sum())
    assert float((made - given).square().sum() / channels) == pytest.approx(expected, rel=0.04)


def test_known_nodes_are_kept_beside_it():
    denoiser, operator, noise = gaussian_example()
    known, given = torch.tensor([True, False, False, False, False, True]), torch.linspace(-1, 1, 6)[:, None].repeat(1, 2)
    made = Ancestral().sample(Renoised(Inpainted(denoiser, known, given), given), operator, time_grid(8, 0.6), noise)
    torch.testing.assert_close(made[known], given[known], rtol=0, atol=1e-4)
    assert not torch.allclose(made[~known], given[~known], atol=1e-2)


def test_what_is_not_finite_is_refused():
    denoiser, _, _ = gaussian_example()
    with pytest.raises(ValueError, match="the signal to stay near is not finite"):
        Renoised(denoiser, torch.tensor([[float("nan")]]))


def test_the_table_is_what_was_measured():
    measured = json.loads(RESULTS.read_text())
    np.testing.assert_allclose(list(SPREAD_OF_TAU), measured["tau"], rtol=0.005)
    np.testing.assert_allclose(list(SPREAD_OF_TAU.values()), measured["median"], rtol=0.03)
    page = (Path(__file__).parents[2] / "docs" / "pose.md").read_text(encoding="utf-8")
    for tau, *quartiles in zip(*(measured[name] for name in ("tau", "low", "median", "high")), strict=True):
        assert f"| {tau:.3g} | {' | '.join(f'{value:.2f}' for value in quartiles)} |" in page


def test_the_spread_names_a_time():
    for tau, rmsd in SPREAD_OF_TAU.items():
        assert tau_of_spread(rmsd) == pytest.approx(tau)
    for wrong in (LEAST / 2, 2 * MOST, float("nan")):
        with pytest.raises(ValueError, match="a spread is between"):
            tau_of_spread(wrong)
