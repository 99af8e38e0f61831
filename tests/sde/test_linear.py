import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, sqrtm

from pyg_diffusion.denoise import x0_from_eps
from pyg_diffusion.sde import ConstantRate, LinearRate, LinearSDE
from pyg_diffusion.sde.linear import _one_minus_exp_over
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.testing import laplacian_matrix, random_graph

fast = settings(max_examples=50, deadline=None, derandomize=True)
RATES = [0.0, 1e-12, 1e-8, 1e-5, 1e-3, 9.9e-3, 1.01e-2, 0.1, 1.0, 30.0, 1e4]
TIMES = [1e-8, 1e-3, 1.0, 40.0, 1e4]


def f64(x) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def spread_in_60_digits(a: float, tau: float) -> tuple[float, float, float]:
    """(1 - e^{-aτ})/a with its derivatives in a and τ."""
    with localcontext() as context:
        context.prec = 60
        a, tau = Decimal(a), Decimal(tau)  # type: ignore[assignment]
        decay = (-a * tau).exp()  # type: ignore[attr-defined]
        if a == 0:
            return float(tau), float(-tau * tau / 2), 1.0
        return float((1 - decay) / a), float(tau * decay / a - (1 - decay) / a**2), float(decay)


@pytest.mark.parametrize(("dtype", "value_tol", "gradient_tol"), [(torch.double, 1e-15, 1e-13), (torch.float, 4e-7, 4e-5)])
@pytest.mark.parametrize("tau", TIMES)
@pytest.mark.parametrize("a", RATES)
def test_variance_and_its_gradients_keep_their_digits(a, tau, dtype, value_tol, gradient_tol):
    a_t, tau_t = (torch.tensor([x], dtype=dtype, requires_grad=True) for x in (a, tau))
    if (a_t * tau_t).isinf():
        pytest.skip("outside the dtype")
    value = _one_minus_exp_over(a_t, tau_t)
    in_a, in_tau = torch.autograd.grad(value.sum(), (a_t, tau_t))
    v, da, dtau = spread_in_60_digits(a_t.item(), tau_t.item())
    assert value.item() == pytest.approx(v, rel=value_tol)
    assert in_a.item() == pytest.approx(da, rel=gradient_tol)
    # autograd of expm1 gives e^{-x} to an absolute eps
    assert in_tau.item() == pytest.approx(dtau, rel=gradient_tol, abs=2 * torch.finfo(dtype).eps)


def test_limits_of_vanishing_drift():
    """a → 0: φ → 1 and σ² → g² τ, smoothly through the switch between series and closed form."""
    sde = LinearSDE(ConstantRate(), gamma=1.0)
    t = f64(2.0)
    lam = f64([[0.0, 1e-300, 1e-12]])
    torch.testing.assert_close(sde.mean(t)(lam), torch.ones_like(lam), rtol=0, atol=1e-11)
    torch.testing.assert_close(sde.var(t)(lam), 2 * torch.ones_like(lam), rtol=0, atol=1e-11)
    across = f64(0.5e-2) * (1 + f64([-1e-9, 1e-9]))  # aτ on both sides of the switch
    below, above = _one_minus_exp_over(across, t)
    assert abs(float((above - below) / (across[1] - across[0])) - (-2.0)) < 0.02  # slope -τ²/2, no jump


def processes():
    return st.builds(
        LinearSDE,
        st.one_of(st.builds(ConstantRate, st.floats(0.1, 20)), st.just(LinearRate())),
        st.floats(0, 5),
        st.floats(0.01, 3),
        st.sampled_from(["white", "matched"]),
    )


LAM = torch.tensor([[0.0, 1e-6, 0.3, 2.0, 11.0]], dtype=torch.float64)


