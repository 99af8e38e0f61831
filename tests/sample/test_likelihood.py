"""Likelihoods against closed forms: Gaussians whose spectrum the denoiser does not know, and a mixture."""

import math

import pytest
import torch

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.sample import Exponential, PredictorCorrector, StepContext, log_likelihood, negative_elbo, time_grid
from pyg_diffusion.sample.ancestral import Ancestral
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, Laplacian
from pyg_diffusion.testing import GaussianMixture, gaussian_denoiser

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0, 4, 5], [1, 0, 2, 1, 3, 2, 0, 3, 5, 4]])
OPERATOR = DenseOperator.from_edges(EDGES, 7, batch=torch.tensor([0, 0, 0, 0, 1, 1, 2]))
WHITE = LinearSDE(GeometricTime(1e-3, 300.0), gamma=1.0, lambda0=0.1)
MATCHED = LinearSDE(GeometricTime(1e-3, 300.0), gamma=0.5, lambda0=0.2, noise="matched")


def spectrum(lam):
    return 1 / (0.2 + 0.5 * lam)


def true(lam):
    return 0.5 * torch.exp(-lam) + 0.1


class WrongSpectrum(NetworkBase):
    """F of the exact denoiser of N(0, q) inside a `Denoiser` that believes in p: a linear network that has work to do."""

    def __init__(self, sde):
        super().__init__()
        self.sde = sde

    def forward(self, noisy, operator, context=None):
        t = self.sde.schedule.t(noisy.log_tau.exp())
        phi, var = self.sde.mean(t), self.sde.var(t)

        def gain(lam):
            wiener = phi(lam) * true(lam) / (phi(lam) ** 2 * true(lam) + var(lam))
            return wiener[..., None] / noisy.c_out(lam)

        return operator.apply(gain, noisy.signal) - operator.apply(lambda lam: 1 / noisy.c_out(lam), noisy.skip)


def gaussian_log_density(sde, x, power, centered=False):
    """log N(x; 0, φ²q + σ²) at t = 0, mode by mode."""
    t = torch.tensor(0.0).double()
    total = OPERATOR.response(lambda lam: sde.mean(t)(lam) ** 2 * power(lam) + sde.var(t)(lam))
    per_mode = -0.5 * (OPERATOR.to_modes(x) ** 2 / total + (2 * math.pi * total).log()) * OPERATOR.mode_mask[..., None]
    return per_mode[:, int(centered) :].sum((1, 2))


@pytest.mark.parametrize(
    ("sde", "centered"),
    [
        pytest.param(WHITE, True, id="white-centered"),
        pytest.param(MATCHED, False, id="matched"),
        pytest.param(WHITE, False, id="white", marks=pytest.mark.slow),
        pytest.param(MATCHED, True, id="matched-centered", marks=pytest.mark.slow),
    ],
)
def test_gaussian_likelihood(sde, centered):
    """To 1e-3 nats per dimension with the exact trace; without any error where the spectrum is right; second order."""
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x if not centered else OPERATOR.from_work(OPERATOR.center(OPERATOR.to_work(x)))
    right = log_likelihood(gaussian_denoiser(sde, true, centered), OPERATOR, x, steps=1)
    torch.testing.assert_close(right, gaussian_log_density(sde, x, true, centered), rtol=1e-6, atol=1e-6)
    denoiser = Denoiser(WrongSpectrum(sde), sde, spectrum, centered=centered)
    errors = [
        (log_likelihood(denoiser, OPERATOR, x, steps) - gaussian_log_density(sde, x, true, centered)).abs().max()
        for steps in (60, 240)
    ]
    assert errors[1] < 1e-3 * 2 and errors[0] / errors[1] > 12, errors  # of graphs with at least 2 dimensions


def test_mixture_likelihood_by_hutchinson_and_exactly():
    """Three Gaussians far apart and not of the model's spectrum; the estimate is unbiased, the exact trace exact."""
    operator = DenseOperator.from_edges(EDGES[:, :8], 8, batch=torch.tensor([0] * 4 + [1] * 4))
    means = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.5
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    net = GaussianMixture(means, weights, true, WHITE, spectrum)
    denoiser = Denoiser(net, WHITE, spectrum)
    x = means[:2].reshape(8, 2) + 0.3
    wanted = net.log_density(operator, x, torch.tensor(0.0).double())
    exact = log_likelihood(denoiser, operator, x, 100)
    torch.testing.assert_close(exact, wanted, rtol=0, atol=16 * 1e-3)
    estimate = log_likelihood(denoiser, operator, x, 50, probes=24, seed=1)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.4)
    assert not torch.equal(estimate, log_likelihood(denoiser, operator, x, 50, probes=24, seed=2))


