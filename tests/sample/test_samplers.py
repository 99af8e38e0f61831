"""With the exact Gaussian denoiser every sampler is affine in its draws, mode by mode. Giving draw k a channel of its own
shows all coefficients in one run, so mean and variance are exact numbers and no test here samples anything."""

import pytest
import torch

from pyg_diffusion.sample import DDIM, Ancestral, Exponential, ProbabilityFlow, StepContext, time_grid
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import DenseOperator, PowerSpectrum
from pyg_diffusion.testing import gaussian_denoiser

SPECTRUM = PowerSpectrum.harmonic(0.3, 0.2, 5.0)  # not the stationary law 1/(γλ), so that sampling has something to do
WHITE = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.05)
MATCHED = LinearSDE(GeometricTime(1e-3, 10.0), gamma=0.4, lambda0=0.1, noise="matched")
ALL = [Ancestral(), DDIM(0.0), DDIM(0.5), DDIM(1.0), Exponential(1), Exponential(2), Exponential(3), ProbabilityFlow(2)]


@pytest.fixture
def operator():
    """A path of 5, a disconnected graph of 2 + 2, a single node."""
    edges = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8], [1, 0, 2, 1, 3, 2, 4, 3, 6, 5, 8, 7]])
    return DenseOperator.from_edges(edges, 10, batch=torch.tensor([0] * 5 + [1] * 4 + [2]))


class Draws:
    """Draw k is 1 in every mode of channel k and 0 in the other channels."""

    def __init__(self, operator, channels):
        self.operator, self.channels, self.count = operator, channels, 0

    def __call__(self):
        modes = torch.zeros(*self.operator.eigenvalues.shape, self.channels, dtype=torch.float64)
        modes[..., self.count] = 1
        self.count += 1
        return self.operator.from_modes(modes)


def coefficients(sampler, denoiser, operator, steps, start=1.0):
    """Coefficient of every draw in S at the last time, `[num_graphs, M, steps + 1]`: the last D divided by c_skip."""
    grid = time_grid(steps, start)
    draws = Draws(operator, steps + 1)
    out = operator.to_modes(sampler.sample(denoiser, operator, grid, draws))
    return out / operator.response(denoiser.parts(grid[-1].double()).c_skip)


def variance_error(sampler, denoiser, operator, steps):
    """Largest relative error of the variance of S at t_min over all modes, against φ²p + σ²."""
    variance = coefficients(sampler, denoiser, operator, steps).square().sum(-1)
    target = operator.response(denoiser.parts(torch.tensor(0.0).double()).total)[..., 0]
    return float(((variance - target) / target)[operator.mode_mask].abs().max())


def flow_error(sampler, denoiser, operator, steps, start=1.0):
    """Largest relative error of the deterministic map: S_t / √(φ²p + σ²) is constant along the probability flow."""
    scale = coefficients(sampler, denoiser, operator, steps, start)[..., 0]
    target = operator.response(denoiser.parts(torch.tensor(0.0).double()).std)[..., 0]
    return float(((scale - target) / target)[operator.mode_mask].abs().max())


@pytest.mark.parametrize("sde", [WHITE, MATCHED], ids=["white", "matched"])
@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_variance_converges_to_the_target(sampler, sde, operator):
    denoiser = gaussian_denoiser(sde, SPECTRUM)
    coarse, middle, fine = (variance_error(sampler, denoiser, operator, n) for n in (30, 120, 480))
    assert fine < 0.02
    assert coarse / middle > 3 and middle / fine > 3.5  # first order or better: four times the steps, a quarter of the error


