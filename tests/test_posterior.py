"""E[S_0 | S_t] in closed form: against other integrals, enumeration, random rotations and the limits."""

import math

import pytest
import torch

from pyg_diffusion.denoise import Denoiser, gain
from pyg_diffusion.loss import denoising_losses, target_shift
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.posterior import Candidates, Translations, fisher, posterior_mean, proper_svd
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, Laplacian, PowerSpectrum
from pyg_diffusion.tasks.molecules.data import rotations
from pyg_diffusion.testing import ZeroNet

SDE = LinearSDE(GeometricTime(1e-8, 40.0), gamma=1.33)
SPECTRUM = PowerSpectrum.harmonic(1.33)
EDGES = torch.tensor([[0, 1, 1, 2, 1, 3], [1, 0, 2, 1, 3, 1]])  # a star: 1 in the middle, 0, 2 and 3 equivalent
SWAPS = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0], [0, 1, 3, 2], [2, 1, 0, 3], [2, 1, 3, 0], [3, 1, 0, 2]])


def random_rotations(n, seed=0):
    return rotations(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def stars(count):
    edges = torch.cat([EDGES + 4 * k for k in range(count)], 1)
    return DenseOperator.from_edges(edges, 4 * count, batch=torch.arange(count).repeat_interleave(4))


def centred(x):
    return x - x.mean(-2, keepdim=True)


@pytest.fixture(scope="module")
def conformers():
    """Three shapes of the star, `[3, 4, 3]`."""
    return centred(1.3 * torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))


def noised(operator, x_0, log_tau, seed=2):
    """(φ, σ, Ŝ_t, t) of a batch at one noise level, translations projected out."""
    t = SDE.schedule.t(torch.full((operator.num_graphs, 1), math.exp(log_tau), dtype=x_0.dtype))
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed), dtype=x_0.dtype)
    phi, sigma = operator.response(SDE.mean(t)), operator.response(SDE.std(t))
    s_0, eps = (operator.center(operator.to_modes(v)) for v in (x_0, noise))
    return phi, sigma, phi * s_0 + sigma * eps, t


def test_normaliser_is_a_bessel_function_where_all_singular_values_are_equal():
    """∫ exp(s tr R) dR = e^s (I₀(2s) - I₁(2s)), and sinh(s)/s for diag(s, 0, 0)."""
    s = torch.tensor([1e-3, 0.3, 2.0, 10.0, 30.0], dtype=torch.float64)
    equal = s + (2 * s) + (torch.special.i0e(2 * s) - torch.special.i1e(2 * s)).log()
    torch.testing.assert_close(fisher(s[:, None].expand(5, 3))[0], equal, rtol=1e-12, atol=1e-12)
    one = torch.stack([s, 0 * s, 0 * s], 1)
    torch.testing.assert_close(fisher(one)[0], (s.sinh() / s).log(), rtol=1e-12, atol=1e-12)


def test_gradient_of_the_normaliser_at_all_scales():
    shapes = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, -1.5], [5.0, 0.3, 0.1], [4.0, 3.9, 3.8]], dtype=torch.float64)
    for scale in (1e-2, 1.0, 100.0, 1e4):
        s, step = shapes * scale, 1e-4 * max(scale, 1.0)
        moved = [fisher(s + sign * step * torch.eye(3, dtype=s.dtype)[k])[0] for k in range(3) for sign in (1, -1)]
        slopes = torch.stack([(moved[2 * k] - moved[2 * k + 1]) / (2 * step) for k in range(3)], 1)
        torch.testing.assert_close(1 - fisher(s)[1], 1 - slopes, rtol=2e-3, atol=1e-9)
    # so concentrated that R is Gaussian around 1: 1 - d_k = ½ (1/(s_k + s_i) + 1/(s_k + s_j))
    s = shapes[:1] * 1e6 / 3
    pairs = torch.stack([1 / (s[:, 0] + s[:, 1]), 1 / (s[:, 0] + s[:, 2]), 1 / (s[:, 1] + s[:, 2])], 1)
    laplace = 0.5 * torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] + pairs[:, 2], pairs[:, 1] + pairs[:, 2]], 1)
    torch.testing.assert_close(1 - fisher(s)[1], laplace, rtol=1e-3, atol=0)


