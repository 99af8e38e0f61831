"""The evaluations that are reported are those of the network, counted by itself: every sampler, guided or not."""

import pytest
import torch

from pyg_diffusion import ConformerGenerator, FieldGenerator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet, GraphNet
from pyg_diffusion.sample import DDIM, Ancestral, Exponential, PredictorCorrector, ProbabilityFlow
from pyg_diffusion.sample.confidence import TAUS
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.weights_io import Card

STEPS = 5  # times of a draw
COSTS = [  # sampler, and its network calls at five times, by its formula
    (Ancestral(), 5),
    (DDIM(0.5), 5),
    (Exponential(2), 5),
    (Exponential(3), 6),  # starts with a single step of second order
    (ProbabilityFlow(2), 9),  # Heun: two in each of four steps
    (PredictorCorrector(Ancestral(), corrections=2), 13),
    (PredictorCorrector(Exponential(3)), 10),
]


class Calls:
    """Forward hook: graphs that a network is evaluated on, one for every graph of every call."""

    def __init__(self, net):
        self.count = 0
        net.register_forward_hook(self.add)

    def add(self, net, inputs, out):
        self.count += inputs[1].num_graphs


def denoiser_of(net):
    return Denoiser(net, LinearSDE(GeometricTime(), gamma=1.33), PowerSpectrum.harmonic(1.33), centered=True)


@pytest.mark.parametrize(("sampler", "cost"), COSTS, ids=lambda value: repr(value))
def test_molecules(sampler, cost, molecules):
    """Batches of all sizes, what is wrong drawn again, a confidence for what is left."""
    torch.manual_seed(0)
    net = ConformerNet(width=16, depths=(1,), heads=2, pair_width=8)
    calls = Calls(net)
    card = Card(process={}, model={}, bf16=False, elements=[1, 6, 7, 8], data={"kind": "molecules"})
    generator = ConformerGenerator(denoiser_of(net), card, sampler, STEPS, device="cpu", max_pairs=400, confidence=False)
    results = generator.sample(molecules[:6], 3, max_attempts=2)
    assert sum(r.evaluations for r in results) == calls.count
    # twice each, but what was sound or mended at once, or hopeless in every draw
    assert all(r.evaluations in range(3 * cost, (6 - r.sound_at_once) * cost + 1, cost) for r in results)
    assert any(r.evaluations > 3 * cost for r in results)  # so that some were drawn again

    rated, calls.count = ConformerGenerator(generator.denoiser, card, sampler, STEPS, device="cpu", unsound="keep"), 0
    results = rated.sample(molecules[4:5], 3, max_attempts=1)
    assert sum(r.evaluations for r in results) == calls.count == 3 * (cost + len(TAUS))


@pytest.mark.parametrize(("guidance", "times"), [(0.0, 1), (1.0, 1), (2.0, 2)])
@pytest.mark.parametrize("diversity", [0.0, 5.0])
def test_guidance(guidance, times, diversity, molecules):
    net = ConformerNet(width=16, depths=(1,), heads=2, pair_width=8, conditions=("radius_of_gyration",))
    calls = Calls(net)
    card = Card(
        process={},
        model={"conditions": ["radius_of_gyration"]},
        bf16=False,
        elements=[1, 6, 7, 8],
        data={"kind": "molecules"},
    )
    generator = ConformerGenerator(denoiser_of(net), card, ProbabilityFlow(2), STEPS, device="cpu", confidence=False)
    (result,) = generator.sample(
        molecules[4:5], 3, condition={"radius_of_gyration": 2.0}, guidance=guidance, diversity=diversity
    )
    assert result.evaluations == calls.count == 3 * 9 * times


@pytest.mark.parametrize(("sampler", "cost"), COSTS, ids=lambda value: repr(value))
def test_fields(sampler, cost):
    net = GraphNet(1, width=16, depth=1, conditions=1)
    calls = Calls(net)
    data = {"kind": "fields", "shape": [4, 5], "kinds": "cycle", "spacing": [1.0, 1.0], "channels": 1}
    card = Card(process={}, model={"conditions": ["amplitude"]}, bf16=False, data=data)
    generator = FieldGenerator(denoiser_of(net), card, sampler, STEPS, device="cpu", max_nodes=40)  # two fields a batch
    generator.sample(4)
    assert generator.evaluations == cost == calls.count / 4
    generator.sample(2, condition={"amplitude": 1.0}, guidance=2.0)
    assert generator.evaluations == 2 * cost
