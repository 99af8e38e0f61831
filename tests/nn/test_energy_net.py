"""Energies and the networks of matrices: gradients, symmetry, scale, errors."""

import pytest
import torch

from pyg_diffusion.denoise import Denoiser, Noisy
from pyg_diffusion.loss import denoising_loss
from pyg_diffusion.nn.energy_net import EnergyNet
from pyg_diffusion.nn.matrix_net import MatrixMLP, MatrixNet
from pyg_diffusion.nn.mlp import MLPNet
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import DenseOperator, GridOperator, Laplacian, PowerSpectrum
from pyg_diffusion.testing import random_graph

SDE = LinearSDE(GeometricTime(1e-4, 3.0), gamma=0.0, lambda0=1.0, noise="matched")


def rook(n, copies=1):
    return GridOperator((n, n), "complete", num_graphs=copies, dtype=torch.float64)


def noisy(signal, log_tau):
    return Noisy(signal, signal, signal, torch.ones_like, log_tau, torch.ones_like)


def problem(n=4, copies=2):
    a, y = torch.randn(2, copies * n * n, 1, dtype=torch.float64)
    return rook(n, copies), a, y, torch.randn(copies, 1, dtype=torch.float64)


@pytest.mark.parametrize("make", [MatrixNet, lambda: MatrixNet(residual=True), lambda: MatrixMLP(4, 16)])
def test_the_prediction_is_the_gradient_of_the_energy(make):
    net = EnergyNet(make().double())
    operator, a, y, log_tau = problem()
    predicted = net(noisy(y, log_tau), operator, a).detach()
    step = 1e-5 * torch.randn_like(y)
    up, down = (net.energy(y + sign * step, log_tau, operator, a) for sign in (1, -1))
    torch.testing.assert_close((up - down) / 2, operator.graph_sum(predicted * step).squeeze(1), rtol=1e-6, atol=1e-10)
    energy, slope = net.slope(y, log_tau, operator, net.encode(a, operator))
    torch.testing.assert_close(energy, net.energy(y, log_tau, operator, a).detach())
    torch.testing.assert_close(slope, predicted)
    with torch.no_grad():
        without = net(noisy(y, log_tau), operator, a)
    assert not without.requires_grad
    torch.testing.assert_close(without, predicted)


def test_training_differentiates_the_gradient():
    net = EnergyNet(MatrixNet(depth=2, channels=3, node_channels=2).double())
    operator, a, y, log_tau = problem()

    def loss(weight):
        parameters = dict(net.named_parameters()) | {"net.read_node": weight}
        return torch.func.functional_call(net, parameters, (noisy(y, log_tau), operator, a)).square().mean()

    weight = net.net.read_node.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, weight)


def test_a_denoiser_of_an_energy_trains_on_eps():
    spectrum = PowerSpectrum(torch.tensor([0.0, 1.0]), torch.zeros(2))
    denoiser = Denoiser(EnergyNet(MatrixNet()), SDE, spectrum).double()
    operator, a, y, _ = problem()
    loss = denoising_loss(denoiser, operator, y, torch.randn_like(y), torch.rand(2, 1).double(), a, objectives={"eps": 1.0})
    loss.sum().backward()
    assert loss.shape == (2,) and all(bool(p.grad.isfinite().all() and p.grad.any()) for p in denoiser.net.parameters())


def test_any_network_of_features_makes_an_energy_on_any_graph():
    edges, weight = random_graph(7, seed=1)
    operator = DenseOperator.from_laplacian(Laplacian.from_edges(edges, 7, weight, torch.tensor([0] * 7), 2))
    net = EnergyNet(MLPNet(channels=3, width=8, depth=1).double())
    x, log_tau = torch.randn(operator.num_nodes, 3).double(), torch.zeros(operator.num_graphs, 1).double()
    energy, slope = net.slope(x, log_tau, operator)
    assert energy.shape == (operator.num_graphs,)
    # The untrained network returns its input, so E = ½ ‖S‖² and ∂E/∂S = S.
    torch.testing.assert_close(slope, x)


