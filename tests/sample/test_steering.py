"""Guidance and inpainting against the conditional Gaussian, worked out with dense matrices."""

import pytest
import torch

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.sample import (
    DDIM,
    Ancestral,
    ClassifierFree,
    EnergyGuided,
    Exponential,
    Inpainted,
    PredictorCorrector,
    steer,
    time_grid,
)
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, Laplacian
from pyg_diffusion.testing import gaussian_denoiser

SDE = LinearSDE(GeometricTime(1e-4, 8.0), gamma=1.0, lambda0=0.05)
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4, 0, 5]])
OPERATOR = DenseOperator.from_edges(EDGES, 6)
KNOWN = torch.tensor([True, False, True, False, False, True])
VALUES = torch.tensor([[1.0], [9], [-2], [9], [9], [0.5]], dtype=torch.float64)


def spectrum(lam):
    return 1 / (0.2 + 0.5 * lam)


def conditional(values, error=0.0):
    """Mean and covariance of N(0, p(L)) given the known nodes."""
    cov = OPERATOR.matrix(spectrum)[0]
    gain = cov[:, KNOWN] @ torch.linalg.inv(cov[KNOWN][:, KNOWN] + error**2 * torch.eye(3))
    return gain @ values[KNOWN], cov - gain @ cov[KNOWN]


class Units:
    """Draw k is, in channel j, the unit vector e_j if k = j // 6, so that a run shows the whole linear map from draws."""

    def __init__(self, draws):
        self.draws, self.count = draws, 0

    def __call__(self):
        eye = torch.zeros(6, 6 * self.draws + 1, dtype=torch.float64)
        eye[:, 6 * self.count : 6 * self.count + 6] = torch.eye(6)
        self.count += 1
        return eye


def law_error(sampler, denoiser, operator, steps, mean, cov):
    """Largest errors of the samples' mean and covariance. The map from draws is affine: the last channel, without draws, is
    the mean; the products of the others are the covariance."""
    draws = Units(steps + 3)
    denoiser.values = denoiser.values[:, :1].expand(-1, 6 * (steps + 3) + 1)
    out = sampler.sample(denoiser, operator, time_grid(steps).double(), draws)
    linear = out[:, :-1] - out[:, -1:]
    return float((out[:, -1:] - mean).abs().max()), float((linear @ linear.mT - cov).abs().max())


CASES = [(Ancestral(), 1), (DDIM(0.5), 1), (Exponential(1), 1), (Exponential(2), 2)]


@pytest.mark.parametrize(("sampler", "order"), CASES, ids=repr)
@pytest.mark.parametrize("error", [0.0, 0.3])
def test_inpainting_converges_to_the_conditional_gaussian(sampler, order, error):
    denoiser = Inpainted(gaussian_denoiser(SDE, spectrum), KNOWN, torch.where(KNOWN[:, None], VALUES, 0.0), error)
    coarse, fine = (law_error(sampler, denoiser, OPERATOR, n, *conditional(VALUES, error)) for n in (30, 120))
    for a, b in zip(coarse, fine, strict=True):
        assert b < 0.08 / 8 ** (order - 1) and (a / b > 3.2 * 4 ** (order - 1) or a < 1e-3), (coarse, fine)


def test_nodes_known_in_part_follow_their_conditional_gaussian():
    """Two channels with spectra of their own, each known at other nodes: each is conditioned on what is known of it."""

    def both(lam):
        return torch.stack([spectrum(lam), 2 * spectrum(lam) ** 2], -1)

    known = torch.stack([KNOWN, ~KNOWN], 1)
    values = torch.where(known, VALUES * torch.tensor([1.0, -1.0]), torch.nan)
    denoiser = steer(gaussian_denoiser(SDE, both), fixed=values)
    zero = lambda: torch.zeros(6, 2, dtype=torch.float64)  # noqa: E731
    out = Exponential(2).sample(denoiser, OPERATOR, time_grid(60).double(), zero)
    for c, p in enumerate((spectrum, lambda lam: 2 * spectrum(lam) ** 2)):
        cov, seen = OPERATOR.matrix(p)[0], known[:, c]
        mean = cov[:, seen] @ torch.linalg.solve(cov[seen][:, seen], values[seen, c])
        torch.testing.assert_close(out[:, c], mean, rtol=0, atol=5e-3)
    with pytest.raises(ValueError, match="as a whole or not at all"):
        steer(gaussian_denoiser(SDE, spectrum, centered=True), fixed=values)


def test_inpainting_on_another_backend():
    operator = ChebyshevOperator(Laplacian.from_edges(EDGES, 6))
    denoiser = Inpainted(gaussian_denoiser(SDE, spectrum), KNOWN, torch.where(KNOWN[:, None], VALUES, 0.0))
    there, here = (law_error(Ancestral(), denoiser, op, 20, *conditional(VALUES)) for op in (operator, OPERATOR))
    torch.testing.assert_close(torch.tensor(there), torch.tensor(here), rtol=1e-5, atol=1e-7)


def test_inpainting_without_a_frame_knows_shapes_only():
    """Centered: y may be anywhere; what is sampled has y's shape, and `place` puts it there."""
    generator = torch.Generator().manual_seed(0)
    results = []
    for shift in (0.0, 100.0):
        denoiser = Inpainted(gaussian_denoiser(SDE, spectrum, centered=True), KNOWN, VALUES + shift)
        generator.manual_seed(0)
        noise = lambda: torch.randn(6, 1, generator=generator, dtype=torch.float64)  # noqa: E731
        out = Exponential(2).sample(denoiser, OPERATOR, time_grid(20), noise)
        assert abs(float(out.mean())) < 1e-9
        placed = denoiser.place(OPERATOR, out)
        torch.testing.assert_close(placed[KNOWN], VALUES[KNOWN] + shift, rtol=0, atol=1e-6)
        results.append(placed - shift)
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


