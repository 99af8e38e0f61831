"""Networks by name: their contract, options read off the constructor, and one from outside."""

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.network import EnergyNetwork, Network
from pyg_diffusion.nn import NETWORKS, NetworkBase, NetworkKind
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.sections import RecipeError, validated
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.weights_io import Card, build_denoiser, load_pretrained, save_pretrained

SDE = LinearSDE(GeometricTime(1e-3, 10.0), 0.5, 0.5, "matched")


class Blend(NetworkBase):
    """A mixture of what it may read.

    Args:
        channels: C.
        shares: how much of each, one
            number per part.
        levels: sources that it tells apart.
    """

    predicts = "eps"

    def __init__(self, channels: int, shares: tuple[float, ...] = (0.5, 0.5), levels: tuple[str, ...] = ()):
        super().__init__()
        self.levels, self.share = levels, nn.Parameter(torch.tensor(shares))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, noisy, operator, context):
        return self.share[0] * noisy.signal + self.share[1] * noisy.white + self.bias


@pytest.fixture
def blend():
    NETWORKS.add("blend", NetworkKind(Blend, facts=("channels", "positions")))
    yield
    NETWORKS.remove("blend")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_the_contract(name):
    facts = {"channels": 2, "positions": 2} if name in ("graph", "eps", "score", "mlp", "energy") else {"n": 3}
    facts = {} if name in ("conformer", "hydrogen") else facts
    net = NETWORKS[name].make(NETWORKS[name].options(name)().model_dump() | facts)
    assert isinstance(net, Network) and isinstance(net, EnergyNetwork) == NETWORKS[name].energy
    assert net.levels == () and net.predicts in ("F", "eps", "score")
    with pytest.raises(ValueError, match=r"takes (0|no) "):
        net.set_conditions(torch.zeros(1), torch.ones(1))


@pytest.mark.parametrize("name", ["conformer", "graph", "mlp", "energy"])
def test_conditions_reach_every_network_that_takes_them(name):
    conditions = ["radius_of_gyration"] if name == "conformer" else ["amplitude"]
    net = NETWORKS[name].make({"kind": name, "width": 8, "conditions": conditions} | ({} if name == "mlp" else {"heads": 2}))
    net.set_conditions(torch.tensor([3.0]), torch.tensor([2.0]))
    inner = net.net if name == "energy" else net
    assert float(inner.condition_mean) == 3.0 and float(inner.condition_std) == 2.0


def test_a_network_that_takes_no_conditions_refuses_them():
    with pytest.raises(ValueError, match="MatrixNet takes no conditions, got x"):
        NETWORKS["matrix_energy"].make({"conditions": ["x"], "n": 3})


def test_options_are_those_of_the_constructor(blend):
    options = NETWORKS["blend"].options("blend")
    assert options().model_dump() == {"kind": "blend", "shares": [0.5, 0.5], "levels": [], "conditions": []}
    assert options.model_fields["shares"].description == "how much of each, one number per part"
    assert options.model_fields["conditions"].description == "none: this network takes none"
    assert validated(options, {"shares": ["1e-1", 2]}, "model").shares == [0.1, 2.0]
    with pytest.raises(RecipeError, match=r"model.share: no such key; there are kind, shares, levels, conditions"):
        validated(options, {"share": 1}, "model")


def test_a_network_from_outside_denoises_and_comes_back_from_its_file(blend, tmp_path):
    card = Card(
        process={"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-3, "tau_max": 10.0},
        model={"kind": "blend", "shares": [0.25, 0.75], "levels": ["a"], "conditions": [], "channels": 2, "positions": 3},
        bf16=False,
        data={"kind": "some"},
    )
    save_pretrained(tmp_path / "w.safetensors", build_denoiser(card, PowerSpectrum.harmonic()), card)
    denoiser, found = load_pretrained(tmp_path / "w.safetensors")
    assert found == card and denoiser.net.levels == ("a",) and denoiser.predicts == "eps" and not denoiser.centered
    batch = Batch.from_data_list([grid_graph((3, 4))])
    operator, x = laplacian_operator(batch), torch.randn(12, 2)
    t = torch.tensor([[0.5]])
    parts = denoiser.parts(t)
    white = operator.apply(parts.c_in, x)
    eps = 0.25 * x + 0.75 * white
    wanted = operator.apply(lambda lam: 1 / parts.phi(lam), x - operator.apply(parts.sigma, eps))
    torch.testing.assert_close(denoiser(operator, x, t), wanted)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"Linear is no pyg_diffusion\.network\.Network; derive it from"):
        Denoiser(nn.Linear(1, 1), SDE, PowerSpectrum.harmonic())
    with pytest.raises(ValueError, match="Blend is not made to be compiled"):
        Blend(1).compile()