def test_matrices_are_equivariant_under_permutations_and_scale():
    """E(PAPᵀ, PYPᵀ) = E(A, Y), even for an orthogonal P, and f(kA, Y/k) = f(A, Y)/k."""
    n, net = 5, EnergyNet(MatrixNet().double())
    operator, log_tau = rook(n), torch.tensor([[-3.0]], dtype=torch.float64)
    a, y = torch.randn(2, n, n, dtype=torch.float64)
    permutation = torch.eye(n, dtype=torch.float64)[torch.randperm(n)]
    rotation = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
    energy, slope = net.slope(y.reshape(-1, 1), log_tau, operator, a.reshape(-1, 1))
    for p in (permutation, rotation):
        turned, turned_slope = net.slope((p @ y @ p.T).reshape(-1, 1), log_tau, operator, (p @ a @ p.T).reshape(-1, 1))
        torch.testing.assert_close(turned, energy)
        torch.testing.assert_close(turned_slope.view(n, n), p @ slope.view(n, n) @ p.T)
    scaled = net.energy(y.reshape(-1, 1) / 7, log_tau, operator, 7 * a.reshape(-1, 1))
    torch.testing.assert_close(49 * scaled, energy)


@pytest.mark.parametrize("n", [1, 3])
def test_a_batch_is_its_matrices_one_by_one(n):
    net = EnergyNet(MatrixNet().double())
    operator, a, y, log_tau = problem(n, 3)
    energy, slope = net.slope(y, log_tau, operator, a)
    for k in range(3):
        part = slice(k * n * n, (k + 1) * n * n)
        alone, alone_slope = net.slope(y[part], log_tau[[k]], rook(n), a[part])
        torch.testing.assert_close(alone, energy[[k]])
        torch.testing.assert_close(alone_slope, slope[part])
    empty = torch.zeros(0, 1, dtype=torch.float64)
    assert net.slope(empty, empty, rook(n, 0), empty)[0].shape == (0,)


def test_the_hybrid_alone_reads_the_residual():
    """With readout of the third channel only and no layers' change, f ∝ (A Y - I)/‖A‖²."""
    net = MatrixNet(depth=1, channels=2, node_channels=1, residual=True).double()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.read_node[0, 2] = net.keep_node[0][0, 0] = net.readout[0] = 1
    a, y = torch.randn(2, 3, 3, dtype=torch.float64)
    norm = torch.linalg.matrix_norm(a @ a.T) ** 0.5
    f = net(noisy(y.reshape(-1, 1), torch.zeros(1, 1).double()), rook(3), a.reshape(-1, 1)).view(3, 3)
    torch.testing.assert_close(f, (a @ y - torch.eye(3).double()) / norm)


def test_wrong_input_is_named():
    net = EnergyNet(MatrixNet().double())
    one = torch.zeros(1, 1, dtype=torch.float64)
    path = GridOperator((6,), "path", dtype=torch.float64)
    with pytest.raises(ValueError, match="n² nodes"):
        net.slope(torch.zeros(6, 1).double(), one, path, torch.zeros(6, 1).double())
    with pytest.raises(ValueError, match=r"entries must be \[4, 1\]"):
        net.slope(torch.zeros(4, 1).double(), one, rook(2), torch.zeros(9, 1).double())
    with pytest.raises(ValueError, match="attribute `matrix`"):
        net.slope(torch.zeros(4, 1).double(), one, rook(2), None)
    with pytest.raises(ValueError, match="4 rows"):
        EnergyNet(MatrixMLP(4, 8).double()).slope(torch.zeros(4, 1).double(), one, rook(2), torch.zeros(4, 1).double())
    with pytest.raises(ValueError, match="depth"):
        MatrixNet(depth=0)