def test_mean_rotation_equals_an_average_over_random_ones():
    turns = random_rotations(400_000)
    for k, a in enumerate(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)):
        u, s, vh = proper_svd(a[None])
        torch.testing.assert_close((u * s[:, None]) @ vh, a[None])
        assert torch.linalg.det(u) > 0 and torch.linalg.det(vh) > 0 and s[0, 2].sign() == torch.linalg.det(a).sign()
        log_c, d = fisher(s)
        weight = torch.einsum("nij,ij->n", turns, a).exp()
        error = weight.std() / weight.mean() / len(weight) ** 0.5
        assert abs(weight.mean().log() - log_c) < 4 * error, k
        mean = (weight[:, None, None] * turns).mean(0) / weight.mean()
        assert (mean - ((u * d[:, None]) @ vh)[0]).abs().max() < 8 * error


def enumerated(phi, sigma, w_t, operator, signals):
    """Posterior mean over equally likely signals `[n, N, C]` of one graph, one Gaussian likelihood after the other."""
    modes = operator.eigenvectors[0].mT @ signals
    gap = (w_t - phi * modes) / sigma
    gap = gap[:, 1:]  # the translation is no part of the signal
    share = (-0.5 * gap.square().sum((1, 2))).softmax(0)
    return (share[:, None, None] * signals).sum(0)


@pytest.mark.parametrize("log_tau", [-3.0, -1.0, 1.0])
def test_conformers_and_labels_equal_their_enumeration(conformers, log_tau):
    """Of graphs with 3 conformers x 6 labellings, 1 x 6 and 3 x 1, in a known orientation."""
    operator = stars(3)
    x_0 = torch.cat([conformers[1], conformers[0], conformers[2]])
    phi, sigma, w_t, _ = noised(operator, x_0, log_tau)
    ensemble = torch.cat([conformers.view(-1, 3), conformers[0], conformers.view(-1, 3)])
    labels = torch.cat([SWAPS.flatten(), SWAPS.flatten() + 4, torch.arange(8, 12)])
    candidates = Candidates.of(
        operator,
        x_0,
        (ensemble, torch.tensor([0] * 3 + [1] + [2] * 3)),
        (labels, torch.tensor([0] * 6 + [1] * 6 + [2])),
        rotations=False,
    )
    assert candidates.graph.tolist() == [0] * 18 + [1] * 6 + [2] * 3
    mean = posterior_mean(operator, phi, sigma, w_t, candidates, centered=True)
    wanted = [conformers[:, SWAPS].flatten(0, 1), conformers[:1, SWAPS].flatten(0, 1), conformers]
    for k, signals in enumerate(wanted):
        one = stars(1)
        expected = enumerated(phi[k], sigma[k], w_t[k], one, signals)
        torch.testing.assert_close(mean[4 * k : 4 * k + 4], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("log_tau", [0.0, 2.0])
def test_all_parts_equal_an_average_over_random_rotations(conformers, log_tau):
    """Rotations x mirror images x labels x conformers, by enumeration of 60,000 rotations of each."""
    operator = stars(1)
    phi, sigma, w_t, _ = noised(operator, conformers[0], log_tau)
    ensemble = conformers[:2].reshape(-1, 3), torch.tensor([0, 0])
    labels = SWAPS.flatten(), torch.zeros(6, dtype=torch.long)
    turns = random_rotations(60_000)
    everything = torch.cat([sign * conformers[:2, SWAPS].flatten(0, 1) for sign in (1, -1)])
    for mirror, shapes in ((True, everything), (False, everything[:12])):
        candidates = Candidates.of(operator, conformers[0], ensemble, labels, torch.tensor([mirror]))
        mean = posterior_mean(operator, phi, sigma, w_t, candidates, centered=True)
        total, weight = 0.0, 0.0
        for x in shapes:
            signals = x @ turns.mT
            gap = ((w_t[0] - phi[0] * (operator.eigenvectors[0].mT @ signals)) / sigma[0])[:, 1:]
            density = (-0.5 * gap.square().sum((1, 2))).exp()
            total, weight = total + (density[:, None, None] * signals).sum(0), weight + density.sum()
        torch.testing.assert_close(mean, total / weight, atol=0.02, rtol=0)


@pytest.mark.parametrize("log_tau", [-4.0, -1.0, 0.5])
def test_what_is_left_out_is_noise(conformers, log_tau):
    """S_0 - E[S_0 | S_t] has mean 0, and no correlation with S_t nor with E[S_0 | S_t], over 1,000 draws."""
    count, generator = 1000, torch.Generator().manual_seed(5)
    operator = stars(count)
    chosen = torch.randint(3, (count,), generator=generator)
    label = SWAPS[torch.randint(6, (count,), generator=generator)]
    hand = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0).double()
    shape = conformers[chosen].gather(1, label.unsqueeze(2).expand(-1, -1, 3))
    x_0 = (hand[:, None, None] * shape @ random_rotations(count, 6).mT).reshape(-1, 3)
    phi, sigma, w_t, _ = noised(operator, x_0, log_tau)
    graphs = torch.arange(count)
    candidates = Candidates.of(
        operator,
        x_0,
        (conformers.repeat(count, 1, 1).view(-1, 3), graphs.repeat_interleave(3)),
        ((SWAPS + 4 * graphs[:, None, None]).flatten(), graphs.repeat_interleave(6)),
        torch.ones(count, dtype=torch.bool),
    )
    mean = posterior_mean(operator, phi, sigma, w_t, candidates, centered=True).view(count, 4, 3)
    rest, s_t = x_0.view(count, 4, 3) - mean, operator.from_modes(w_t).view(count, 4, 3)
    size = s_t.square().sum((1, 2), keepdim=True)
    for product in (rest, rest * s_t, rest * mean, rest[:, :1] * s_t[:, 1:], rest * s_t * size):
        z = product.mean(0) / product.std(0) * count**0.5
        assert z.abs().max() < 4.0
    if log_tau > -2:
        assert (rest.square().sum((1, 2)) / x_0.view(count, 4, 3).square().sum((1, 2))).mean() > 0.05