@fast
@given(processes(), st.tuples(*[st.floats(0, 1)] * 3))
def test_chapman_kolmogorov(sde, times):
    r, s, t = (f64(x) for x in sorted(times))
    (f_rs, q_rs), (f_st, q_st), (f_rt, q_rt) = sde.transition(r, s), sde.transition(s, t), sde.transition(r, t)
    torch.testing.assert_close(f_st(LAM) * f_rs(LAM), f_rt(LAM), rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(f_st(LAM) ** 2 * q_rs(LAM) + q_st(LAM), q_rt(LAM), rtol=1e-12, atol=1e-15)
    # ... and from time 0 the transition is (φ, σ²) itself
    f_0t, q_0t = sde.transition(f64(0.0), t)
    torch.testing.assert_close(f_0t(LAM), sde.mean(t)(LAM))
    torch.testing.assert_close(q_0t(LAM), sde.var(t)(LAM))


@fast
@given(processes(), st.floats(0.01, 1))
def test_mean_and_variance_solve_their_odes(sde, time):
    """dφ/dt = -½βaφ and dσ²/dt = β(g² - aσ²), with β = dτ/dt by autograd."""
    t = f64(time).requires_grad_()
    (beta,) = torch.autograd.grad(sde.schedule.tau(t), t)
    a, g2 = sde.drift(LAM), sde.diffusion2(LAM)
    for kernel, slope in [
        (sde.mean(t), -0.5 * beta * a * sde.mean(t)(LAM)),
        (sde.var(t), beta * (g2 - a * sde.var(t)(LAM))),
    ]:
        derivative = torch.stack([torch.autograd.grad(v, t, retain_graph=True)[0] for v in kernel(LAM)[0]])
        # the right side is a difference of terms of size βg²
        torch.testing.assert_close(derivative[None], slope.detach(), rtol=1e-9, atol=1e-12 * float(beta * (1 + g2.max())))


def test_constant_rate_is_ddpm():
    """γ = 0, λ₀ = 1: φ = √ᾱ, σ² = 1 - ᾱ and DDPM's posterior (Ho et al. 2020, eq. 7), with ᾱ = e^{-τ}."""
    sde = LinearSDE(LinearRate(0.1, 20.0), gamma=0.0, lambda0=1.0)
    s, t = f64(0.3), f64(0.4)
    log_mean = -0.25 * t**2 * 19.9 - 0.5 * t * 0.1  # Song et al. 2021, eq. 33
    bar_t, bar_s = torch.exp(2 * log_mean), sde.mean(s)(LAM)[0, 0] ** 2
    alpha, beta = bar_t / bar_s, 1 - bar_t / bar_s
    ones = torch.ones_like(LAM)
    torch.testing.assert_close(sde.mean(t)(LAM), torch.exp(log_mean) * ones)
    torch.testing.assert_close(sde.var(t)(LAM), (1 - bar_t) * ones)
    on_t, on_0, variance = (k(LAM) for k in sde.posterior(s, t))
    torch.testing.assert_close(on_t, alpha.sqrt() * (1 - bar_s) / (1 - bar_t) * ones)
    torch.testing.assert_close(on_0, bar_s.sqrt() * beta / (1 - bar_t) * ones)
    torch.testing.assert_close(variance, (1 - bar_s) / (1 - bar_t) * beta * ones)
    matched = LinearSDE(LinearRate(0.1, 20.0), gamma=0.0, lambda0=1.0, noise="matched")
    torch.testing.assert_close(matched.var(t)(LAM), sde.var(t)(LAM))


def test_matched_noise_preserves_variance_and_white_noise_ends_harmonic():
    t = f64(0.7)
    matched = LinearSDE(ConstantRate(3.0), 1.5, 0.2, "matched")
    torch.testing.assert_close(matched.mean(t)(LAM) ** 2 + matched.var(t)(LAM), torch.ones_like(LAM))
    white = LinearSDE(ConstantRate(1e6), 1.5, 0.2, "white")
    torch.testing.assert_close(white.var(t)(LAM), 1 / white.drift(LAM))
    exploding = LinearSDE(ConstantRate(3.0), 0.0, 0.0)
    torch.testing.assert_close(exploding.mean(t)(LAM), torch.ones_like(LAM))
    torch.testing.assert_close(exploding.var(t)(LAM), 3 * t * torch.ones_like(LAM))


@pytest.fixture
def graph():
    edges, weight = random_graph(6, 0.6, weighted=True, seed=5)
    return DenseOperator.from_edges(edges, 6, weight), laplacian_matrix(edges, 6, weight)


@pytest.mark.parametrize("noise", ["white", "matched"])
def test_forward_process_is_the_matrix_exponential(graph, noise):
    """Φ = expm(-½aτ) and Σ = ∫ Φ g² Φᵀ (Van Loan 1978), with no eigenvector in sight; then S_t = ΦS_0 + √Σ ε."""
    operator, lap = graph
    sde, t = LinearSDE(ConstantRate(0.8), 1.3, 0.2, noise), f64([[0.9]])
    tau = 0.8 * 0.9
    drift = 1.3 * lap.numpy() + 0.2 * np.eye(6)
    block = torch.zeros(12, 12, dtype=torch.float64)
    block[:6, :6], block[6:, 6:] = f64(0.5 * drift), f64(-0.5 * drift)
    block[:6, 6:] = f64(drift) if noise == "matched" else torch.eye(6)
    exponential = expm(block.numpy() * tau)
    phi = exponential[6:, 6:].T
    sigma = phi @ exponential[:6, 6:]
    torch.testing.assert_close(operator.matrix(sde.mean(t))[0], f64(phi), rtol=0, atol=1e-13)
    torch.testing.assert_close(operator.matrix(sde.var(t))[0], f64(sigma), rtol=0, atol=1e-13)
    x, eps = torch.randn(2, 6, 3, dtype=torch.float64)
    noised = operator.apply(sde.mean(t), x) + operator.apply(sde.std(t), eps)
    torch.testing.assert_close(noised, f64(phi) @ x + f64(sqrtm(sigma).real) @ eps, rtol=0, atol=1e-12)


def test_every_graph_of_a_batch_has_its_own_time(graph):
    operator, lap = graph
    w = torch.diag(lap.diagonal()) - lap
    edges = torch.cat([w.nonzero().T, w.nonzero().T + 6], 1)
    both = DenseOperator.from_edges(edges, 12, w[w != 0].repeat(2), torch.arange(2).repeat_interleave(6))
    sde, x = LinearSDE(ConstantRate()), torch.randn(6, 2, dtype=torch.float64)
    got = both.apply(sde.mean(f64([[0.1], [0.9]])), torch.cat([x, x]))
    for half, t in zip(got.split(6), (0.1, 0.9), strict=True):
        torch.testing.assert_close(half, operator.apply(sde.mean(f64(t)), x))


@pytest.mark.parametrize("noise", ["white", "matched"])
def test_posterior_is_bayes(graph, noise):
    """q(S_s | S_t, S_0) by conditioning the joint Gaussian of (S_s, S_t) given S_0, in node space."""
    operator, _ = graph
    sde = LinearSDE(LinearRate(), 0.7, 0.1, noise)
    s, t = f64(0.2), f64(0.35)
    mat = lambda kernel: operator.matrix(kernel)[0]  # noqa: E731
    (f, q), phi_s, phi_t, var_s = sde.transition(s, t), mat(sde.mean(s)), mat(sde.mean(t)), mat(sde.var(s))
    cross = var_s @ mat(f).mT  # Cov(S_s, S_t)
    var_t = mat(f) @ var_s @ mat(f).mT + mat(q)
    gain = torch.linalg.solve(var_t, cross.mT).mT
    on_t, on_0, variance = (mat(k) for k in sde.posterior(s, t))
    torch.testing.assert_close(on_t, gain, rtol=0, atol=1e-12)
    torch.testing.assert_close(on_0, phi_s - gain @ phi_t, rtol=0, atol=1e-12)
    torch.testing.assert_close(variance, var_s - gain @ cross.mT, rtol=0, atol=1e-12)


@pytest.mark.parametrize("time", [1e-6, 0.01, 1.0])
def test_covariance_is_positive_definite_and_its_condition_is_known(graph, time):
    """cond Φ = e^{½γ(λ_max - λ_min)τ}, cond Σ = σ²(λ_min)/σ²(λ_max) <= a_max τ/(1 - e^{-a_max τ}) for white noise."""
    operator, _ = graph
    gamma, tau = 2.0, 3.0 * time
    sde, t = LinearSDE(ConstantRate(3.0), gamma), f64(time)
    phi, sigma = (operator.matrix(k)[0] for k in (sde.mean(t), sde.var(t)))
    assert torch.linalg.cholesky_ex(sigma).info == 0
    top = float(operator.eigenvalues.max())
    assert float(torch.linalg.cond(phi)) == pytest.approx(math.exp(0.5 * gamma * top * tau), rel=1e-6)
    x = gamma * top * tau
    assert float(torch.linalg.cond(sigma)) == pytest.approx(x / -math.expm1(-x), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", ["white", "matched"])
@pytest.mark.parametrize("lambda0", [1e-8, 1.0, 1e4])
@pytest.mark.parametrize("gamma", [0.0, 1e-6, 1.0, 1e4])
def test_extremes_are_finite(gamma, lambda0, noise, dtype):
    lam = torch.tensor([[0.0, 1e-12, 1e-3, 1.0, 50.0]], dtype=dtype)
    for beta in (1e-4, 1.0, 1e4):
        sde = LinearSDE(ConstantRate(beta), gamma, lambda0, noise)
        times = torch.tensor([1e-8, 1e-4, 1.0, 1e4], dtype=dtype)
        for t in times:
            phi, var, ell = sde.mean(t)(lam), sde.var(t)(lam), sde.half_log_snr(t)(lam)
            assert ((phi >= 0) & (phi <= 1)).all() and torch.isfinite(ell).all()
            assert ((var > 0) & torch.isfinite(var)).all()
            bound = torch.minimum(sde.diffusion2(lam) * beta * t, sde.diffusion2(lam) / sde.drift(lam))
            assert (var <= bound * (1 + 1e-5)).all()
        for s, t in pairwise(times):
            for kernel in (*sde.transition(s, t), *sde.posterior(s, t)):
                assert torch.isfinite(kernel(lam)).all() and (kernel(lam) >= 0).all()
            on_t, on_0, variance = (k(lam) for k in sde.posterior(s, t))
            # given exact data (S_t = φ_t S_0) the posterior mean is φ_s S_0, and the data only ever add information
            torch.testing.assert_close(on_t * sde.mean(t)(lam) + on_0, sde.mean(s)(lam), rtol=1e-4, atol=1e-6)
            assert (variance <= sde.var(s)(lam) * (1 + 1e-5)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_loses_one_over_phi(graph, dtype):
    """S_0 → S_t → Ŝ_0 with the true ε: the error is a rounding error of S_t divided by φ, no more and no less."""
    operator = graph[0].to(dtype)
    sde, eps = LinearSDE(ConstantRate(), 0.0, 1.0), torch.finfo(dtype).eps
    x, noise = torch.randn(2, 6, 50, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for tau in (0.01, 1.0, 10.0, 20.0):
        t = torch.tensor(tau, dtype=dtype)
        x_t = operator.apply(sde.mean(t), x) + operator.apply(sde.std(t), noise)
        on_x, on_eps = x0_from_eps(sde, t)
        error = (operator.apply(on_x, x_t) + operator.apply(on_eps, noise) - x).abs().max()
        assert 0.2 * eps < float(error) * math.exp(-0.5 * tau) < 60 * eps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": "matched", "lambda0": 0.0}, "never noises a null mode"),
        ({"gamma": -1.0}, "must be >= 0"),
        ({"lambda0": -1e-9}, "must be >= 0"),
        ({"noise": "pink"}, "'white' or 'matched'"),
    ],
)
def test_bad_processes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearSDE(ConstantRate(), **arguments)


@fast
@given(processes(), st.floats(0.05, 1))
def test_the_flow_has_the_variance_of_the_process(sde, time):
    """For Gaussian data D = (φ p/V) S: dV/dτ = 2 (A + B φ p/V) V with V = φ² p + σ² is g² - a V."""
    t, p = f64(time), 3.0
    phi, (a, b) = sde.mean(t)(LAM), sde.flow(t)
    total = phi**2 * p + sde.var(t)(LAM)
    moved = 2 * (a(LAM) * total + b(LAM) * phi * p)
    scale = float((sde.diffusion2(LAM) * total / sde.var(t)(LAM)).max())  # of the terms that cancel
    torch.testing.assert_close(moved, sde.diffusion2(LAM) - sde.drift(LAM) * total, rtol=1e-9, atol=1e-13 * scale)


def test_a_process_names_its_constants():
    assert repr(LinearSDE(ConstantRate(2.0), gamma=1.5, noise="matched", lambda0=0.5)).endswith(
        "gamma=1.5, lambda0=0.5, noise='matched')"
    )
