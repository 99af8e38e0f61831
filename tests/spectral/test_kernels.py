import pytest
import torch

from pyg_diffusion.spectral import PowerSpectrum, heat


def test_heat():
    torch.testing.assert_close(heat(2.0)(torch.tensor([[0.0, 0.5]])), torch.tensor([[1.0, 1 / torch.e]]))


def test_knots_are_reproduced_and_joined_in_log_log():
    knots, values = torch.tensor([0.1, 1.0, 4.0]).log(), torch.tensor([5.0, 2.0, 0.1]).log()
    p = PowerSpectrum(knots, values)
    torch.testing.assert_close(p(knots.exp()), values.exp())
    between = 0.3 * knots[0] + 0.7 * knots[1]
    torch.testing.assert_close(p(between.exp()[None])[0], (0.3 * values[0] + 0.7 * values[1]).exp())


def test_outside_the_knots():
    """1/λ below the lowest knot, then finite at 0; constant above the highest."""
    p = PowerSpectrum.harmonic(gamma=3.0, low=1e-2, high=4.0)
    lam = torch.tensor([1e-3, 1e-2, 0.3, 4.0])
    torch.testing.assert_close(p(lam), 1 / (3 * lam))
    at_zero = p(torch.zeros(1, requires_grad=True))
    torch.testing.assert_close(at_zero, torch.tensor([1 / (3 * 1e-2 * PowerSpectrum.FLOOR)]))
    torch.testing.assert_close(p(torch.tensor([1e3])), p(torch.tensor([4.0])))
    lam = torch.tensor([0.0, 1e-30, 0.3, 1e6], requires_grad=True)
    p(lam).sum().backward()
    assert torch.isfinite(lam.grad).all() and torch.isfinite(p(lam)).all()


def test_dtype_and_shape_follow_lambda():
    p = PowerSpectrum.harmonic()
    assert p(torch.ones(2, 5, dtype=torch.float64)).dtype == torch.float64
    assert p(torch.ones(2, 5)).shape == (2, 5)


def test_fit_finds_a_power_law():
    """Bins average p, whose arithmetic mean over a bin of width w in log λ exceeds the middle by about w²/6 at most."""
    lam = torch.logspace(-3, 1, 4000, dtype=torch.float64)
    p = PowerSpectrum.fit(lam, 0.7 / lam, knots=40)
    inner = torch.logspace(-2.8, 0.8, 50, dtype=torch.float64)
    torch.testing.assert_close(p(inner), 0.7 / inner, rtol=0.02, atol=0)


def test_fit_of_a_flat_spectrum_is_exact_and_order_free():
    lam = torch.rand(500, dtype=torch.float64) + 0.1
    p = PowerSpectrum.fit(lam, torch.full_like(lam, 2.5))
    torch.testing.assert_close(p(torch.linspace(0.2, 1.1, 20)), torch.full((20,), 2.5))
    power = torch.rand(500, dtype=torch.float64)
    order = torch.randperm(500)
    torch.testing.assert_close(PowerSpectrum.fit(lam[order], power[order])(lam), PowerSpectrum.fit(lam, power)(lam))


def test_a_degenerate_eigenvalue_averages_all_its_modes():
    """All of one eigenvalue's modes count, however many bins they fill and in whatever order they come."""
    power = torch.arange(100.0)
    assert float(PowerSpectrum.fit(torch.ones(100), power)(torch.ones(1))) == pytest.approx(49.5, rel=1e-5)
    lam = torch.cat([torch.ones(60), torch.full((60,), 2.0)])
    p = PowerSpectrum.fit(lam, torch.cat([torch.arange(60.0), torch.full((60,), 7.0)]), knots=12)
    torch.testing.assert_close(p(torch.tensor([1.0, 2.0])), torch.tensor([29.5, 7.0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PowerSpectrum(torch.tensor([1.0, 0.0]), torch.zeros(2)), "strictly increasing"),
        (lambda: PowerSpectrum(torch.tensor([1.0]), torch.zeros(1)), "K >= 2"),
        (lambda: PowerSpectrum.fit(torch.tensor([0.0, 1.0]), torch.ones(2)), "λ > 0"),
        (lambda: PowerSpectrum.fit(torch.ones(1), torch.ones(1)), "at least 2 modes"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_spectrum_per_channel_is_one_spectrum_per_channel():
    lam, power = torch.linspace(0.1, 5, 200), torch.rand(200, 2) + 0.1
    both = PowerSpectrum.fit(lam, power)(lam.view(4, 50))
    for c in range(2):
        torch.testing.assert_close(both[..., c], PowerSpectrum.fit(lam, power[:, c])(lam.view(4, 50)))


def test_spectrum_of_one_graph_with_its_null_mode():
    """A known p at the modes of a path: the fit is near it at all modes, the null mode included, in every channel."""
    lam = 4 * torch.sin(torch.pi * torch.arange(200) / 400).double() ** 2
    p = torch.stack([1 / (0.05 + lam) ** 2, 3 * torch.exp(-lam)], 1)
    p[0] = torch.tensor([7.0, 0.0])
    fitted = PowerSpectrum.fit_modes(lam, p)
    ratio = fitted(lam[None])[0].double() / p
    assert abs(float(ratio[0, 0]) - 1) < 1e-4 and float(fitted(lam[None])[0, 0, 1]) < 1e-6
    assert float((ratio[1:].log().abs()).max()) < 0.35
    assert bool(torch.isfinite(PowerSpectrum.fit_modes(torch.zeros(3), torch.ones(3, 2))(torch.zeros(1, 3))).all())


def test_modes_in_one_bin_have_one_power_and_a_null_mode_that_was_seen_its_own():
    flat = PowerSpectrum.fit_modes(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[1.0], [2.0], [6.0]]), knots=1)
    torch.testing.assert_close(flat(torch.tensor([[0.0, 2.0, 9.0]]))[0, :, 0], torch.full((3,), 3.0))
    lam = torch.linspace(0.5, 4, 400)
    p = PowerSpectrum.fit(lam, 2 / lam, null=torch.tensor(70.0))(torch.tensor([[0.0, 1.0, 2.0]]))[0]
    torch.testing.assert_close(p, torch.tensor([70.0, 2.0, 1.0]), rtol=2e-2, atol=0)