def test_bound_is_tight_for_an_exact_denoiser_and_loose_for_a_wrong_one():
    """-ELBO >= -log p, mode by mode, and equal to the order of σ²(t_0)/p; a wrong spectrum pays for it."""
    sde = LinearSDE(GeometricTime(1e-4, 30.0), gamma=1.0, lambda0=0.1)
    x = torch.randn(7, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = OPERATOR.apply(lambda lam: true(lam).sqrt(), x)  # channels are independent samples of N(0, q)
    bound = negative_elbo(gaussian_denoiser(sde, true), OPERATOR, x, 400)
    power = OPERATOR.response(true)
    exact = (0.5 * (OPERATOR.to_modes(x) ** 2 / power + (2 * math.pi * power).log()) * OPERATOR.mode_mask[..., None]).sum(2)
    torch.testing.assert_close(bound / 200, exact / 200, rtol=0, atol=0.05)
    assert float(bound.sum()) > float(exact.sum()) - 14
    wrong = negative_elbo(gaussian_denoiser(sde, lambda lam: 20 * true(lam)), OPERATOR, x, 400)
    assert (wrong.sum(1) > bound.sum(1) + 20).all()
    assert (bound[~OPERATOR.mode_mask] == 0).all()


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_corrector_bias_is_the_formula(size):
    """Langevin steps alone, iterated: the variance settles at v / (1 - ¼ δ σ²/v) in every mode."""
    denoiser = gaussian_denoiser(WHITE, spectrum)
    sampler, t = PredictorCorrector(Ancestral(), 1, size), torch.tensor(0.6).double()
    parts = denoiser.parts(t)
    total, sigma = OPERATOR.response(parts.total), OPERATOR.response(parts.sigma)

    # One correction maps a variance affinely: read the map off unit draws, then solve for its fixed point.
    class Stay:
        calls, memory = 0, 0

        def step(self, x, context):
            return x

    sampler.predictor = Stay()

    def corrected(x, noise):
        context = StepContext(
            OPERATOR, WHITE, t, t, None, [], lambda: noise, lambda w, at: denoiser.denoise(OPERATOR, w, at), denoiser.parts
        )
        return sampler.step(x, context)

    one, zero = torch.ones_like(total), torch.zeros_like(total)
    keep, fresh = corrected(one, zero), corrected(zero, one)
    settled = fresh**2 / (1 - keep**2)
    torch.testing.assert_close(settled, total / (1 - 0.25 * size * sigma**2 / total))


def test_temperature_scales_the_variance_of_gaussian_samples():
    denoiser = gaussian_denoiser(WHITE, spectrum)
    for sampler in (Exponential(2), Ancestral()):
        outs = []
        for temperature in (1.0, 0.25, 0.0):
            generator = torch.Generator().manual_seed(0)
            noise = lambda g=generator: torch.randn(7, 2, generator=g, dtype=torch.float64)  # noqa: E731
            outs.append(sampler.sample(denoiser, OPERATOR, time_grid(10), noise, temperature=temperature))
        torch.testing.assert_close(outs[1], 0.5 * outs[0])
        assert (outs[2] == 0).all()
    with pytest.raises(ValueError, match="temperature"):
        Ancestral().sample(denoiser, OPERATOR, time_grid(2), lambda: torch.zeros(7, 2).double(), temperature=-1.0)


def test_bad_input():
    denoiser, x = gaussian_denoiser(WHITE, spectrum), torch.zeros(7, 1, dtype=torch.float64)
    sparse = ChebyshevOperator(Laplacian.from_edges(EDGES, 7))
    with pytest.raises(TypeError, match="exact backend"):
        negative_elbo(denoiser, sparse, x)
    with pytest.raises(ValueError, match="probes >= 1"):
        log_likelihood(denoiser, sparse, x)
    for f in (log_likelihood, negative_elbo):
        with pytest.raises(ValueError, match="need steps"):
            f(denoiser, OPERATOR, x, steps=0)
    with pytest.raises(ValueError, match="size must lie"):
        PredictorCorrector(Ancestral(), size=3.0)
    with pytest.raises(ValueError, match="corrections"):
        PredictorCorrector(Ancestral(), corrections=0)


@pytest.mark.parametrize("centered", [pytest.param(False, marks=pytest.mark.slow), True])
def test_likelihood_without_an_eigenbasis(centered):
    """On a sparse backend determinant and trace are estimates by probes, whose mean is the dense backend's exact value."""
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    denoiser = Denoiser(WrongSpectrum(WHITE), WHITE, spectrum, centered=centered)
    sparse = ChebyshevOperator(Laplacian.from_edges(EDGES, 7, batch=torch.tensor([0, 0, 0, 0, 1, 1, 2])))
    exact = log_likelihood(denoiser, OPERATOR, x, steps=2)
    estimates = torch.stack([log_likelihood(denoiser, sparse, x, steps=2, probes=8, seed=s) for s in range(6)])
    error = estimates.std(0) / 6**0.5
    assert bool(((estimates.mean(0) - exact).abs() < 4 * error + 1e-3).all()) and float(error.max()) < 0.6
