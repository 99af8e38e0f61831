"""ConformerNet: symmetries, batching, compilation, and what its stereo input means."""

import pytest
import torch
from torch_geometric.data import Batch

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import ConformerNet
from pyg_diffusion.nn import attention as nn_attention
from pyg_diffusion.nn.conformer_net import HEAT_TIMES, MAX_DISTANCE, Spread, chirality, look_up
from pyg_diffusion.nn.encodings import GaussianBasis, graph_distance
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import PowerSpectrum, heat


def build(**options) -> Denoiser:
    torch.manual_seed(1)
    net = ConformerNet(**{"width": 32, "depths": (1, 2), "heads": 4, "pair_width": 16} | options)
    for p in net.parameters():  # away from the closed start, so that every path counts
        p.data.add_(0.1 * torch.randn_like(p))
    return Denoiser(net, LinearSDE(GeometricTime(), gamma=1.33), PowerSpectrum.harmonic(1.33), centered=True).eval()


def denoise(denoiser, data, noise, t):
    with torch.no_grad():
        return denoiser(laplacian_operator(data), data.pos + noise, t, data)


@pytest.fixture
def items(molecules):
    return [m.data(0) for m in molecules]


def test_batch_equals_loop(items):
    denoiser = build()
    batch = Batch.from_data_list(items)
    noise, t = torch.randn(batch.num_nodes, 3), torch.rand(len(items), 1)
    together = denoise(denoiser, batch, noise, t).split([d.num_nodes for d in items])
    parts = noise.split([d.num_nodes for d in items])
    for k, data in enumerate(items):
        alone = denoise(denoiser, Batch.from_data_list([data]), parts[k], t[k : k + 1])
        torch.testing.assert_close(together[k], alone, atol=2e-4, rtol=1e-3)


