"""Networks on atoms: symmetries, what they read, batches, energies, conditions, and what they return untrained."""

import pytest
import torch
from torch_geometric.data import Batch

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import NETWORKS, GatedConv, VectorConv, without_condition
from pyg_diffusion.nn.atom_graph import CUTOFF, AtomGraph
from pyg_diffusion.nn.pairs import within_bonds
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.testing import ZeroNet

SDE = LinearSDE(GeometricTime(1e-3, 40.0), gamma=0.0)  # φ = 1: every kind of prediction is well conditioned
GRAPH_KINDS = ["graph", "eps", "score", "energy"]
KINDS = [*GRAPH_KINDS, "mlp"]
TURN = torch.tensor([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]], dtype=torch.float64)  # a rotation


def build(kind: str, stirred: bool = True, **options) -> Denoiser:
    torch.manual_seed(1)
    sizes = {"width": 16, "depth": 2} | ({} if kind == "mlp" else {"heads": 2})
    net = NETWORKS[kind].make({"kind": kind, "atoms": True, **sizes, **options})
    if stirred:  # away from the closed start, so that every path counts
        for p in net.parameters():
            p.data.add_(0.1 * torch.randn_like(p))
    return Denoiser(net, SDE, PowerSpectrum.harmonic(), centered=True).double().eval()


def denoise(denoiser, data, signal, tau=0.3):
    t = SDE.schedule.t(torch.full((getattr(data, "num_graphs", 1), 1), tau, dtype=torch.float64))
    with torch.no_grad():
        return denoiser(laplacian_operator(data, dtype=torch.float64), signal, t, data)


def swapped(data):
    """Told as the other enantiomer."""
    out = data.clone()
    out.tetra_index = data.tetra_index[[0, 2, 1, 3, 4]]
    return out


@pytest.fixture
def items(molecules):
    return [m.data(0) for m in molecules]


