"""Landscape descent: exact on the exact energy, never up, per graph."""

import pytest
import torch

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn.base import NetworkBase
from pyg_diffusion.nn.energy_net import EnergyNet
from pyg_diffusion.sample import ClassifierFree
from pyg_diffusion.sample.landscape import LandscapeDescent
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import GridOperator, PowerSpectrum
from pyg_diffusion.testing import ZeroNet

GRID = torch.linspace(1, 0, 6)


class Closed(NetworkBase):
    """Features σ^{-1/2}(L) (S_t - φ(L) S_0), so that E is the energy training aims at; bent by `bend`."""

    def __init__(self, sde, bend=0.0):
        super().__init__()
        self.sde, self.bend = sde, bend

    def forward(self, noisy, operator, context):
        t = self.sde.schedule.t(noisy.log_tau.exp())
        gap = noisy.signal - operator.apply(self.sde.mean(t), context)
        return operator.apply(lambda lam: self.sde.std(t)(lam).rsqrt(), gap + self.bend * (5 * gap).sin())


def closed(bend=0.0, gamma=0.3):
    sde = LinearSDE(GeometricTime(1e-4, 3.0), gamma=gamma, lambda0=1.0, noise="matched")
    spectrum = PowerSpectrum(torch.tensor([-1.0, 1.0]), torch.zeros(2)).double()
    operator = GridOperator((3, 4), "path", num_graphs=5, dtype=torch.float64)
    return Denoiser(EnergyNet(Closed(sde, bend)), sde, spectrum), operator, torch.randn(60, 2, dtype=torch.float64)


def noise():
    return torch.randn(60, 2, dtype=torch.float64)


def test_one_step_on_the_exact_energy_is_exact():
    denoiser, operator, x_0 = closed()
    torch.testing.assert_close(LandscapeDescent(1).sample(denoiser, operator, GRID[:1], noise, x_0), x_0)
    torch.testing.assert_close(LandscapeDescent(3).sample(denoiser, operator, GRID, noise, x_0), x_0)


def test_the_energy_never_rises_on_a_landscape_and_rejection_is_per_graph():
    denoiser, operator, x_0 = closed(bend=0.8)
    before, rejected, moved = None, 0, 0
    for foothold in LandscapeDescent(20, size=2.0).iterate(denoiser, operator, GRID, noise, x_0):
        log_tau = denoiser.sde.schedule.tau(foothold.t).expand(5, 1).log()
        energy = denoiser.net.energy(foothold.signal, log_tau, operator, x_0).detach()
        torch.testing.assert_close(energy, foothold.energy)
        if before is not None and before.t == foothold.t:
            assert bool((foothold.energy <= before.energy).all())
            stood = ~foothold.accepted[operator.on_nodes(torch.arange(5))]
            assert torch.equal(foothold.signal[stood], before.signal[stood])
            rejected, moved = rejected + int((~foothold.accepted).sum()), moved + int(foothold.accepted.sum())
        before = foothold
    assert rejected > 20 and moved > 20


def test_graphs_descend_on_their_own():
    denoiser, operator, x_0 = closed(bend=0.8)
    start = noise()
    together = LandscapeDescent(4).sample(denoiser, operator, GRID[:1], lambda: start, x_0)
    single = GridOperator((3, 4), "path", dtype=torch.float64)
    for k in (0, 3):
        part = slice(12 * k, 12 * k + 12)
        torch.testing.assert_close(
            LandscapeDescent(4).sample(denoiser, single, GRID[:1], lambda part=part: start[part], x_0[part]), together[part]
        )


def test_nan_is_an_error_and_so_is_a_network_without_energy():
    denoiser, operator, x_0 = closed()
    with pytest.raises(ValueError, match="not finite"):
        LandscapeDescent().sample(denoiser, operator, GRID, noise, x_0 * float("nan"))
    with pytest.raises(TypeError, match="EnergyNet, got ZeroNet"):
        LandscapeDescent().sample(Denoiser(ZeroNet(), denoiser.sde, denoiser.spectrum), operator, GRID, noise)
    with pytest.raises(ValueError, match="decreasing"):
        LandscapeDescent().sample(denoiser, operator, GRID.flip(0), noise, x_0)
    for wrong in ({"steps": 0}, {"size": 0.0}, {"grow": 0.5}, {"shrink": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))[:4]):
            LandscapeDescent(**wrong)


def test_every_step_is_shown_and_a_guided_denoiser_hands_its_slope_on():
    denoiser, operator, x_0 = closed(bend=0.4)
    descent, seen = LandscapeDescent(3), []
    out = descent.sample(denoiser, operator, GRID[:2], noise, x_0, watch=seen.append)
    assert len(seen) == descent.moments(GRID[:2]) == 6
    torch.testing.assert_close(operator.from_work(seen[-1].denoised), out)
    torch.testing.assert_close(operator.apply(denoiser.sde.mean(seen[-1].t), out), operator.from_work(seen[-1].signal))
    guided, t = ClassifierFree(denoiser, 2.0, unconditional=x_0), GRID[1:2].view(1, 1).double()
    for got, own in zip(guided.slope(operator, out, t, x_0), denoiser.slope(operator, out, t, x_0), strict=True):
        torch.testing.assert_close(got, own, rtol=0, atol=0)
    assert repr(descent) == "LandscapeDescent(steps=3, size=1.0, grow=1.5, shrink=0.5)"