def test_turned_to_what_is_known():
    """A shape that was turned comes back to where three of its nodes fit; with one known it stays; mirrors stay mirrors."""
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x -= x.mean(0)
    angle = torch.tensor(1.2).double()
    turn = torch.eye(3).double()
    turn[:2, :2] = torch.tensor([[angle.cos(), angle.sin()], [-angle.sin(), angle.cos()]])
    plain = gaussian_denoiser(SDE, spectrum, centered=True)
    three, one = torch.arange(6) < 3, torch.arange(6) < 1
    turned = Inpainted(plain, three, x, turned=True).turn(OPERATOR, x @ turn)
    torch.testing.assert_close(turned, x, rtol=0, atol=0.01)
    torch.testing.assert_close(Inpainted(plain, one, x, turned=True).turn(OPERATOR, x @ turn), x @ turn)
    mirrored = Inpainted(plain, three | True, x, turned=True).turn(OPERATOR, -x)
    assert float(torch.linalg.det(mirrored[:3])) * float(torch.linalg.det(x[:3])) < 0


def test_nothing_known_and_all_known():
    noise = torch.randn(25, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = gaussian_denoiser(SDE, spectrum)
    values = torch.randn(6, 2, dtype=torch.float64)
    everything = Inpainted(plain, torch.ones(6, dtype=torch.bool), values)
    draws = iter(noise)
    torch.testing.assert_close(
        Ancestral().sample(everything, OPERATOR, time_grid(20), lambda: next(draws)), values, rtol=0, atol=1e-8
    )
    nothing = Inpainted(plain, torch.zeros(6, dtype=torch.bool), torch.full((6, 2), float("nan")).double())
    x, t = noise[0], torch.tensor(0.5).double()
    torch.testing.assert_close(
        nothing.denoise(OPERATOR, OPERATOR.to_work(x), t), plain.denoise(OPERATOR, OPERATOR.to_work(x), t)
    )


def test_linear_energy_tilts_a_gaussian_exactly():
    """p(S) e^{-bᵀS} is N(-Cov b, Cov): the mean of the samples is shifted by that and nothing else."""
    b = torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    sde = LinearSDE(GeometricTime(1e-4, 200.0), gamma=1.0, lambda0=0.05)  # long: the start knows nothing of the energy
    guided = EnergyGuided(gaussian_denoiser(sde, spectrum), lambda x: (b * x).sum())
    zero = lambda: torch.zeros(6, 1, dtype=torch.float64)  # noqa: E731
    out = Exponential(2).sample(guided, OPERATOR, time_grid(40), zero)
    torch.testing.assert_close(out, -OPERATOR.apply(spectrum, b), rtol=0, atol=5e-3)
    limited = EnergyGuided(gaussian_denoiser(SDE, spectrum), lambda x: 1e6 * (b * x).sum(), limit=0.1)
    assert Exponential(2).sample(limited, OPERATOR, time_grid(50), zero).isfinite().all()
    with pytest.raises(ValueError, match="not finite"):
        EnergyGuided(limited, lambda x: x.sum() / 0).denoise(OPERATOR, zero()[None], torch.tensor(0.5).double())


class Labelled(NetworkBase):
    """F is the context: a network whose estimate is its condition."""

    def forward(self, noisy, operator, context=None):
        return torch.full_like(noisy.signal, 0.0 if context is None else context)


def test_classifier_free_guidance_is_linear_in_its_weight():
    denoiser = Denoiser(Labelled(), SDE, spectrum)
    w_t, t = OPERATOR.to_work(torch.randn(6, 2, dtype=torch.float64)), torch.tensor(0.6).double()
    free, asked = (denoiser.denoise(OPERATOR, w_t, t, c) for c in (None, 2.0))
    for weight in (0.0, 0.5, 1.0, 3.0):
        got = ClassifierFree(denoiser, weight, None).denoise(OPERATOR, w_t, t, 2.0)
        torch.testing.assert_close(got, free + weight * (asked - free))


def test_steered_denoisers_nest_and_every_sampler_takes_them():
    generator = torch.Generator().manual_seed(0)
    both = EnergyGuided(Inpainted(gaussian_denoiser(SDE, spectrum), KNOWN, VALUES), lambda x: 0 * x.sum())
    noise = lambda: torch.randn(6, 1, generator=generator, dtype=torch.float64)  # noqa: E731
    for sampler in (Ancestral(), PredictorCorrector(DDIM()), Exponential(3)):
        out = sampler.sample(both, OPERATOR, time_grid(20), noise)
        torch.testing.assert_close(out[KNOWN], VALUES[KNOWN], rtol=0, atol=1e-6)


def test_bad_input():
    plain = gaussian_denoiser(SDE, spectrum)
    with pytest.raises(ValueError, match="mask"):
        Inpainted(plain, KNOWN.long(), VALUES)
    with pytest.raises(ValueError, match="node 2 is not finite"):
        Inpainted(plain, KNOWN, torch.where(torch.arange(6)[:, None] == 2, torch.nan, VALUES))
    with pytest.raises(ValueError, match="error must be"):
        Inpainted(plain, KNOWN, VALUES, -1.0)
    with pytest.raises(ValueError, match="limit"):
        EnergyGuided(plain, torch.sum, 0.0)
