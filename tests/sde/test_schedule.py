import pytest
import torch

from pyg_diffusion.sde import ConstantRate, GeometricTime, LinearRate

SCHEDULES = [ConstantRate(3.0), LinearRate(), LinearRate(20.0, 0.1), LinearRate(2.0, 2.0), GeometricTime()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_t_inverts_an_increasing_tau(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    tau = schedule.tau(t)
    assert (tau.diff() > 0).all()
    torch.testing.assert_close(schedule.t(tau), t, rtol=0, atol=1e-12)


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