def test_where_noise_vanishes_three_directions_are_left_out(conformers):
    """Then the change of F's target is its projection on the three rotations of S_0, and the rest is as it was."""
    operator, x_0 = stars(1), conformers[0]
    denoiser = Denoiser(ZeroNet(), SDE, SPECTRUM, centered=True)
    phi, sigma, w_t, t = noised(operator, x_0, -16.0)
    shift = target_shift(denoiser, operator, w_t, denoiser.parts(t), Candidates.of(operator, x_0))[0]
    before = -(w_t - phi * operator.to_modes(x_0))[0] / sigma[0]  # F* -> -ε
    axes = torch.eye(3, dtype=torch.float64)
    turned = torch.stack([torch.linalg.cross(axis.expand(4, 3), x_0) for axis in axes])
    q, _ = torch.linalg.qr((operator.eigenvectors[0].mT @ turned).flatten(1).T)
    torch.testing.assert_close(shift.flatten(), -q @ (q.T @ before.flatten()), atol=2e-3, rtol=0)
    assert shift.norm() > 0.5


def test_turns_with_what_it_is_given_and_does_not_depend_on_company(conformers):
    operator, single = stars(2), stars(1)
    x_0, turn = torch.cat([conformers[0], conformers[1]]), random_rotations(1, 8)[0]
    phi, sigma, w_t, _ = noised(operator, x_0, -0.5)
    labels = torch.cat([SWAPS.flatten(), SWAPS.flatten() + 4]), torch.tensor([0, 1]).repeat_interleave(6)
    mirror = torch.tensor([True, False])

    def mean(w, x):
        return posterior_mean(operator, phi, sigma, w, Candidates.of(operator, x, None, labels, mirror), True)

    out = mean(w_t, x_0)
    torch.testing.assert_close(mean(w_t @ turn.mT, x_0), out @ turn.mT)  # whichever rotation of S_0 is named
    torch.testing.assert_close(mean(w_t, x_0 @ turn.mT), out)
    relabelled = torch.cat([conformers[0][SWAPS[4]], conformers[1]])
    torch.testing.assert_close(mean(w_t, relabelled), out)
    alone = Candidates.of(single, conformers[1], None, (SWAPS.flatten(), torch.zeros(6, dtype=torch.long)))
    torch.testing.assert_close(out[4:], posterior_mean(single, phi[1:], sigma[1:], w_t[1:], alone, True))


class _Says(NetworkBase):
    def __init__(self, predicts, out):
        super().__init__()
        self.predicts, self.out = predicts, out

    def forward(self, noisy, operator, context=None):
        return self.out


