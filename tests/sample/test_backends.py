"""Process, denoiser, loss and samplers run unchanged on every backend, and give what the dense one gives."""

from functools import partial

import pytest
import torch
from torch import nn

from pyg_diffusion.denoise import Denoiser, score_from_eps
from pyg_diffusion.loss import denoising_loss
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.sample import DDIM, Ancestral, Exponential, time_grid
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import (
    ChebyshevOperator,
    DenseOperator,
    GridOperator,
    LanczosOperator,
    Laplacian,
    LowRankOperator,
)
from pyg_diffusion.testing import laplacian_matrix

SDE = LinearSDE(GeometricTime(1e-2, 5.0), gamma=0.7, lambda0=0.1)


def spectrum(lam):
    return 1 / (0.2 + 0.5 * lam)


def lattice(rows, columns):
    """Edges of a grid, written out."""
    number = torch.arange(rows * columns).view(rows, columns)
    down, right = (number[1:], number[:-1]), (number[:, 1:], number[:, :-1])
    pairs = torch.cat([torch.stack([a.flatten(), b.flatten()]) for a, b in (down, right)], 1)
    return torch.cat([pairs, pairs.flip(0)], 1)


EDGES = torch.cat([lattice(5, 4), lattice(5, 4) + 20], 1)
LAPLACIAN = Laplacian.from_edges(EDGES, 40, batch=torch.arange(2).repeat_interleave(20))
DENSE = DenseOperator.from_laplacian(LAPLACIAN)
BACKENDS = {
    "grid": GridOperator((5, 4), num_graphs=2, dtype=torch.float64),
    "chebyshev": ChebyshevOperator(LAPLACIAN),
    "lanczos": LanczosOperator(LAPLACIAN),
    "lowrank": LowRankOperator.from_laplacian(LAPLACIAN, k=20),
}


class Neighbours(NetworkBase):
    """A small network that reads all it is offered, with one trainable number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.adjacency = torch.diag(laplacian_matrix(EDGES, 40).diagonal()) - laplacian_matrix(EDGES, 40)

    def forward(self, noisy, operator, context=None):
        estimate = noisy.skip + operator.apply(noisy.c_out, noisy.white.tanh())
        late = operator.on_nodes(noisy.log_tau) if operator.num_graphs > 1 else noisy.log_tau
        return self.scale * (self.adjacency @ estimate).sin() + 0.1 * late * noisy.signal


@pytest.fixture(params=list(BACKENDS))
def operator(request):
    return BACKENDS[request.param]


def draws(seed):
    generator = torch.Generator().manual_seed(seed)
    return partial(torch.randn, 40, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(0.5), Exponential(2)], ids=repr)
@pytest.mark.parametrize("centered", [True, False])
def test_samples_are_the_same(operator, sampler, centered):
    denoiser = Denoiser(Neighbours(), SDE, spectrum, centered=centered)
    a, b = (sampler.sample(denoiser, op, time_grid(6), draws(1)) for op in (operator, DENSE))
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_noising_posterior_score_loss_and_its_gradient_are_the_same(operator):
    noise = draws(2)
    x, eps = noise(), noise()
    s, t = torch.tensor([[0.2], [0.3]], dtype=torch.float64), torch.tensor([[0.5], [0.9]], dtype=torch.float64)
    results = []
    for op in (operator, DENSE):
        noisy = op.apply(SDE.mean(t), x) + op.apply(SDE.std(t), eps)
        on_x, on_0, variance = SDE.posterior(s, t)
        back = op.apply(on_x, noisy) + op.apply(on_0, x) + op.apply(lambda lam, v=variance: v(lam).sqrt(), eps)
        denoiser = Denoiser(Neighbours(), SDE, spectrum, centered=True)
        loss = denoising_loss(denoiser, op, x, eps, t)
        loss.sum().backward()
        results.append([noisy, back, score_from_eps(op, SDE, eps, t), denoiser(op, noisy, t), loss, denoiser.net.scale.grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)
