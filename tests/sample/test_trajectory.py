"""What is kept of a path is the path."""

import pytest
import torch

from pyg_diffusion.sample import Ancestral, Exponential, Recorder, Recording, time_grid
from pyg_diffusion.sample import trajectory as module
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, Laplacian, PowerSpectrum
from pyg_diffusion.testing import gaussian_denoiser

SDE = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.05)
DENOISER = gaussian_denoiser(SDE, PowerSpectrum.harmonic(0.3, 0.2, 5.0))
EDGES = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
OPERATOR = DenseOperator.from_edges(EDGES, 5, batch=torch.tensor([0, 0, 0, 1, 1]))
GRID = time_grid(9).double()


def draws():
    generator = torch.Generator().manual_seed(0)
    return lambda: torch.randn(5, 2, generator=generator, dtype=torch.float64)


def recorded(record, sampler=None, moments=10):
    recorder = Recorder(record, DENOISER, OPERATOR, moments)
    out = (sampler or Ancestral()).sample(DENOISER, OPERATOR, GRID, draws(), watch=recorder)
    return out, recorder


def test_every_step_is_there_graph_by_graph():
    out, recorder = recorded(Recording())
    path = list(Ancestral().iterate(DENOISER, OPERATOR, GRID, draws()))
    one, two = recorder.trajectories()
    assert one.signal.shape == (10, 3, 2) and two.denoised.shape == (10, 2, 2) and one.signal.dtype == torch.float32
    torch.testing.assert_close(one.t, GRID.float())
    torch.testing.assert_close(two.tau, SDE.schedule.tau(GRID).float())
    for k, moment in enumerate(path):
        torch.testing.assert_close(one.signal[k], OPERATOR.from_work(moment.signal)[:3].float())
        torch.testing.assert_close(two.denoised[k], OPERATOR.from_work(moment.denoised)[3:].float())
    torch.testing.assert_close(torch.cat([one.denoised[-1], two.denoised[-1]]), out.float())


def test_signal_to_noise_of_every_mode():
    _, recorder = recorded(Recording(3))
    one, two = recorder.trajectories()
    assert one.snr.shape == (3, 3) and two.snr.shape == (3, 2)  # without the padding
    torch.testing.assert_close(two.eigenvalues, torch.tensor([0.0, 2.0]))
    lam = torch.tensor([[2.0]]).double()
    phi, var = SDE.mean(GRID[-1])(lam), SDE.var(GRID[-1])(lam)
    torch.testing.assert_close(two.snr[-1, 1], (phi**2 * DENOISER.spectrum(lam) / var).squeeze().float())
    assert bool((one.snr.diff(dim=0) > 0).all())


def test_chosen_frames_are_even_and_have_both_ends():
    assert Recording(4).chosen(10) == [0, 3, 6, 9] and Recording(20).chosen(3) == [0, 1, 2] == Recording().chosen(3)
    for moments in (10, None):  # known beforehand, or all kept until the end
        _, recorder = recorded(Recording(4), Exponential(2), moments)
        torch.testing.assert_close(recorder.trajectories()[0].t, GRID[[0, 3, 6, 9]].float())
        assert len(recorder.frames) == (4 if moments else 10)


def test_what_does_not_fit_is_refused_with_the_limit(monkeypatch):
    for frames in (1, 1_001):
        with pytest.raises(ValueError, match=f"a trajectory holds 2 to 1,000 frames, got {frames:,}"):
            Recording(frames)
    every = Recording()
    with pytest.raises(ValueError, match="at most 1,000 frames, and this one would have 1,000,000"):
        every.check(10, every.kept(1_000_000))
    with pytest.raises(ValueError, match="at most 50,000,000 numbers in all, and these would have 60,000,000"):
        Recording(10).check(3_000_000, Recording(10).kept(50))
    monkeypatch.setattr(module, "MOST_FRAMES", 5)
    with pytest.raises(ValueError, match="at most 5 frames, and this one would have 6"):
        recorded(Recording(), moments=None)


def test_a_path_on_a_polynomial_backend_has_no_modes_and_the_same_signal():
    laplacian = Laplacian.from_edges(EDGES, 5, batch=torch.tensor([0, 0, 0, 1, 1]))
    recorder = Recorder(Recording(3), DENOISER, ChebyshevOperator(laplacian), 10)
    Exponential(2).sample(DENOISER, recorder.operator, GRID, draws(), watch=recorder)
    known = Recorder(Recording(3), DENOISER, OPERATOR, 10)
    Exponential(2).sample(DENOISER, OPERATOR, GRID, draws(), watch=known)
    for one, other in zip(recorder.trajectories(), known.trajectories(), strict=True):
        assert one.snr is None and one.eigenvalues is None and other.snr.shape[0] == 3
        torch.testing.assert_close(one.signal, other.signal, rtol=1e-4, atol=1e-4)
