import math

import pytest
import torch

from pyg_diffusion.sde import SCHEDULES as NAMES
from pyg_diffusion.sde import ConstantRate, GeometricTime, LinearRate, LinearSDE, TabulatedTime, make_schedule

SCHEDULES = [
    *(ConstantRate(3.0), LinearRate(), LinearRate(20.0, 0.1), LinearRate(2.0, 2.0), GeometricTime()),
    *(make_schedule(name, 1e-3, 10.0) for name in NAMES),
    TabulatedTime((1e-3, 2e-3, 1.0, 1.5)),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_t_inverts_an_increasing_tau(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    tau = schedule.tau(t)
    assert (tau.diff() > 0).all()
    torch.testing.assert_close(schedule.t(tau), t, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_rate_is_the_slope_of_tau(schedule):
    t = torch.linspace(0.005, 0.995, 67, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.tau(t).sum(), t)
    torch.testing.assert_close(schedule.rate(t).expand_as(slope), slope, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_spans_the_same_times(name):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        ends = make_schedule(name, 2e-4, 40.0).tau(torch.tensor([0.0, 1.0], dtype=dtype))
        torch.testing.assert_close(ends, torch.tensor([2e-4, 40.0], dtype=dtype), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", [*NAMES, "a:function"])
def test_the_process_is_the_same_whatever_the_schedule(name):
    """Noise, mean and posterior at equal τ are equal: a schedule only decides when τ is reached."""
    tau = torch.tensor([[5e-3], [0.3], [4.0]], dtype=torch.float64)
    schedule = TabulatedTime((1e-3, 0.5, 0.7, 10.0)) if ":" in name else make_schedule(name, 1e-3, 10.0)
    plain = GeometricTime(1e-3, 10.0)
    one, other = (LinearSDE(s, gamma=1.3, lambda0=0.2) for s in (schedule, plain))
    t, lam = schedule.t(tau), torch.linspace(0, 8, 9, dtype=torch.float64).expand(3, 9)
    for f in ("mean", "std", "half_log_snr"):
        torch.testing.assert_close(getattr(one, f)(t)(lam), getattr(other, f)(plain.t(tau))(lam), rtol=1e-9, atol=0)
    for a, b in zip(one.posterior(t[:1], t[1:]), other.posterior(plain.t(tau)[:1], plain.t(tau)[1:]), strict=True):
        torch.testing.assert_close(a(lam[1:]), b(lam[1:]), rtol=1e-9, atol=0)


def test_linear_is_ddpm():
    """β from 1e-4 to .02: over Σβ = 10.05 it is β(t) = .1 to 20 of Song et al. 2021, and ᾱ is that of DDPM's 1000 steps."""
    schedule = make_schedule("linear", 1e-12, 10.05)
    assert schedule.beta_min == pytest.approx(0.1) and schedule.beta_max == pytest.approx(20.0)
    log_alpha = torch.log1p(-torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumsum(0)
    tau = schedule.tau(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    torch.testing.assert_close(-tau[99::100], log_alpha[99::100], rtol=0.012, atol=0)


def test_cosine_is_that_of_nichol_and_dhariwal():
    """ᾱ = cos²(π/2 (t + s)/(1 + s)) over its value at 0, here with the offset in τ(0): cos² of an angle even in t."""
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    angle = torch.arccos(torch.exp(-0.5 * make_schedule("cosine", 1e-3, 20.0).tau(t)))
    torch.testing.assert_close(angle.diff(), angle.diff()[:1].expand(8), rtol=1e-6, atol=0)
    assert float(angle[-1]) == pytest.approx(math.pi / 2, abs=1e-4)


def squares(t, tau_min, tau_max):
    """Increasing."""
    return tau_min + (tau_max - tau_min) * t**2


def waves(t, tau_min, tau_max):
    """Not increasing."""
    return tau_min + (tau_max - tau_min) * (t + 0.3 * torch.sin(2 * math.pi * t))


def one_number(t, tau_min, tau_max):
    """Of another shape."""
    return tau_max


def elsewhere(t, tau_min, tau_max):
    """Between other ends."""
    return 2 * squares(t, tau_min, tau_max)


def test_a_function_of_ones_own():
    schedule = make_schedule(f"{__name__}:squares", 0.1, 10.0)
    t = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.tau(t), squares(t, 0.1, 10.0), rtol=1e-3, atol=0)
    assert TabulatedTime(list(schedule.knots)).tau(t).tolist() == schedule.tau(t).tolist()  # as weights keep it


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("linaer", "must be one of geometric, linear, constant, cosine, or module:function, got 'linaer'"),
        ("math:", "must be one of geometric"),
        ("nowhere:f", "nowhere:f: ModuleNotFoundError: No module named 'nowhere'"),
        ("math:f", "math:f: AttributeError: module 'math' has no attribute 'f'"),
        ("math:pi", "math:pi: no function, but 3.14"),
        ("math:sqrt", r"math:sqrt\(t, tau_min, tau_max\) fails: TypeError"),
        (
            f"{__name__}:waves",
            r"waves: a schedule must increase, and this has τ = [\d.]+ at t = 0\.\d+ and [\d.]+ at 0\.\d+",
        ),
        (f"{__name__}:one_number", r"one_number must give τ at every t, \[257\], and gives \[\]"),
        (f"{__name__}:elsewhere", "elsewhere must go from τ = 0.1 to 10, and has 0.2 in the place of 0.1"),
    ],
)
def test_what_is_no_schedule_is_said_in_one_sentence(name, message):
    with pytest.raises(ValueError, match=message) as error:
        make_schedule(name, 0.1, 10.0)
    assert "\n" not in str(error.value)


def test_knots_must_increase_and_be_positive():
    for knots in ((1.0,), (0.0, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="at least 2 values of τ, finite and > 0"):
            TabulatedTime(knots)
    with pytest.raises(ValueError, match="0 < tau_min < tau_max"):
        make_schedule("linear", 2.0, 1.0)


def test_values():
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(ConstantRate(4.0).tau(t), 4 * t)
    torch.testing.assert_close(LinearRate(0.1, 20.0).tau(t), torch.tensor([0.0, 2.5375, 10.05], dtype=torch.float64))
    torch.testing.assert_close(GeometricTime(1e-2, 1e2).tau(t), torch.tensor([1e-2, 1.0, 1e2], dtype=torch.float64))


def test_linear_rate_has_the_rates_of_its_name():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    (beta,) = torch.autograd.grad(LinearRate(0.1, 20.0).tau(t).sum(), t)
    torch.testing.assert_close(beta, torch.tensor([0.1, 20.0], dtype=torch.float64))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)])
def test_geometric_time_needs_ordered_positive_bounds(bounds):
    with pytest.raises(ValueError, match="0 < tau_min < tau_max"):
        GeometricTime(*bounds)