@pytest.mark.parametrize("sde", [WHITE, MATCHED], ids=["white", "matched"])
@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (DDIM(0.0), 1),
        (Exponential(1), 1),
        (Exponential(2), 2),
        (Exponential(3), 3),
        (ProbabilityFlow(1), 1),
        (ProbabilityFlow(2), 2),
    ],
    ids=repr,
)
def test_order_of_convergence(sampler, order, sde, operator):
    denoiser = gaussian_denoiser(sde, SPECTRUM)
    errors = torch.tensor([flow_error(sampler, denoiser, operator, n) for n in (80, 160, 320)], dtype=torch.float64)
    measured = torch.log2(errors[:-1] / errors[1:])
    # The third order comes from above: the errors of the two lower-order steps at the start fade faster.
    assert ((measured - order).abs() < (0.12 if order < 3 else 0.55)).all() and (measured > order - 0.12).all(), measured


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_modes_do_not_mix(sampler, operator):
    """The map is affine *per mode*: noise in one mode moves that mode only, by the coefficient found with all of them."""
    denoiser = gaussian_denoiser(WHITE, SPECTRUM)
    all_modes = operator.to_modes(sampler.sample(denoiser, operator, time_grid(6), Draws(operator, 7)))
    for k in range(5):
        draws = Draws(operator, 7)

        def one(draws=draws, k=k):
            modes = operator.to_modes(draws())
            keep = torch.zeros_like(modes)
            keep[:, k] = modes[:, k]
            return operator.from_modes(keep)

        out = operator.to_modes(sampler.sample(denoiser, operator, time_grid(6), one))
        expected = torch.zeros_like(all_modes)
        expected[:, k] = all_modes[:, k]
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sde", [WHITE, MATCHED], ids=["white", "matched"])
@pytest.mark.parametrize(
    ("one", "other"), [(DDIM(1.0), Ancestral()), (DDIM(0.0), Exponential(1))], ids=["DDIM(1)", "DDIM(0)"]
)
def test_ends_of_ddim(one, other, sde, operator):
    """DDIM(1) = ancestral and DDIM(0) = first-order exponential: the same coefficient of every draw, at any step size."""
    denoiser = gaussian_denoiser(sde, SPECTRUM)
    for steps in (1, 3, 10):
        a, b = (coefficients(sampler, denoiser, operator, steps) for sampler in (one, other))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_start_is_the_noised_data_and_not_the_stationary_law(operator):
    """Where T is short the two differ, and sampling from T must still return the data's variance."""
    denoiser = gaussian_denoiser(WHITE, SPECTRUM)
    short = 0.6  # τ = 0.25: nothing is stationary yet
    parts = denoiser.parts(torch.tensor(short).double())
    expected = operator.response(lambda lam: parts.c_skip(lam) * parts.std(lam))
    start = operator.to_modes(Exponential().sample(denoiser, operator, torch.tensor([short]), Draws(operator, 1)))
    torch.testing.assert_close(start[..., 0][operator.mode_mask], expected[..., 0][operator.mode_mask], rtol=1e-7, atol=0)
    assert flow_error(Exponential(2), denoiser, operator, 80, short) < 1e-3


class Recorder:
    """Counts calls of a denoiser, and optionally puts a constant estimate in its place."""

    def __init__(self, denoiser, constant=None):
        self.denoiser, self.sde, self.constant, self.times = denoiser, denoiser.sde, constant, []
        self.parts, self.project, self.start = denoiser.parts, denoiser.project, denoiser.start

    def denoise(self, operator, w_t, t, context=None):
        self.times.append(float(t))
        return self.denoiser.denoise(operator, w_t, t, context) if self.constant is None else self.constant


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_network_calls_and_draws_are_what_a_sampler_says(sampler, operator):
    recorder, draws = Recorder(gaussian_denoiser(WHITE, SPECTRUM)), Draws(operator, 8)
    grid = time_grid(7).double()
    path = [float(moment.t) for moment in sampler.iterate(recorder, operator, grid, draws)]
    assert path == grid.tolist()
    starter = isinstance(sampler, Exponential) and sampler.order == 3
    assert len(recorder.times) == 7 * sampler.calls + 1 + starter
    assert sampler.calls > 1 or starter or recorder.times == path
    assert draws.count == (1 if sampler.deterministic else 8)  # the start, and each step of a stochastic sampler


@pytest.mark.parametrize("sampler", [DDIM(0.0), Exponential(1), Exponential(2)], ids=repr)
def test_a_constant_estimate_is_integrated_exactly(sampler, operator):
    """S_s = φ_s D + (σ_s/σ_t)(S_t - φ_t D) at any step size, which holds only with h of its own in every mode."""
    constant = torch.randn(3, 5, 2, dtype=torch.float64)
    lam, grid, seen = operator.eigenvalues, torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64), []
    recorder = Recorder(gaussian_denoiser(WHITE, SPECTRUM), constant)
    denoise = recorder.denoise
    recorder.denoise = lambda operator, w_t, t, context=None: seen.append(w_t) or denoise(operator, w_t, t, context)
    sampler.sample(recorder, operator, grid, lambda: torch.ones(10, 2, dtype=torch.float64))
    phi, sigma = ([k(t)(lam).unsqueeze(-1) for t in grid] for k in (WHITE.mean, WHITE.std))
    for n in (1, 2):
        exact = phi[n] * constant + sigma[n] / sigma[0] * (seen[0] - phi[0] * constant)
        torch.testing.assert_close(seen[n], exact)
    h = (WHITE.half_log_snr(grid[1])(lam) - WHITE.half_log_snr(grid[0])(lam))[0]
    assert h.max() / h.min() > 1.5  # so that a shared h would have failed above