def noisy(data, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return data.pos.double() + 0.5 * torch.randn(data.num_nodes, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_they_turn_with_the_molecule_and_see_mirror_images_as_such(kind, attention, items):
    denoiser, data = build(kind, attention=attention, global_attention=not attention), items[6]  # three centres, in a ring
    x, turn = noisy(data), TURN
    straight = denoise(denoiser, data, x)
    torch.testing.assert_close(denoise(denoiser, data, x @ turn.T), straight @ turn.T, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(denoise(denoiser, swapped(data), -x @ turn.T), -straight @ turn.T, atol=1e-9, rtol=1e-7)
    assert (denoise(denoiser, data, -x) + straight).abs().max() > 1e-3  # told as what it is not


@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_stereo_reaches_the_output(kind, items):
    denoiser, data = build(kind), items[0]
    wanted = denoise(denoiser, data, noisy(data))
    assert (denoise(denoiser, swapped(data), noisy(data)) - wanted).abs().max() > 1e-3
    even = data.clone()
    even.tetra_index = data.tetra_index[[0, 2, 3, 1, 4]]  # a cyclic turn of three neighbours keeps the parity
    torch.testing.assert_close(denoise(denoiser, even, noisy(data)), wanted)
    alkene = items[1]
    other = alkene.clone()
    other.ez_attr = 3 - alkene.ez_attr
    x = noisy(alkene)
    assert (denoise(denoiser, other, x) - denoise(denoiser, alkene, x)).abs().max() > 1e-3


@pytest.mark.parametrize("column", [0, 1, 2, 3])  # element, charge, hybridisation, aromaticity
@pytest.mark.parametrize("kind", KINDS)
def test_types_reach_the_output(kind, column, items):
    denoiser, data = build(kind), items[0]
    other = data.clone()
    other.x = data.x.clone()
    other.x[0, column] = (other.x[0, column] + 1) % 2
    x = noisy(data)
    assert (denoise(denoiser, other, x) - denoise(denoiser, data, x)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_molecules_and_their_order_does_not_matter(kind, items):
    denoiser, chosen = build(kind), [items[k] for k in (0, 4, 3, 9)]  # a salt, one heavy atom, a cage
    signals = [noisy(data) for data in chosen]
    together = denoise(denoiser, Batch.from_data_list(chosen), torch.cat(signals))
    for data, signal, part in zip(chosen, signals, together.split([len(s) for s in signals]), strict=True):
        torch.testing.assert_close(denoise(denoiser, data, signal), part, atol=1e-8, rtol=1e-6)
        order = torch.randperm(data.num_nodes)
        place, moved = order.argsort(), data.clone()
        moved.x, moved.z = data.x[order], data.z[order]
        for name in ("edge_index", "tetra_index", "ez_index"):
            moved[name] = place[data[name]]
        torch.testing.assert_close(denoise(denoiser, moved, signal[order]), part[order], atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("attention", [True, False])
def test_the_slope_of_the_energy_is_its_difference(attention, items):
    """Also where a pair of atoms crosses the cutoff."""
    denoiser, data = build("energy", attention=attention), items[1]
    operator, x, log_tau = laplacian_operator(data, dtype=torch.float64), noisy(data), torch.zeros(1, 1).double()
    bonds = within_bonds(data.edge_index, data.num_nodes, torch.tensor([0]), 3)[0][1]
    far = next(k for k in range(data.num_nodes) if k and k not in bonds)
    x[far] = x[0] + (x[far] - x[0]) / (x[far] - x[0]).norm() * (CUTOFF - 1e-6)
    code = denoiser.net.encode(data, operator)
    slope = denoiser.net.slope(x, log_tau, operator, code)[1]
    for seed in range(3):
        step = 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        up, down = (denoiser.net.energy(x + sign * step, log_tau, operator, code) for sign in (1, -1))
        torch.testing.assert_close((up - down).squeeze() / 2, (slope * step).sum(), rtol=1e-5, atol=1e-12)


def test_an_energy_does_not_change_when_a_molecule_turns(items):
    denoiser, data = build("energy"), items[6]
    operator, x, turn = laplacian_operator(data, dtype=torch.float64), noisy(data), TURN
    energy, slope = denoiser.net.slope(x, torch.zeros(1, 1).double(), operator, data)
    turned, turned_slope = denoiser.net.slope(x @ turn.T, torch.zeros(1, 1).double(), operator, data)
    torch.testing.assert_close(turned, energy)
    torch.testing.assert_close(turned_slope, slope @ turn.T)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind, items):
    denoiser = build(kind, conditions=["radius_of_gyration"])
    batch = Batch.from_data_list(items)
    batch.condition = torch.randn(len(items), 1)
    operator = laplacian_operator(batch, dtype=torch.float64)
    t = torch.rand(len(items), 1).double()
    x = torch.cat([noisy(data) for data in items])
    denoiser(operator, x, t, batch).square().sum().backward()
    dead = [name for name, p in denoiser.net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not dead


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_they_return_a_linear_estimate(kind, items):
    """F = 0; ε̂ = c_in S_t; or, of an energy, S_t/√(1 + mean S_t²)."""
    data, denoiser = items[0], build(kind, stirred=False)
    x, operator = noisy(data) - noisy(data).mean(0), laplacian_operator(data, dtype=torch.float64)
    zero = Denoiser(ZeroNet(), SDE, denoiser.spectrum, centered=True).double()
    sigma = 0.3**0.5
    parts = denoiser.parts(SDE.schedule.t(torch.full((1, 1), 0.3).double()))
    half = x - sigma * operator.apply(parts.c_in, x)
    wanted = {"graph": denoise(zero, data, x), "energy": None}.get(kind, half)
    if wanted is None:
        m = 1 + x.square().mean()
        a = m**-0.5 - 0.5 * m**-1.5 * x.square().sum() / x.numel()  # ∂/∂x of ½ ‖x‖² m^{-1/2}
        wanted = x - sigma * a * x
    torch.testing.assert_close(denoise(denoiser, data, x), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["graph", "energy", "mlp"])
def test_conditions_steer_and_can_be_taken_back(kind, items):
    denoiser, data = build(kind, conditions=["radius_of_gyration"]), items[0]
    operator, x = laplacian_operator(data, dtype=torch.float64), noisy(data)
    free = denoise(denoiser, data, x)
    data.condition = torch.tensor([[2.5]], dtype=torch.float64)
    assert (denoise(denoiser, data, x) - free).abs().max() > 1e-5
    torch.testing.assert_close(denoise(denoiser, without_condition(data), x), free)
    code = denoiser.net.without_condition(denoiser.net.encode(data, operator))
    t = SDE.schedule.t(torch.full((1, 1), 0.3).double())
    torch.testing.assert_close(denoiser(operator, x, t, code).detach(), free)


def test_pairs_are_those_within_three_bonds_and_those_near(items):
    data = items[8]  # butanol
    operator = laplacian_operator(data)
    graph = AtomGraph.of(data, operator)
    n = data.num_nodes
    adjacency = torch.zeros(n, n).index_put((data.edge_index[0], data.edge_index[1]), torch.ones(1))
    near = torch.linalg.matrix_power(adjacency + torch.eye(n), 3).bool() & ~torch.eye(n, dtype=torch.bool)
    assert torch.equal(torch.stack(torch.where(near)), graph.pairs)
    seen = graph.seen(data.pos)
    length = torch.cdist(data.pos, data.pos)
    wanted = near | ((length < CUTOFF) & ~torch.eye(n, dtype=torch.bool))
    assert wanted.sum() > near.sum()
    assert torch.equal(wanted, torch.zeros(n, n).index_put((seen.pairs[0], seen.pairs[1]), torch.ones(1)).bool())
    assert bool((seen.pairs[1].diff() >= 0).all())
    bonded = near[seen.pairs[0], seen.pairs[1]]
    assert bool((seen.weight[bonded] == 1).all()) and bool((seen.weight[~bonded] < 1).all())


def test_gated_messages_are_their_formula():
    conv, x = GatedConv(3, 2, edge_dim=1), torch.randn(3, 3)
    edges, attr, w = torch.tensor([[0, 1, 2], [1, 0, 1]]), torch.randn(3, 1), torch.tensor([0.5, 1.0, 2.0])
    b, value = conv.lin.weight.chunk(2)
    c, extra = conv.edge.weight.chunk(2)
    wanted = torch.zeros(3, 2)
    for k in range(3):
        j, i = edges[:, k].tolist()
        gate = torch.sigmoid(conv.gate(x[i]) + b @ x[j] + c @ attr[k])
        wanted[i] = wanted[i] + w[k] * gate * (value @ x[j] + extra @ attr[k])
    wanted = wanted / (1 + torch.tensor([1.0, 2.5, 0.0]))[:, None]
    torch.testing.assert_close(conv(x, edges, attr, w), wanted)
    with pytest.raises(ValueError, match="edge_attr must be given"):
        conv(x, edges)


def test_vector_messages_are_their_formula():
    conv, x, v = VectorConv(3, 2, edge_dim=1), torch.randn(2, 3), torch.randn(2, 3, 2)
    edges, attr, unit, w = torch.tensor([[0], [1]]), torch.randn(1, 1), torch.randn(1, 3), torch.tensor([0.5])
    along, kept = ((conv.lin(x[0]) * conv.edge(attr[0])) * 0.5 / 1.5**0.5).chunk(2)
    wanted = torch.stack([torch.zeros(3, 2), unit[0][:, None] * along + v[0] * kept])
    torch.testing.assert_close(conv(x, v, edges, attr, unit, w), wanted)


@pytest.mark.parametrize("attention", [True, False])
def test_what_is_compiled_is_the_same(attention, items):
    """A compiled network takes its edges in another form."""
    denoiser, data = build("graph", attention=attention), items[1]
    wanted = denoise(denoiser, data, noisy(data))
    denoiser.net.compiled = True
    torch.testing.assert_close(denoise(denoiser, data, noisy(data)), wanted)


def test_wrong_signals_are_named(items):
    with pytest.raises(ValueError, match="atoms have 3 coordinates, the signal has 2"):
        denoise(build("graph"), items[0], torch.zeros(items[0].num_nodes, 2).double())
    with pytest.raises(ValueError, match="width 5 is not a multiple of heads 2"):
        build("graph", width=5)