@pytest.mark.parametrize("predicts", ["F", "eps", "score"])
def test_the_posterior_mean_alone_has_no_loss(conformers, predicts):
    """A network whose D is E[S_0 | S_t] has none; against the drawn S_0 it has the variance of S_0 given S_t."""
    operator = stars(2)
    x_0 = torch.cat([conformers[0], conformers[1]])
    _, _, w_t, t = noised(operator, x_0, 0.5)
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(2), dtype=x_0.dtype)
    candidates = Candidates.of(operator, x_0, mirror=torch.tensor([True, True]))
    denoiser = Denoiser(_Says(predicts, None), SDE, SPECTRUM, centered=True)
    parts = denoiser.parts(t)
    phi, sigma = operator.response(parts.phi), operator.response(parts.sigma)
    best = operator.to_modes(posterior_mean(operator, phi, sigma, w_t, candidates, True))
    out = {
        "F": (best - operator.response(parts.c_skip) * w_t) / operator.response(parts.c_out),
        "eps": (w_t - phi * best) / sigma,
        "score": -(w_t - phi * best) / sigma**2,
    }[predicts]
    denoiser.net.out = operator.from_modes(operator.center(out))
    exact, sampled, _ = denoising_losses(
        denoiser, operator, x_0, noise, t, objectives={predicts: 1.0}, candidates=candidates
    )
    torch.testing.assert_close(exact, torch.zeros_like(exact), atol=1e-18, rtol=0)
    error = operator.response(gain(predicts, parts)) * operator.center(best - operator.to_modes(x_0))
    torch.testing.assert_close(sampled, operator.square_sum(error) / 9)
    plain = denoising_losses(denoiser, operator, x_0, noise, t, objectives={predicts: 1.0})
    torch.testing.assert_close(torch.stack(plain[:2]), torch.stack([sampled, sampled]))


@pytest.mark.parametrize("kinds", [("cycle", "cycle"), ("path", "cycle")])
@pytest.mark.parametrize("tau", [1e-4, 1.0, 6.0])
def test_translations_are_averaged_over(kinds, tau):
    """Against the sum over all of them, one by one."""
    shape, draws = (3, 4), torch.Generator().manual_seed(0)
    grid = GridOperator(shape, kinds, num_graphs=2, dtype=torch.float64)
    x, noise = (torch.randn(24, 2, generator=draws, dtype=torch.float64) for _ in range(2))
    sde = LinearSDE(GeometricTime(1e-5, 10.0), gamma=0.5, lambda0=0.5, noise="matched")
    t = sde.schedule.t(torch.full((2, 1), tau, dtype=torch.float64))
    phi, sigma = grid.response(sde.mean(t)), grid.response(sde.std(t))
    modes = phi * grid.to_modes(x) + sigma * grid.to_modes(noise)
    periodic = [kind == "cycle" for kind in kinds]
    found = Translations(x, shape, periodic).mean_given(grid, phi, sigma, modes)
    moved = [x.view(2, *shape, 2).roll((a, b), (1, 2)).view(24, 2) for a in range(3 if periodic[0] else 1) for b in range(4)]
    logs = torch.stack([-(((modes - phi * grid.to_modes(y)) / sigma) ** 2).sum((1, 2)) / 2 for y in moved])
    wanted = sum(w[:, None, None] * y.view(2, 12, 2) for w, y in zip(logs.softmax(0), moved, strict=True))
    torch.testing.assert_close(found.view(2, 12, 2), wanted)


def test_exact_targets_need_the_eigenbasis(conformers):
    """A grid has one, but none that rotations are averaged in; a polynomial has none."""
    x_0 = conformers[0]
    ring = torch.stack([torch.arange(len(x_0)), (torch.arange(len(x_0)) + 1) % len(x_0)])
    polynomial = ChebyshevOperator(Laplacian.from_edges(torch.cat([ring, ring.flip(0)], 1), len(x_0)))
    candidates = Candidates.of(stars(1), x_0)
    denoiser, t = Denoiser(_Says("F", x_0), SDE, SPECTRUM, centered=True), torch.tensor([[0.5]], dtype=torch.float64)
    for operator in (GridOperator((len(x_0),), dtype=torch.float64), polynomial):
        with pytest.raises(TypeError, match=rf"exact targets need a DenseOperator .*, got {type(operator).__name__}"):
            denoising_losses(denoiser, operator, x_0, torch.ones_like(x_0), t, candidates=candidates)