def test_second_order_step_extrapolates_with_the_ratio_of_each_mode():
    """One step against DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), written out with numbers, mode by mode."""
    lam = torch.tensor([[0.0, 0.5, 3.0]], dtype=torch.float64)
    before, t, s = (torch.tensor(x, dtype=torch.float64) for x in (0.9, 0.7, 0.4))
    x, d, d_before = torch.randn(3, 1, 3, 1, dtype=torch.float64)
    operator = DenseOperator(lam, torch.eye(3, dtype=torch.float64)[None], torch.tensor([3]))
    got = Exponential(2).step(x, StepContext(operator, WHITE, s, t, d, [(before, d_before)], None, None, None))
    for k in range(3):
        ell = [float(WHITE.half_log_snr(time)(lam)[0, k]) for time in (before, t, s)]
        h = ell[2] - ell[1]
        r = (ell[1] - ell[0]) / h
        estimate = (1 + 1 / (2 * r)) * d[0, k] - d_before[0, k] / (2 * r)
        alpha, sigma, sigma_t = WHITE.mean(s)(lam)[0, k], WHITE.std(s)(lam)[0, k], WHITE.std(t)(lam)[0, k]
        torch.testing.assert_close(
            got[0, k], sigma / sigma_t * x[0, k] - alpha * (torch.exp(torch.tensor(-h)) - 1) * estimate, rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_centered_samples_do_not_translate(sampler, operator):
    """Noise far off centre leaves no mean in any estimate of a centered denoiser; without centering it would."""
    seen = []
    generator = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(10, 3, generator=generator, dtype=torch.float64) + 100

    for centered in (True, False):
        denoiser = gaussian_denoiser(WHITE, SPECTRUM, centered)
        path = list(sampler.iterate(denoiser, operator, time_grid(5), noise))
        seen += [moment.denoised[:, 0] for moment in path]
        out = operator.from_work(path[-1].denoised)
        mean = operator.graph_sum(out).abs().max()
        assert mean < 1e-12 if centered else mean > 1
    assert all((d == 0).all() for d in seen[:6])
    assert (sampler.sample(gaussian_denoiser(WHITE, SPECTRUM, True), operator, time_grid(5), noise)[9] == 0).all()


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_fragments_keep_the_variance_of_their_relative_position(sampler, operator):
    """The second null mode of the graph of two fragments is signal, with variance p(0)."""
    denoiser = gaussian_denoiser(WHITE, SPECTRUM, centered=True)
    assert (operator.eigenvalues[1, :2] == 0).all()
    variance = coefficients(sampler, denoiser, operator, 300).square().sum(-1)
    assert float(variance[1, 1]) == pytest.approx(float(SPECTRUM(torch.zeros(1))) + 1e-3, rel=0.02)
    assert (variance[:, 0] < 1e-20).all()


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_a_batch_is_its_graphs(sampler, operator):
    denoiser = gaussian_denoiser(WHITE, SPECTRUM)
    path = DenseOperator.from_edges(torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]]), 5)
    draws = torch.randn(6, 10, 3, dtype=torch.float64)
    both, alone = iter(draws), iter(draws[:, :5])
    batch = sampler.sample(denoiser, operator, time_grid(5), lambda: next(both))
    torch.testing.assert_close(batch[:5], sampler.sample(denoiser, path, time_grid(5), lambda: next(alone)))


def test_time_grid_and_bad_input(operator):
    torch.testing.assert_close(time_grid(4, 1.0, 0.2), torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]))
    with pytest.raises(ValueError, match="at least 1 step"):
        time_grid(0)
    for grid in (torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.5]), torch.zeros(2, 2), torch.zeros(0)):
        with pytest.raises(ValueError, match="decreasing"):
            DDIM().sample(gaussian_denoiser(WHITE, SPECTRUM), operator, grid, Draws(operator, 3))
    with pytest.raises(ValueError, match="eta must lie"):
        DDIM(1.5)
    with pytest.raises(ValueError, match="order must be 1, 2 or 3"):
        Exponential(4)
