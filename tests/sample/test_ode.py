"""The error-controlled flow against closed forms and against many steps of fixed size."""

import pytest
import torch
from scipy.integrate import RK45

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.sample import Counted, Exponential, PredictorCorrector, ode, parse_sampler, time_grid
from pyg_diffusion.sample.ode import ODE
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, Laplacian, PowerSpectrum
from pyg_diffusion.testing import GaussianMixture, gaussian_denoiser

SDE = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.05)
SPECTRUM = PowerSpectrum.harmonic(0.3, 0.2, 5.0)
ENDS = time_grid(1).double()
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 4, 5], [1, 0, 2, 1, 3, 2, 5, 4]])
OPERATOR = DenseOperator.from_edges(EDGES, 6, batch=torch.tensor([0, 0, 0, 0, 1, 1]))
NOISE = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def mixture() -> Denoiser:
    """Two fields that are far apart, on paths of 4: a flow that bends."""

    def spectrum(lam):
        return 1 / (0.2 + 0.5 * lam)

    means = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = GaussianMixture(means, torch.tensor([0.5, 0.5]).double(), lambda lam: 0.1 * spectrum(lam), SDE, spectrum)
    return Denoiser(net, SDE, spectrum)


def path_of_4(graphs: int = 1) -> DenseOperator:
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    shifts = 4 * torch.arange(graphs).repeat_interleave(6)
    return DenseOperator.from_edges(
        edges.repeat(1, graphs) + shifts, 4 * graphs, batch=torch.arange(graphs).repeat_interleave(4)
    )


def test_gaussian_data_keep_u_whatever_the_tolerance():
    """S / √(φ²p + σ²) is constant along the flow: exact, on exact operators and on those that know no modes."""
    denoiser = gaussian_denoiser(SDE, lambda lam: 1 / (0.2 + 0.5 * lam))  # smooth, as a polynomial has it
    for operator, gap in ((OPERATOR, 1e-9), (ChebyshevOperator(Laplacian.from_edges(EDGES, 6)), 1e-4)):
        made = ODE(0.5).sample(denoiser, operator, ENDS, lambda: NOISE)
        end = denoiser.parts(ENDS[-1])
        expected = operator.apply(lambda lam, end=end: end.c_skip(lam) * end.std(lam), NOISE)
        torch.testing.assert_close(made, expected, rtol=0, atol=gap)


def test_the_error_goes_with_the_tolerance_and_evaluations_are_counted():
    denoiser, operator, noise = mixture(), path_of_4(), NOISE[:4]
    exact = Exponential(3).sample(denoiser, operator, time_grid(1500).double(), lambda: noise)
    errors, spent = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        counted = Counted(denoiser)
        made = ODE(tolerance).sample(counted, operator, ENDS, lambda: noise)
        errors.append(float((made - exact).abs().max()))
        spent.append(counted.evaluations)
    assert errors[0] < 0.1 and errors[1] < 2e-3 and errors[2] < 1e-4 and errors == sorted(errors, reverse=True)
    assert 6 < spent[0] < spent[1] < spent[2] < 1000


def test_each_graph_of_a_batch_keeps_to_the_tolerance():
    denoiser = mixture()
    noise = torch.randn(24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = ODE(1e-6).sample(denoiser, path_of_4(6), ENDS, lambda: noise)
    for k in range(6):
        own = noise[4 * k : 4 * k + 4]
        alone = ODE(1e-6).sample(denoiser, path_of_4(), ENDS, lambda own=own: own)
        torch.testing.assert_close(together[4 * k : 4 * k + 4], alone, rtol=0, atol=2e-5)


def test_a_path_shows_every_step_and_ends_where_the_sample_is():
    denoiser, operator, noise = mixture(), path_of_4(), NOISE[:4]
    seen, counted = [], Counted(denoiser)
    made = ODE(1e-3).sample(counted, operator, ENDS, lambda: noise, watch=seen.append)
    times = torch.stack([moment.t for moment in seen])
    assert times[0] == 1 and times[-1] == 0 and bool((times.diff() < 0).all()) and len(seen) > 4
    for moment in seen:
        torch.testing.assert_close(moment.denoised, denoiser.denoise(operator, moment.signal, moment.t))
    torch.testing.assert_close(operator.from_work(seen[-1].denoised), made)
    assert counted.evaluations >= 6 * (len(seen) - 1)
    assert ODE().moments(ENDS) is None and Exponential().moments(time_grid(7)) == 8


def test_it_serves_as_a_predictor():
    """Between two times it takes one to the other as well as a fine grid does."""
    denoiser, operator, noise = mixture(), path_of_4(), NOISE[:4]
    made = PredictorCorrector(ODE(1e-6), 1, 1e-12).sample(denoiser, operator, time_grid(3).double(), lambda: noise)
    exact = ODE(1e-8).sample(denoiser, operator, ENDS, lambda: noise)
    torch.testing.assert_close(made, exact, rtol=0, atol=1e-4)


def test_what_cannot_be_followed_is_said():
    denoiser = gaussian_denoiser(SDE, SPECTRUM)
    for bad in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"tolerance must lie in \(0, 1\)"):
            ODE(bad)
    with pytest.raises(ValueError, match="cannot be followed beyond t = 1, after 0 evaluations"):
        ODE().sample(denoiser, OPERATOR, ENDS, lambda: NOISE * float("nan"))
    assert parse_sampler("ode:1e-5").tolerance == 1e-5
    with pytest.raises(ValueError, match="tolerance is a float, got 'fine'"):
        parse_sampler("ode:fine")


def test_a_flow_that_ends_nowhere_is_said_with_its_time(monkeypatch):
    monkeypatch.setattr(ode, "MOST", 20)
    with pytest.raises(ValueError, match=r"cannot be followed beyond t = 0\.\d+, after 21 evaluations"):
        ODE(1e-9).sample(mixture(), path_of_4(), ENDS, lambda: NOISE[:4])

    class Stuck(RK45):
        def step(self):
            self.status = "failed"

    monkeypatch.setattr(ode, "RK45", Stuck)
    with pytest.raises(ValueError, match="cannot be followed beyond t = 1, after "):
        ODE().sample(mixture(), path_of_4(), ENDS, lambda: NOISE[:4])


def test_single_precision_takes_no_evaluation_more():
    """6 of a step and the two that choose the first; where a step ends is known from the last of them."""
    spent = []
    for kind in (torch.float32, torch.float64):
        counted = Counted(gaussian_denoiser(SDE, SPECTRUM))
        path = list(ODE(0.1).iterate(counted, OPERATOR.to(kind), ENDS.to(kind), lambda kind=kind: NOISE.to(kind)))
        spent.append(counted.evaluations)
        torch.testing.assert_close(path[-1].t, ENDS[-1].to(kind))
    assert spent == [2 + 6 * (len(path) - 1)] * 2  # the first of the path is its start
