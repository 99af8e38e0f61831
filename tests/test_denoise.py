import pytest
import torch

from pyg_diffusion.denoise import Denoiser, eps_from_x0, network_target, score_from_eps, score_from_x0, x0_from_eps
from pyg_diffusion.loss import denoising_loss, denoising_losses
from pyg_diffusion.nn import NetworkBase
from pyg_diffusion.sde import GeometricTime, LinearRate, LinearSDE
from pyg_diffusion.spectral import DenseOperator, PowerSpectrum
from pyg_diffusion.testing import gaussian_denoiser

SDE = LinearSDE(LinearRate(0.1, 5.0), gamma=0.8, lambda0=0.1)
SPECTRUM = PowerSpectrum.harmonic(0.5, 0.05, 5.0)


class Fixed(NetworkBase):
    """A network that returns what it was given, whatever it reads."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, noisy, operator, context=None):
        self.seen = noisy
        return self.out


@pytest.fixture
def operator():
    """A path of 4 nodes, two fragments of 2 and 1, a single node."""
    edges = torch.tensor([[0, 1, 1, 2, 2, 3, 4, 5], [1, 0, 2, 1, 3, 2, 5, 4]])
    return DenseOperator.from_edges(edges, 8, batch=torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]))


@pytest.fixture
def t():
    return torch.tensor([[0.1], [0.5], [0.9]], dtype=torch.float64)


def signals(count):
    return torch.randn(count, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_zero_network_is_the_conditional_mean_of_gaussian_data(operator, t):
    """E[S_0 | S_t] = Cov(S_0, S_t) Cov(S_t)⁻¹ S_t, by a linear solve in node space."""
    x_t = signals(1)[0]
    phi, var, p = (operator.matrix(k) for k in (SDE.mean(t), SDE.var(t), SPECTRUM))
    exists = operator.mode_mask.double()
    cov = phi @ p @ phi + var + torch.diag_embed(1 - exists)
    expected = operator.unpack(p @ phi @ torch.linalg.solve(cov, operator.pack(x_t)))
    torch.testing.assert_close(gaussian_denoiser(SDE, SPECTRUM)(operator, x_t, t), expected)


@pytest.mark.parametrize("noise", ["white", "matched"])
def test_wiener_filter_has_the_least_error_and_c_out_is_its_size(operator, t, noise):
    """E|c S_t - S_0|² = c²(φ²p + σ²) - 2cφp + p is stationary at c_skip, where it equals c_out²."""
    parts = gaussian_denoiser(LinearSDE(LinearRate(0.1, 5.0), 0.8, 0.1, noise), SPECTRUM).parts(t)
    phi, sigma, power, c_skip, c_out, c_in = (
        operator.response(k) for k in (parts.phi, parts.sigma, parts.power, parts.c_skip, parts.c_out, parts.c_in)
    )
    c = c_skip.clone().requires_grad_()
    error = c**2 * (phi**2 * power + sigma**2) - 2 * c * phi * power + power
    (slope,) = torch.autograd.grad(error.sum(), c)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
    torch.testing.assert_close(error.detach(), c_out**2)
    torch.testing.assert_close(c_in**2 * (phi**2 * power + sigma**2), torch.ones_like(c))


def test_harmonic_data_under_white_noise_collapses(operator, t):
    """p = 1/a: D = φ S_t + σ F, and c_in = √a."""
    x_t, f = signals(2)
    denoiser = Denoiser(Fixed(f), SDE, lambda lam: 1 / SDE.drift(lam))
    expected = operator.apply(SDE.mean(t), x_t) + operator.apply(SDE.std(t), f)
    torch.testing.assert_close(denoiser(operator, x_t, t), expected)
    torch.testing.assert_close(operator.response(denoiser.parts(t).c_in)[..., 0], SDE.drift(operator.eigenvalues).sqrt())


@pytest.mark.parametrize("centered", [False, True])
def test_network_target_is_what_makes_d_exact(operator, t, centered):
    x_0, eps = signals(2)
    denoiser = gaussian_denoiser(SDE, SPECTRUM, centered)
    s_0, e = (denoiser.project(operator, operator.to_work(x)) for x in (x_0, eps))
    parts = denoiser.parts(t)
    s_t = operator.combine((parts.phi, s_0), (parts.sigma, e))
    on_s_0, on_eps = network_target(parts)
    denoiser.net = Fixed(operator.from_work(operator.combine((on_s_0, s_0), (on_eps, e))))
    torch.testing.assert_close(denoiser.denoise(operator, s_t, t), s_0)
    torch.testing.assert_close(denoising_loss(denoiser, operator, x_0, eps, t), torch.zeros(3).double())


def test_target_keeps_its_digits_at_small_noise(operator):
    """c_out⁻¹ (S_0 - c_skip S_t) cancels as τ → 0; the form used does not: float32 agrees with float64."""
    sde, t = LinearSDE(GeometricTime(1e-7, 1.0)), torch.zeros(3, 1, dtype=torch.float64)
    denoiser, low, results = gaussian_denoiser(sde, SPECTRUM), operator.to(torch.float32), []
    for op, time in ((operator, t), (low, t.float())):
        s_0, eps = (op.to_work(x.to(op.dtype)) for x in signals(2))
        on_s_0, on_eps = network_target(denoiser.parts(time))
        results.append(op.combine((on_s_0, s_0), (on_eps, eps)).double())
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_network_reads_what_it_is_promised(operator, t):
    x_t = signals(1)[0]
    denoiser = gaussian_denoiser(SDE, SPECTRUM)
    linear = denoiser(operator, x_t, t)
    denoiser.net = net = Fixed(torch.zeros_like(x_t))
    denoiser(operator, x_t, t)
    torch.testing.assert_close(net.seen.signal, x_t)
    torch.testing.assert_close(net.seen.skip, linear)
    white = operator.apply(lambda lam: (SDE.mean(t)(lam) ** 2 * SPECTRUM(lam) + SDE.var(t)(lam)).rsqrt(), x_t)
    torch.testing.assert_close(net.seen.white, white)
    torch.testing.assert_close(net.seen.log_tau, SDE.schedule.tau(t).log())
    f = signals(2)[1]
    denoiser.net = Fixed(f)
    torch.testing.assert_close(denoiser(operator, x_t, t), linear + operator.apply(net.seen.c_out, f))


class Echo(NetworkBase):
    """A network that reads all views of the signal, translation included."""

    def forward(self, noisy, operator, context=None):
        return noisy.signal + noisy.skip.sin() + noisy.white


def test_centered_denoiser_knows_no_translation(operator, t):
    """Neither input nor network moves the centre, whatever the network reads; without centering it does."""
    x_t = signals(1)[0]
    for centered in (True, False):
        denoiser = Denoiser(Echo(), SDE, SPECTRUM, centered=centered)
        d, moved = denoiser(operator, x_t, t), denoiser(operator, x_t + 7, t)
        assert ((d - moved).abs().max() < 1e-12) == centered
        assert (operator.graph_sum(d).abs().max() < 1e-12) == centered


def test_autocast_touches_the_network_only(operator, t):
    x_t = signals(1)[0]
    exact, cast = gaussian_denoiser(SDE, SPECTRUM, True), gaussian_denoiser(SDE, SPECTRUM, True)
    cast.autocast = True
    assert torch.equal(cast(operator, x_t, t), exact(operator, x_t, t))


def test_conversions_round_trip(operator, t):
    x_0, eps = signals(2)
    x_t = operator.apply(SDE.mean(t), x_0) + operator.apply(SDE.std(t), eps)
    for (on_x, on_other), other, wanted in [(x0_from_eps(SDE, t), eps, x_0), (eps_from_x0(SDE, t), x_0, eps)]:
        torch.testing.assert_close(operator.apply(on_x, x_t) + operator.apply(on_other, other), wanted)
    from_eps, from_x0 = score_from_eps(operator, SDE, eps, t), score_from_x0(operator, SDE, x_t, x_0, t)
    torch.testing.assert_close(from_eps, from_x0)
    # ... and the score is the gradient of log N(x; φ x_0, Σ), by autograd
    x = x_t.clone().requires_grad_()
    residual = x - operator.apply(SDE.mean(t), x_0)
    (gradient,) = torch.autograd.grad(-0.5 * (residual * operator.solve(SDE.var(t), residual)).sum(), x)
    torch.testing.assert_close(from_x0, gradient)


def test_denoiser_score_of_gaussian_data_is_exact(operator, t):
    """With D = E[S_0 | S_t], s = -Σ⁻¹(S_t - φD) is the score of the marginal N(0, φ²p + σ²) (Tweedie)."""
    x_t = signals(1)[0]
    d = gaussian_denoiser(SDE, SPECTRUM)(operator, x_t, t)
    marginal = -operator.solve(lambda lam: SDE.mean(t)(lam) ** 2 * SPECTRUM(lam) + SDE.var(t)(lam), x_t)
    torch.testing.assert_close(score_from_x0(operator, SDE, x_t, d, t), marginal)


def expected_loss(denoiser, operator, t, power):
    """E of the loss over S_0 ~ N(0, power), ε ~ N(0, I): it is quadratic, so unit vectors of every mode add up to it."""
    total = torch.zeros(operator.num_graphs, dtype=torch.float64)
    for k in range(operator.eigenvalues.size(1)):
        unit = torch.zeros(operator.num_graphs, operator.eigenvalues.size(1), 1, dtype=torch.float64)
        unit[:, k] = 1
        zero, unit = operator.from_modes(0 * unit), operator.from_modes(unit)
        scaled = operator.apply(lambda lam: power(lam).sqrt(), unit)
        total += denoising_loss(denoiser, operator, scaled, zero, t) + denoising_loss(denoiser, operator, zero, unit, t)
    return total


@pytest.mark.parametrize("noise", ["white", "matched"])
def test_untrained_loss_is_one(operator, t, noise):
    sde = LinearSDE(LinearRate(0.1, 5.0), 0.8, 0.1, noise)
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(expected_loss(gaussian_denoiser(sde, SPECTRUM), operator, t, SPECTRUM), ones)
    # one mode fewer when centered; a single centered atom has none
    centered = expected_loss(gaussian_denoiser(sde, SPECTRUM, centered=True), operator, t, SPECTRUM)
    torch.testing.assert_close(centered, torch.tensor([1.0, 1.0, 0.0]).double())


def test_loss_shows_a_wrong_spectrum(operator, t):
    """Data four times as strong as p: mean over modes of (4σ² + φ²p)/(σ² + φ²p)."""
    denoiser = gaussian_denoiser(SDE, SPECTRUM)
    parts = denoiser.parts(t)
    per_mode = operator.response(
        lambda lam: (4 * parts.sigma(lam) ** 2 + parts.phi(lam) ** 2 * parts.power(lam)) / parts.total(lam)
    )
    wanted = (per_mode[..., 0] * operator.mode_mask).sum(1) / operator.mode_mask.sum(1)
    torch.testing.assert_close(expected_loss(denoiser, operator, t, lambda lam: 4 * SPECTRUM(lam)), wanted)


def test_loss_of_a_batch_is_the_loss_of_each_graph(operator, t):
    x_0, eps = signals(2)
    denoiser = gaussian_denoiser(SDE, SPECTRUM, centered=True)
    batch = denoising_loss(denoiser, operator, x_0, eps, t)
    path = DenseOperator.from_edges(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), 4)
    torch.testing.assert_close(batch[:1], denoising_loss(denoiser, path, x_0[:4], eps[:4], t[:1]))


def test_stages_are_weighted(operator, t):
    x_0, eps, a, b = signals(4)
    losses = {}
    for name, out in {"a": a, "b": b, "both": [a, b]}.items():
        losses[name] = denoising_loss(Denoiser(Fixed(out), SDE, SPECTRUM), operator, x_0, eps, t, stage_weight=0.3)
    torch.testing.assert_close(losses["both"], losses["b"] + 0.3 * losses["a"])


def test_nothing_is_made_of_a_mode_that_is_gone():
    """At the longest times of the conformer process φ underflows in float32; Ŝ_0 is then 0, the mean, and not NaN."""
    sde, t, lam = LinearSDE(GeometricTime(2e-4, 40.0), 1.33), torch.ones(1, 1), torch.tensor([[0.0, 1.0, 5.0, 8.0]])
    on_x, on_eps = (k(lam) for k in x0_from_eps(sde, t))
    assert sde.mean(t)(lam)[0, -1] == 0
    assert on_x.isfinite().all() and on_eps.isfinite().all()
    assert on_x[0, -1] == 0 and on_eps[0, -1] == 0 and on_x[0, 0] == 1


@pytest.mark.parametrize("predicts", ["eps", "score"])
@pytest.mark.parametrize("noise", ["white", "matched"])
def test_networks_are_interchangeable(operator, t, predicts, noise):
    """F, ε and score networks that say the same give the same D, the same F and the same losses."""
    sde = LinearSDE(LinearRate(0.1, 5.0), 0.8, 0.1, noise)
    x_0, eps, said = signals(3)
    x_t = operator.apply(sde.mean(t), x_0) + operator.apply(sde.std(t), eps)
    ours = Denoiser(Fixed(said), sde, SPECTRUM, centered=True)
    s_t = ours.project(operator, operator.to_work(x_t))
    d = ours.denoise(operator, s_t, t)
    on_s_t, on_d = eps_from_x0(sde, t)
    net = Fixed(operator.from_work(operator.combine((on_s_t, s_t), (on_d, d))))
    if predicts == "score":
        net.out = score_from_eps(operator, sde, net.out, t)
    net.predicts = predicts
    other = Denoiser(net, sde, SPECTRUM, centered=True)
    torch.testing.assert_close(other.denoise(operator, s_t, t), d)
    parts = ours.parts(t)
    torch.testing.assert_close(other.estimate(operator, s_t, t, parts), ours.estimate(operator, s_t, t, parts))
    for options in (
        {},
        {"objectives": {"eps": 1.0}},
        {"objectives": {"F": 1.0, "x0": 0.5, "score": 0.1}, "weight": "min_snr"},
    ):
        losses = [denoising_loss(n, operator, x_0, eps, t, **options) for n in (ours, other)]
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize("objective", ["x0", "F", "eps", "score"])
def test_objectives_are_the_errors_they_name(operator, t, objective):
    """Each against its definition: the mean square of S_0 - D, F - F*, ε - ε̂, s - ŝ, times w."""
    x_0, eps, said = signals(3)
    denoiser = Denoiser(Fixed(said), SDE, SPECTRUM)
    s_0, e = operator.to_work(x_0), operator.to_work(eps)
    s_t = operator.combine((SDE.mean(t), s_0), (SDE.std(t), e))
    d = operator.from_work(denoiser.denoise(operator, s_t, t))
    on_s_t, on_d = eps_from_x0(SDE, t)
    error = {
        "x0": d - x_0,
        "F": operator.apply(lambda lam: 1 / denoiser.parts(t).c_out(lam), d - x_0),
        "eps": operator.from_work(operator.combine((on_s_t, s_t), (on_d, operator.to_work(d)))) - eps,
        "score": score_from_x0(operator, SDE, operator.from_work(s_t), d, t) - score_from_eps(operator, SDE, eps, t),
    }[objective]
    wanted = operator.square_sum(operator.to_work(error)) / (3 * operator.sizes)
    torch.testing.assert_close(denoising_loss(denoiser, operator, x_0, eps, t, objectives={objective: 1.0}), wanted)
    weighted = denoising_loss(denoiser, operator, x_0, eps, t, objectives={objective: 2.0}, weight="likelihood")
    torch.testing.assert_close(weighted, 2 * SDE.schedule.rate(t)[:, 0] * wanted)  # white noise: g = 1


def test_edm_weights_the_x0_error_as_the_objective_f_does(operator, t):
    x_0, eps, said = signals(3)
    denoiser = Denoiser(Fixed(said), SDE, SPECTRUM)
    weighted = denoising_loss(denoiser, operator, x_0, eps, t, objectives={"x0": 1.0}, weight="edm")
    torch.testing.assert_close(weighted, denoising_loss(denoiser, operator, x_0, eps, t, objectives={"F": 1.0}))


def test_min_snr_is_that_of_hang_et_al(operator, t):
    """The error of ε times min(SNR, 5)/SNR; with an SNR that all modes share that is the error of x₀ times min(SNR, 5)."""
    x_0, eps, said = signals(3)
    sde = LinearSDE(GeometricTime(1e-3, 10.0), gamma=0.0, lambda0=1.0)
    denoiser = Denoiser(Fixed(said), sde, torch.ones_like)
    lam = torch.zeros(3, 1, dtype=torch.float64)
    snr = (sde.mean(t)(lam) / sde.std(t)(lam)).square()[:, 0]
    weighted = denoising_loss(denoiser, operator, x_0, eps, t, objectives={"eps": 1.0}, weight="min_snr")
    plain = denoising_loss(denoiser, operator, x_0, eps, t, objectives={"x0": 1.0})
    torch.testing.assert_close(weighted, snr.clamp_max(5) * plain)


def doubled(denoiser, t, parts):
    """w = 2."""
    return lambda lam: torch.full_like(lam, 2.0)


def negative(denoiser, t, parts):
    """No weight."""
    return lambda lam: -torch.ones_like(lam)


def test_a_time_weight_of_ones_own(operator, t):
    denoiser, (x_0, eps) = gaussian_denoiser(SDE, SPECTRUM), signals(2)
    plain = denoising_loss(denoiser, operator, x_0, eps, t)
    torch.testing.assert_close(denoising_loss(denoiser, operator, x_0, eps, t, weight=f"{__name__}:doubled"), 2 * plain)
    with pytest.raises(ValueError, match="negative: a time weight must be finite and >= 0, and this has -1"):
        denoising_loss(denoiser, operator, x_0, eps, t, weight=f"{__name__}:negative")


def test_terms_are_what_the_loss_is_the_sum_of(operator, t):
    x_0, eps, said = signals(3)
    denoiser = Denoiser(Fixed([2 * said, said]), SDE, SPECTRUM)
    penalties = {
        "size": lambda x: operator.graph_sum(x.square()).sum(1),
        "half": lambda x: 0.5 * operator.graph_sum(x).sum(1),
    }
    found = denoising_losses(
        denoiser, operator, x_0, eps, t, objectives={"F": 1.0, "x0": 0.5}, weight="min_snr", penalties=penalties
    )
    assert list(found.terms) == ["F", "x0", "stages", "size", "half"]
    torch.testing.assert_close(sum(found.terms.values()), found.exact)
    alone = denoising_losses(denoiser, operator, x_0, eps, t, None, 0.0, {"x0": 0.5}, "min_snr")
    torch.testing.assert_close(found.terms["x0"], alone.exact)
    torch.testing.assert_close(alone.terms["x0"], alone.exact)


def test_a_wrong_objective_is_named(operator, t):
    denoiser = gaussian_denoiser(SDE, SPECTRUM)
    for bad in ({"mse": 1.0}, {}, {"F": -1.0}):
        with pytest.raises(ValueError, match="F, eps, score, x0"):
            denoising_loss(denoiser, operator, *signals(2), t, objectives=bad)
    with pytest.raises(ValueError, match="min_snr"):
        denoising_loss(denoiser, operator, *signals(2), t, weight="snr")


def test_what_is_no_network_or_predicts_what_nobody_knows_is_refused():
    with pytest.raises(
        TypeError, match=r"Linear is no pyg_diffusion\.network\.Network; derive it from pyg_diffusion\.nn\.NetworkBase"
    ):
        Denoiser(torch.nn.Linear(3, 3), SDE, SPECTRUM)
    velocity = Fixed(None)
    velocity.predicts = "v"
    with pytest.raises(ValueError, match="a network predicts one of F, eps, score, not 'v'"):
        Denoiser(velocity, SDE, SPECTRUM)
