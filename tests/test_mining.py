"""Miners on the energy that training aims at, in closed form: true gaps, false negatives, losses."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.mining import (
    MINERS,
    AdversarialNegatives,
    CalibratedNegatives,
    Negatives,
    NoMining,
    PublishedNegatives,
    RandomNegatives,
    miners_of,
)
from pyg_diffusion.nn import EnergyNet, GraphNet, NetworkBase
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, Laplacian, PowerSpectrum
from pyg_diffusion.testing import ZeroNet, random_graph

GRAPHS = 64


class Closed(NetworkBase):
    """Features whose energy is `scale` times the one training aims at, given S_0 as context."""

    def __init__(self, sde):
        super().__init__()
        self.sde, self.scale = sde, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, noisy, operator, context):
        t = self.sde.schedule.t(noisy.log_tau.exp())
        gap = noisy.signal - operator.apply(self.sde.mean(t), context)
        return self.scale.sqrt() * operator.apply(lambda lam: self.sde.std(t)(lam).rsqrt(), gap)


class Flat(nn.Module):
    """p = 1."""

    def forward(self, lam):
        return torch.ones_like(lam)


def problem(time=None, gamma=0.2, centered=False):
    sde = LinearSDE(GeometricTime(1e-4, 3.0), gamma=gamma, lambda0=1.0, noise="matched")
    spectrum = PowerSpectrum(torch.tensor([-1.0, 2.0]), torch.tensor([0.5, -0.5])).double()
    operator = GridOperator((3, 3), "path", num_graphs=GRAPHS, dtype=torch.float64)
    x_0, noise = torch.randn(2, operator.num_nodes, 2, dtype=torch.float64)
    t = torch.rand(GRAPHS, 1, dtype=torch.float64) if time is None else torch.full((GRAPHS, 1), time, dtype=torch.float64)
    if centered:
        x_0 = operator.from_work(operator.center(operator.to_work(x_0)))
    return Denoiser(EnergyNet(Closed(sde)), sde, spectrum, centered), operator, x_0, noise, t


def mine(miner, **kwargs):
    denoiser, operator, x_0, noise, t = problem(**kwargs)
    return miner(denoiser, operator, x_0, noise, t, x_0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in miners_of() if name != "none"])
@pytest.mark.parametrize("centered", [False, True])
def test_gaps_of_the_exact_energy_are_the_true_ones(name, centered):
    mined = mine(MINERS[name](), centered=centered)
    torch.testing.assert_close(mined.gap[mined.kept], mined.true_gap[mined.kept], rtol=1e-6, atol=1e-6)
    log = mined.log()
    assert log["false_negatives"] == pytest.approx(float((mined.true_gap[mined.kept] <= 0).double().mean()))
    assert log["calls"] == MINERS[name]().calls and 0 < log["kept"] <= 1


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_calibrated_negatives_are_never_false_and_their_gap_is_as_asked(time):
    mined = mine(CalibratedNegatives(low=2.0, high=5.0, steps=1), time=time)
    assert bool(mined.kept.all()) and mined.false_share == 0
    assert bool((mined.true_gap > 2 - 1e-6).all() and (mined.true_gap < 5 + 1e-6).all()) and mined.true_gap.std() > 0.5
    torch.testing.assert_close(mined.loss.detach(), torch.zeros(GRAPHS).double())


def test_the_true_gap_is_the_formula():
    """φ²‖d‖²/2σ + φ dᵀε with ε shared, isotropic."""
    denoiser, operator, x_0, noise, t = problem(gamma=0.0)
    seen = {}

    class Spy(CalibratedNegatives):
        def negatives(self, positive):
            seen["signal"], seen["positive"] = super().negatives(positive)[0], positive.signal
            return Negatives(seen["signal"], operator.sizes > 0)

    mined = Spy()(denoiser, operator, x_0, noise, t, x_0)
    lam = torch.zeros(GRAPHS, 1, dtype=torch.float64)
    phi, sigma = denoiser.sde.mean(t)(lam), denoiser.sde.std(t)(lam)
    d = (seen["signal"] - seen["positive"]) / operator.on_nodes(phi)
    squares, products = (operator.graph_sum(v).sum(1) for v in (d.square(), d * noise))
    torch.testing.assert_close((phi**2 / (2 * sigma))[:, 0] * squares + phi[:, 0] * products, mined.true_gap)


def test_calibration_teaches_the_height_of_the_landscape():
    """d/ds of the squared relative error at E = s E*, s = ½: the gap is half of what it should be."""
    denoiser, operator, x_0, noise, t = problem()
    denoiser.net.net.scale.data.fill_(0.5)
    mined = CalibratedNegatives()(denoiser, operator, x_0, noise, t, x_0)
    torch.testing.assert_close(mined.gap, mined.true_gap / 2)
    mined.loss.mean().backward()
    torch.testing.assert_close(denoiser.net.net.scale.grad, torch.tensor(-1.0).double())  # 2 (s - 1)


def test_what_finds_the_truth_makes_false_negatives_unless_rejected():
    """A full step on the exact energy ends at S_0: with fresh noise half of the negatives are false; calibrated has none."""
    found = mine(AdversarialNegatives(steps=1, size=1.0), time=0.5)
    assert 0.3 < found.false_share < 0.7
    assert not bool(mine(CalibratedNegatives(steps=1, size=1.0), time=0.5).kept.any())
    assert mine(RandomNegatives(scale=3.0), time=0.1).false_share == 0
    assert 0.3 < mine(RandomNegatives(scale=1e-6), time=0.5).false_share < 0.7


def test_the_published_miner_makes_false_negatives():
    """At one time and for S_0 within the clamp: S⁻ - φS_0 = (1 + 3 (1 - s)(1 - 2s)) σ ε, below S⁺ for s in (½, 1)."""
    denoiser, operator, _, noise, t = problem(time=0.2, gamma=0.0)
    x_0 = torch.zeros_like(noise)
    for size, false in ((0.75, 1.0), (0.25, 0.0)):
        mined = PublishedNegatives(size)(denoiser, operator, x_0, noise, t, x_0)
        energy = operator.graph_sum(noise.square()).sum(1) * denoiser.sde.std(t)(torch.zeros(1, 1).double())[:, 0] / 2
        torch.testing.assert_close(mined.true_gap, ((1 + 3 * (1 - size) * (1 - 2 * size)) ** 2 - 1) * energy)
        assert mined.false_share == false


def test_the_published_miner_clamps_all_with_the_time_of_the_first():
    """The clamp is 2φ of sample 0, so what becomes of all others depends on who is first."""
    denoiser, operator, x_0, noise, t = problem(gamma=0.0)
    gaps = []
    for t[0] in (0.0, 1.0):
        gaps.append(PublishedNegatives()(denoiser, operator, x_0, noise, t, x_0).true_gap[1:])
    assert (gaps[0] - gaps[1]).abs().max() > 1.0


def test_bounded_adversaries_stay_in_the_data_at_every_time():
    denoiser, operator, x_0, noise, t = problem(gamma=0.0)
    reached = []

    class Spy(AdversarialNegatives):
        def estimate(self, positive):
            reached.append(super().estimate(positive))
            return reached[-1]

    Spy(scale=5.0, size=0.1, bound=0.7)(denoiser, operator, x_0, noise, t, x_0)
    assert float(reached[0].abs().max()) == pytest.approx(0.7)


def test_no_mining_and_the_approximate_backend():
    none = mine(NoMining())
    assert float(none.loss.sum()) == 0 and none.log()["calls"] == 0 and none.false_share == 0
    edges, weight = random_graph(12, weighted=True)
    operator = ChebyshevOperator(Laplacian.from_edges(edges, 12, weight)).to(torch.float64)
    sde = LinearSDE(GeometricTime(0.1, 3.0), gamma=0.2, lambda0=1.0, noise="matched")
    denoiser = Denoiser(EnergyNet(Closed(sde)), sde, Flat())
    x_0, noise = torch.randn(2, 12, 3, dtype=torch.float64)
    mined = CalibratedNegatives()(denoiser, operator, x_0, noise, torch.tensor([[0.6]]).double(), x_0)
    torch.testing.assert_close(mined.gap, mined.true_gap, rtol=1e-3, atol=1e-3)
    assert 1 - 1e-2 < float(mined.true_gap) < 8 + 1e-2


def test_an_empty_batch_and_wrong_input():
    denoiser = problem()[0]
    operator, none = GridOperator((3,), "path", num_graphs=0, dtype=torch.float64), torch.zeros(0, 1, dtype=torch.float64)
    for name in miners_of():
        mined = MINERS[name]()(denoiser, operator, none, none, none, none)
        assert mined.loss.shape == (0,) and mined.false_share == 0 and mined.log()["gap"] == 0
    with pytest.raises(TypeError, match="EnergyNet, got ZeroNet"):
        RandomNegatives()(Denoiser(ZeroNet(), denoiser.sde, denoiser.spectrum), operator, none, none, none)
    with pytest.raises(ValueError, match="low"):
        CalibratedNegatives(low=0.0)
    with pytest.raises(ValueError, match="step"):
        AdversarialNegatives(steps=0)


@pytest.mark.parametrize("name", miners_of(("z", "edge_attr")))
def test_miners_work_on_molecules(name, molecules):
    """A batch of conformers, centered: finite losses with gradients, and negatives without a translation of their own."""
    batch = Batch.from_data_list([m.data(0) for m in molecules[:4]])
    operator = laplacian_operator(batch, DenseOperator.from_laplacian)
    sde = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.33)
    denoiser = Denoiser(EnergyNet(GraphNet(width=8, depth=1, heads=2)), sde, PowerSpectrum.harmonic(1.33), centered=True)
    torch.nn.init.normal_(denoiser.net.net.read.weight, std=0.1)
    t = torch.full((4, 1), 0.5)
    mined = MINERS[name]()(denoiser, operator, batch.pos, torch.randn_like(batch.pos), t, batch)
    assert bool(torch.isfinite(mined.loss).all() & torch.isfinite(mined.true_gap).all())
    if name != "none":
        assert bool(mined.kept.any()) and mined.loss.requires_grad
    if name == "calibrated":
        assert float(mined.false_share) == 0


def test_no_mining_keeps_no_negative():
    operator, signal = GridOperator((3,), num_graphs=2), torch.ones(6, 1)
    found = NoMining().negatives(SimpleNamespace(operator=operator, signal=signal))
    assert found.kept.tolist() == [False, False] and found.signal is signal