def permuted(data, order):
    """The same molecule with atom order[k] in place k."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    out = data.clone()
    out.x, out.z, out.pos = data.x[order], data.z[order], data.pos[order]
    out.edge_index, out.tetra_index, out.ez_index = place[data.edge_index], place[data.tetra_index], place[data.ez_index]
    return out


@pytest.mark.parametrize("which", [0, 1, 3, 6, 9])  # 9: a cage whose Laplacian has degenerate eigenvalues
def test_permutation_equivariance(items, which):
    denoiser, data = build(), items[which]
    order = torch.randperm(data.num_nodes)
    noise, t = torch.randn(data.num_nodes, 3), torch.full((1, 1), 0.6)
    straight = denoise(denoiser, data, noise, t)
    torch.testing.assert_close(
        denoise(denoiser, permuted(data, order), noise[order], t), straight[order], atol=2e-4, rtol=1e-3
    )


def test_translation_is_projected_out(items):
    denoiser = build()
    data, t = items[0], torch.full((1, 1), 0.5)
    zero = torch.zeros(data.num_nodes, 3)
    shifted = denoise(denoiser, data, zero + torch.tensor([5.0, -3.0, 2.0]), t)
    torch.testing.assert_close(shifted, denoise(denoiser, data, zero, t), atol=1e-3, rtol=1e-3)
    assert shifted.mean(0).abs().max() < 1e-5


def test_parity_reaches_the_output(items):
    """Asking for the other enantiomer must change the answer; asking twice for the same, not."""
    denoiser, data = build(), items[0]
    noise, t = torch.randn(data.num_nodes, 3), torch.full((1, 1), 0.6)
    other = data.clone()
    other.tetra_index = data.tetra_index[[0, 2, 1, 3, 4]]
    even = data.clone()
    even.tetra_index = data.tetra_index[[0, 2, 3, 1, 4]]  # a cyclic turn of three neighbours keeps the parity
    wanted = denoise(denoiser, data, noise, t)
    assert (denoise(denoiser, other, noise, t) - wanted).abs().max() > 1e-3
    torch.testing.assert_close(denoise(denoiser, even, noise, t), wanted, atol=1e-4, rtol=1e-3)


def test_double_bond_side_reaches_the_output(items):
    denoiser, data = build(), items[1]
    noise, t = torch.randn(data.num_nodes, 3), torch.full((1, 1), 0.6)
    other = data.clone()
    other.ez_attr = 3 - data.ez_attr
    assert (denoise(denoiser, other, noise, t) - denoise(denoiser, data, noise, t)).abs().max() > 1e-3


def test_chirality_is_the_signed_volume_and_its_gradient():
    pos = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    tetra, weight = torch.tensor([[0], [1], [2], [3], [4]]), torch.ones(1, 1, dtype=torch.float64)
    chi, gradient = chirality(pos, tetra, weight)
    edges = torch.stack([pos[k] - pos[4] for k in (1, 2, 3)])
    volume = torch.linalg.det(edges)
    rho2 = edges.square().sum() / 3 + 0.01
    torch.testing.assert_close(chi[0, 0], volume / rho2**1.5)
    (true,) = torch.autograd.grad(volume, pos)
    torch.testing.assert_close(gradient[:, 0], true[1:] / rho2)
    mirrored, _ = chirality(pos * torch.tensor([1.0, 1.0, -1.0]), tetra, weight)
    torch.testing.assert_close(mirrored, -chi)


def test_compiles_without_graph_breaks(items):
    net = build().net
    data = Batch.from_data_list(items[:3])
    operator = laplacian_operator(data)
    code = net.encode(data, operator)
    signal = operator.pack(data.pos)
    c_out, log_tau = torch.ones_like(operator.eigenvalues).unsqueeze(-1), torch.zeros(3, 1)
    explained = torch._dynamo.explain(net.trunk)(code, signal, signal, signal, c_out, operator.eigenvectors, log_tau)
    assert explained.graph_break_count == 0, explained.break_reasons


def test_what_is_told_of_pairs_once_is_what_all_pairs_are_told(items):
    """Bonds, hops, cis/trans and heat kernels of i, j and of j, i, each looked up by itself, in a padded batch."""
    net, data = build().net, Batch.from_data_list([items[1], items[3], items[6]])
    operator = laplacian_operator(data)
    code = net.encode(data, operator)
    b, n = operator.num_graphs, operator.max_nodes
    bond, side = torch.zeros(2, b * n, n, dtype=torch.long)
    row, col = operator.slots[data.edge_index]
    bond[row, col % n] = data.edge_attr
    for ends in ([0, 3], [3, 0]):
        start, end = operator.slots[data.ez_index[ends]]
        side[start, end % n] = data.ez_attr
    assert side.any()
    bond, side = bond.view(b, n, n), side.view(b, n, n)
    kernels = torch.stack([operator.matrix(heat(s)) for s in HEAT_TIMES], dim=-1)
    wanted = net.bond(bond) + net.hops(graph_distance(bond > 0, MAX_DISTANCE)) + net.side(side) + net.pair_heat(kernels)
    assert code.pair.shape[:2] == (b, n * (n + 1) // 2)
    spread = Spread.apply(code.pair, code.place, code.ends)
    torch.testing.assert_close(spread, wanted, atol=1e-5, rtol=1e-5)


def test_gradient_of_spreading_pairs():
    ends = torch.triu_indices(4, 4)
    place = torch.empty(4, 4, dtype=torch.long)
    place[ends[0], ends[1]] = place[ends[1], ends[0]] = torch.arange(10)
    values = torch.randn(2, 10, 3, dtype=torch.float64, requires_grad=True)
    full = Spread.apply(values, place, ends)
    assert torch.equal(full, full.transpose(1, 2))
    torch.testing.assert_close(full[:, ends[0], ends[1]], values)
    assert torch.autograd.gradcheck(lambda v: Spread.apply(v, place, ends), values)


def test_lengths_are_looked_up_as_they_are_computed(items):
    """Sampling reads what a stage makes of lengths from a table, which is off by h²/8 |f''| at most."""
    net = build().net
    stage, lengths = net.stages[0], torch.cat([torch.rand(2000) * 16, torch.tensor([0.01, 59.0, 80.0])]).sort().values
    with torch.no_grad():
        wanted = stage.rbf(stage.basis(lengths))
        found = look_up(stage.table(torch.float32), lengths)
        slope = stage.rbf.weight.abs().amax() * stage.basis.size
        assert (found - wanted).abs().max() < 2e-4 * slope
    denoiser, batch = build(), Batch.from_data_list(items[:4])
    noise, t = torch.randn(batch.num_nodes, 3), torch.full((4, 1), 0.3)
    with torch.enable_grad():
        computed = denoiser(laplacian_operator(batch), batch.pos + noise, t, batch)
    torch.testing.assert_close(denoise(denoiser, batch, noise, t), computed.detach(), atol=3e-3, rtol=1e-3)


def test_one_atom_and_degenerate_coordinates_give_finite_values_and_gradients(items):
    denoiser = build()
    water = items[4].clone()
    water.pos = torch.zeros(3, 3, requires_grad=True)  # all atoms in one point
    out = denoiser(laplacian_operator(water), water.pos, torch.full((1, 1), 0.1), water)
    out.sum().backward()
    assert out.isfinite().all() and water.pos.grad.isfinite().all()


def test_width_must_fit_heads():
    with pytest.raises(ValueError, match="multiple of heads"):
        ConformerNet(width=30, heads=4)


def test_graph_distance_of_a_path_and_a_fragment():
    adjacency = torch.zeros(1, 5, 5, dtype=torch.bool)
    for i, j in ((0, 1), (1, 2), (2, 3)):
        adjacency[0, i, j] = adjacency[0, j, i] = True
    distance = graph_distance(adjacency, 2)
    assert distance[0, 0].tolist() == [0, 1, 2, 3, 3]  # 3 = beyond the limit, or disconnected
    assert distance[0, 4].tolist() == [3, 3, 3, 3, 0]


def test_gaussian_basis_values():
    basis = GaussianBasis()
    values = basis(basis.centers)
    torch.testing.assert_close(values.diagonal(), torch.ones(basis.size))
    assert values.argmax(-1).tolist() == list(range(basis.size))


def test_levels_are_read_by_name(items):
    """A level changes the estimate of its own graph alone; names never heard of, and none, are the level unknown."""
    denoiser = build(levels=("GFN2-xTB", "MMFF94s"))
    batch = Batch.from_data_list(items[:3])
    noise, t = torch.randn(batch.num_nodes, 3), torch.full((3, 1), 0.5)

    def estimate(level):
        told = batch.clone()
        told.level = level
        return denoise(denoiser, told, noise, t)

    unknown = estimate(["", "", ""])
    torch.testing.assert_close(unknown, estimate(["AM1", "", "HF"]))
    del batch.level
    torch.testing.assert_close(unknown, denoise(denoiser, batch, noise, t))
    batch.level = ["", "", ""]
    changed = (estimate(["", "GFN2-xTB", ""]) - unknown).abs().amax(1)
    assert (changed[batch.batch == 1] > 1e-4).all() and (changed[batch.batch != 1] == 0).all()
    assert (estimate(["MMFF94s"] * 3) - estimate(["GFN2-xTB"] * 3)).abs().max() > 1e-3


@pytest.mark.parametrize("wide", [True, False])
def test_attention_is_the_same_whatever_the_kernels_may_use(wide, monkeypatch):
    """bf16 at 80 nodes, with a gradient: within its rounding of the formula, also where the kernels know no AVX-512."""
    if wide and not nn_attention.WIDE_KERNELS:
        pytest.skip("these kernels use no AVX-512")
    monkeypatch.setattr(nn_attention, "WIDE_KERNELS", wide)
    q, k, v = torch.randn(3, 2, 4, 80, 8).bfloat16().requires_grad_()
    mask = torch.where(torch.arange(80) < 70, 0.0, -1e4)
    expected = (q.float() @ k.float().mT / 8**0.5 + mask).softmax(-1) @ v.float()
    out = nn_attention.attention(q, k, v, mask[None, None, None, :])
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.02, atol=0.02)
    got, want = (torch.autograd.grad(y.float().square().sum(), q)[0].float() for y in (out, expected))
    torch.testing.assert_close(got, want, rtol=0.05, atol=0.05)
