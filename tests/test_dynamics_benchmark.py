"""What `benchmarks/dynamics.py` measures, in closed form."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def dynamics(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import dynamics

    yield dynamics
    for name in ("dynamics", "dynamics_simulation", "trained", "machine"):
        sys.modules.pop(name, None)


def test_torsions_basins_and_divergences(dynamics):
    turned = np.array([[[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0], [np.cos(a), np.sin(a), 1.0]] for a in (0.5, -2.0)])
    np.testing.assert_allclose(dynamics.dihedral(turned, [0, 1, 2, 3]), np.degrees([0.5, -2.0]))
    angles = np.array([[-70.0, 150.0]] * 60 + [[-70.0, -40.0]] * 30 + [[60.0, 40.0]] * 10)
    np.testing.assert_allclose(dynamics.shares(angles), [0.6, 0.3, 0.1])
    np.testing.assert_allclose(dynamics.free_energies(angles), -dynamics.KT * np.log([0.5, 1 / 6]))
    own, other = dynamics.histogram(angles), dynamics.histogram(np.array([[0.0, 100.0]]))
    assert dynamics.divergence(angles, own) == 0 and dynamics.divergence(angles, other) == pytest.approx(1)
    half = dynamics.divergence(angles[:60], dynamics.histogram(angles[[0, 60]]))  # p = 1, q = 1/2, 1/2
    assert half == pytest.approx(1.5 - 0.75 * np.log2(3))


def test_errors_by_blocks_are_those_of_a_mean(dynamics):
    rng = np.random.default_rng(0)
    angles = np.where(rng.random(4000) < 0.3, -40.0, 150.0)[:, None] * [0, 1] + [-70.0, 0.0]
    ((value, error),) = dynamics.with_error(angles, lambda a: np.array([(a[:, 1] < 0).mean()]))
    assert value == pytest.approx(0.3, abs=0.03) and error == pytest.approx((0.21 / 4000) ** 0.5, rel=0.6)
    never = dynamics.with_error(angles, dynamics.free_energies)[1]
    assert never == [None, None]
