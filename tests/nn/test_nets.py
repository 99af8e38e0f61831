"""Networks for any signal: what they return untrained, symmetry, batches, conditions, gradients, learning."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import EpsNet, GraphNet, MLPNet, ScoreNet, without_condition
from pyg_diffusion.nn.graph_net import geometry
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, PowerSpectrum
from pyg_diffusion.testing import ZeroNet, random_graph

SDE = LinearSDE(GeometricTime(), lambda0=0.3)
NETS = [GraphNet, EpsNet, ScoreNet, MLPNet]
CONDITIONS = {"conditions": 2, "node_conditions": 1}


def denoiser(net, sde: LinearSDE = SDE) -> Denoiser:
    return Denoiser(net, sde, PowerSpectrum.harmonic()).eval()


def build(kind, stirred: bool = True, **options):
    torch.manual_seed(1)
    sizes = {"width": 16, "depth": 2} | ({} if kind is MLPNet else {"heads": 2})
    net = kind(channels=2, **(sizes | options))
    if stirred:  # away from the closed start, so that every path counts
        for p in net.parameters():
            p.data.add_(0.1 * torch.randn_like(p))
    return net


def graph(n: int, seed: int = 0, density: float = 0.5) -> Data:
    index, weight = random_graph(n, density, weighted=True, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return Data(
        edge_index=index,
        edge_weight=weight.float(),
        pos=torch.randn(n, 3, generator=generator),
        num_nodes=n,
        condition=torch.tensor([[0.5 + seed, float("nan")]]),
        node_condition=torch.randn(n, 1, generator=generator),
        edge_condition=torch.randn(index.size(1), 1, generator=generator),
    )


def run(net, data, x, t, **options):
    return denoiser(net)(laplacian_operator(data, **options), x, t, data)


FULL = {"positions": 3} | CONDITIONS
VARIANTS = [(kind, FULL | ({} if kind is MLPNet else {"edge_conditions": 1})) for kind in NETS]
VARIANTS.append((GraphNet, {**VARIANTS[0][1], "global_attention": True}))


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_batch_equals_loop_and_order_does_not_matter(kind, options):
    net, items = build(kind, **options), [graph(7, 1), graph(1, 3), graph(5, 2), graph(3, density=0.0)]
    x, t = torch.randn(16, 2), torch.tensor([[0.3], [0.5], [0.7], [0.4]])
    with torch.no_grad():
        together = run(net, Batch.from_data_list(items), x, t)
        parts = [run(net, d, p, s[None]) for d, p, s in zip(items, x.split([7, 1, 5, 3]), t, strict=True)]
        torch.testing.assert_close(together, torch.cat(parts), atol=2e-4, rtol=1e-3)
        order = torch.randperm(7)
        place = order.argsort()
        moved = items[0].clone()
        moved.edge_index, moved.pos = place[moved.edge_index], moved.pos[order]
        moved.node_condition = moved.node_condition[order]
        torch.testing.assert_close(run(net, moved, x[:7][order], t[:1]), parts[0][order], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", NETS)
def test_untrained_networks_return_a_linear_estimate(kind):
    """F = 0, or ε̂ = c_in S_t: D = (1 - σ c_in) S_t / φ."""
    data, x, t = graph(7), torch.randn(7, 2), torch.tensor([[0.5]])
    operator, d = laplacian_operator(data), denoiser(build(kind, stirred=False))
    expected = denoiser(ZeroNet())(operator, x, t)
    if kind is not GraphNet:
        parts = d.parts(t)
        expected = operator.apply(lambda lam: (1 - parts.sigma(lam) * parts.c_in(lam)) / parts.phi(lam), x)
    torch.testing.assert_close(d(operator, x, t, data), expected, atol=1e-4, rtol=1e-4)


def test_the_score_network_is_the_eps_network_divided_by_sigma():
    data, x, t = graph(7), torch.randn(7, 2), torch.tensor([[0.5]])
    eps, score = (run(build(kind), data, x, t) for kind in (EpsNet, ScoreNet))
    torch.testing.assert_close(eps, score, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_gradients_reach_every_parameter(kind, options):
    net, data = build(kind, **options), graph(7)
    x = torch.randn(7, 2, requires_grad=True)
    run(net, data, x, torch.tensor([[0.5]])).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not dead and bool((x.grad != 0).all())


@pytest.mark.parametrize("kind", NETS)
def test_conditions_steer_and_nothing_asked_is_nothing_given(kind):
    net, data, x, t = build(kind, **CONDITIONS), graph(6), torch.randn(6, 2), torch.tensor([[0.5]])
    asked, free = run(net, data, x, t), run(net, without_condition(data), x, t)
    assert "condition" in data and not torch.allclose(asked, free, atol=1e-4)
    data.condition, data.node_condition = torch.full((1, 2), torch.nan), torch.full((6, 1), torch.nan)
    torch.testing.assert_close(run(net, data, x, t), free)
    net.condition_mean.fill_(3.0)
    net.condition_std.fill_(2.0)
    data.condition = torch.tensor([[5.0, torch.nan]])
    shifted = run(net, data, x, t)
    net.condition_mean.zero_()
    net.condition_std.fill_(1.0)
    data.condition = torch.tensor([[1.0, torch.nan]])  # (5 - 3) / 2
    torch.testing.assert_close(run(net, data, x, t), shifted)
    data.condition = torch.zeros(1, 5)
    with pytest.raises(ValueError, match=r"condition must be \[1, 2\]"):
        run(net, data, x, t)


def test_sparse_backends_and_edge_cases():
    """No eigenbasis: encodings are 0; a graph of 0 nodes and isolated nodes are ordinary."""
    net, data, t = build(GraphNet, positions=3), graph(9), torch.tensor([[0.5]])
    x = torch.randn(9, 2)
    assert bool(run(net, data, x, t, backend=ChebyshevOperator).isfinite().all())
    empty = Data(edge_index=torch.empty(2, 0, dtype=torch.long), pos=torch.empty(0, 3), num_nodes=0)
    assert run(net, empty, torch.empty(0, 2), t).shape == (0, 2)
    with pytest.raises(ValueError, match="made for 2 channels"):
        run(net, data, torch.randn(9, 3), t)
    with pytest.raises(ValueError, match=r"positions pos \[9, 3\]"):
        run(net, Data(edge_index=data.edge_index, num_nodes=9), x, t)


def test_a_grid_is_treated_as_the_graph_it_is():
    """The same network on the FFT and on the dense spectrum; on a torus it commutes with translations, edges included."""
    data, x, t = grid_graph((4, 5), "cycle", 0.5), torch.randn(20, 2), torch.tensor([[0.5]])
    net = build(GraphNet, positions=2)
    fourier, dense = run(net, data, x, t), run(net, data, x, t, backend=DenseOperator.from_laplacian)
    torch.testing.assert_close(fourier, dense, atol=1e-4, rtol=1e-3)

    def roll(x):
        return x.view(4, 5, 2).roll((1, 2), (0, 1)).reshape(20, 2)

    torch.testing.assert_close(run(net, data, roll(x), t), roll(fourier), atol=1e-4, rtol=1e-3)
    _, vector = geometry(data, 2, torch.zeros(20, dtype=torch.long), laplacian_operator(data))
    torch.testing.assert_close(vector.norm(dim=1), torch.ones(80))


@pytest.mark.parametrize("kind", [GraphNet, pytest.param(EpsNet, marks=pytest.mark.slow)])
def test_a_network_learns_what_no_filter_can(kind):
    """Constant fields of ±1 in noise: E[S_0 | S_t] is a tanh of the mean; the best filter is 1.5 times as far off."""
    data = Batch.from_data_list([grid_graph((3, 3), "cycle")] * 64)
    operator, t = laplacian_operator(data), torch.full((64, 1), 0.7)
    net = denoiser(build(kind, stirred=False), LinearSDE(GeometricTime(), lambda0=1.0, gamma=0.0))
    linear = denoiser(ZeroNet(), net.sde)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    errors = []
    for _ in range(150):
        sign = (torch.randint(2, (64, 1)) * 2.0 - 1).repeat_interleave(9, 0).expand(-1, 2)
        noise = torch.randn(576, 2)
        noisy = operator.apply(net.sde.mean(t), sign.contiguous()) + operator.apply(net.sde.std(t), noise)
        loss = (net(operator, noisy, t, data) - sign).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            errors.append((float(loss), float((linear(operator, noisy, t) - sign).square().mean())))
    ours, filtered = torch.tensor(errors[-30:]).mean(0)
    assert ours < filtered / 1.5
