"""Metrics of fields in closed form, on samples of which the distance is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

import pyg_diffusion.metrics.fields
from pyg_diffusion.metrics import MEASURES, measure
from pyg_diffusion.metrics.field_measures import compare_fields, sampling_floor
from pyg_diffusion.metrics.fields import (
    BASELINES,
    covariance_error,
    gaussian_cov,
    interpolation,
    marginal_wasserstein,
    mmd,
    nearest_mse,
    power_spectrum,
    sliced_wasserstein,
    smoothness,
    spectrum_error,
    uniform,
    wasserstein,
)
from pyg_diffusion.spectral import GridOperator
from pyg_diffusion.tasks.scores import FLOOR, table

GRID = GridOperator((4, 3), "path", dtype=torch.float64)
LAPLACIAN = GRID.apply(lambda lam: lam, torch.eye(12, dtype=torch.float64))


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 40, 12, 2, generator=generator, dtype=torch.float64)


def test_identical_sets_are_at_zero_and_order_is_no_matter(sets):
    x = sets[0]
    row = compare_fields(x, x.flip(0), GRID)
    assert all(abs(row[name]) < 1e-6 for name in row if name not in ("smoothness", "mean_mse")), row
    assert row["mean_mse"] == pytest.approx(float(x.var(0, correction=0).mean()))


def test_spectrum_of_scaled_modes(sets):
    x = sets[0]
    torch.testing.assert_close(
        power_spectrum(x, GRID), GRID.to_modes(x.transpose(0, 1).reshape(12, -1))[0].view(12, 40, 2).square().mean(1)
    )
    torch.testing.assert_close(power_spectrum(x, GRID).sum(0), x.square().sum(1).mean(0))  # Parseval
    assert spectrum_error(1.5 * x, x, GRID) == pytest.approx(1.25)
    # One mode of twelve that the reference lacks counts relative to a thousandth of the mean power.
    bare = x - x.mean(1, keepdim=True)
    power = power_spectrum(bare, GRID)
    leak = 0.01 * float(power.mean().sqrt())
    modes = torch.zeros(1, 12, 2, dtype=torch.float64)
    modes[0, 0] = leak
    assert spectrum_error(bare + GRID.from_modes(modes), bare, GRID) == pytest.approx(
        leak**2 / (1e-3 * float(power.mean())) / 12, rel=1e-6
    )


def test_covariance_error_is_that_of_the_matrices(sets):
    x, y = sets[0, :25], 0.5 * sets[1] + 3
    a, b = (torch.cov(z.flatten(1).T) for z in (x, y))
    assert covariance_error(x, y) == pytest.approx(float((a - b).norm() / b.norm()))


@pytest.mark.parametrize(("s", "r"), [(30, 30), (30, 7), (6, 9), (1, 5)])
def test_wasserstein_of_unequal_sets(s, r):
    rng = np.random.default_rng(s)
    a, b = rng.standard_normal((s, 3)), rng.standard_normal((r, 3)) + 1
    copies = [np.sort(np.repeat(x, n, 0), 0) for x, n in ((a, r), (b, s))]
    actual = wasserstein(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(actual, ((copies[0] - copies[1]) ** 2).mean(0))
    np.testing.assert_array_less([wasserstein_distance(x, y) ** 2 for x, y in zip(a.T, b.T, strict=True)], actual + 1e-12)


def test_distances_of_a_shift(sets):
    """W₂ of a shift by v is |⟨v, θ⟩|, so the sliced distance is |v|/√D on average over θ, exactly so over the axes."""
    x, shift = sets[0], torch.randn(12, 2, dtype=torch.float64)
    expected = float(shift.square().mean().sqrt())
    assert marginal_wasserstein(x + shift, x) == pytest.approx(expected)
    assert sliced_wasserstein(x + shift, x, projections=20_000) == pytest.approx(expected, rel=0.02)
    assert nearest_mse(x + 1e-3 * shift, x) == pytest.approx(1e-6 * float(shift.square().mean()))


def test_mmd_of_points_is_the_kernel():
    """Of one point against another at the distance h (the reference's median): √(2 - 2k) and the like."""
    y = torch.tensor([0.0, 2.0], dtype=torch.float64).view(2, 1, 1)  # h = 2
    k = [np.mean([math.exp(-(d**2) / (2 * (2 * c) ** 2)) for c in (0.5, 1, 2)]) for d in (1.0, 2.0, 5.0, 3.0)]
    assert mmd(torch.ones(1, 1, 1), y) == pytest.approx(math.sqrt(1 - 2 * k[0] + (1 + k[1]) / 2))
    assert mmd(torch.full((3, 1, 1), 5.0), y) == pytest.approx(math.sqrt(1 - (k[2] + k[3]) + (1 + k[1]) / 2))


def test_smoothness_is_that_of_the_matrix(sets):
    x = sets[0]
    torch.testing.assert_close(smoothness(x, GRID), torch.stack([(LAPLACIAN @ s).square().sum() for s in x]))
    row = compare_fields(2 * x, x, GRID)
    rough = smoothness(x, GRID)
    assert row["smoothness"] == pytest.approx(4 * float(rough.mean()))
    assert row["smoothness_wasserstein"] == pytest.approx(3 * float(rough.square().mean().sqrt() / rough.mean()))


def test_baselines_have_the_moments_they_promise():
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    train = (torch.randn(500, 24, generator=generator, dtype=torch.float64) @ mix + 2).view(500, 12, 2)
    made = {name: f(train, 20_000, seed=3) for name, f in BASELINES.items()}
    mean, std, cov = train.mean(0), train.std(0), torch.cov(train.flatten(1).T)
    for name in ("interpolation", "gaussian_iid", "gaussian_cov"):
        assert float(((made[name].mean(0) - mean) / std).abs().max()) < 5 / math.sqrt(20_000), name
    relative = {name: float((torch.cov(x.flatten(1).T) - cov).norm() / cov.norm()) for name, x in made.items()}
    assert relative["gaussian_cov"] < 0.05 and relative["gaussian_iid"] > 0.5
    assert float((made["gaussian_iid"].std(0) / std - 1).abs().max()) < 0.03
    # E[(1-u)² + u²] = 2/3: interpolation has two thirds of the variance.
    torch.testing.assert_close(made["interpolation"].var(0) / std**2, torch.full_like(std, 2 / 3), rtol=0.05, atol=0)
    low, high = train.amin((0, 1)), train.amax((0, 1))
    assert bool(((made["uniform"] >= low) & (made["uniform"] <= high)).all())
    torch.testing.assert_close(made["uniform"].var((0, 1)), (high - low) ** 2 / 12, rtol=0.02, atol=0)
    assert torch.equal(uniform(train, 5, seed=1), uniform(train, 5, seed=1))
    assert not torch.equal(gaussian_cov(train, 5, seed=1), gaussian_cov(train, 5, seed=2))
    two = torch.stack([torch.zeros(12, 2), torch.ones(12, 2)])
    assert float(interpolation(two, 50).std(0).min()) > 0.1, "two different samples, never one with itself"


def test_the_floor_is_reached_by_the_law_and_not_by_others():
    draws = torch.randn(1700, 12, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    reference, fresh, held_out = draws[:100], draws[100:900], draws[900:]
    floor = sampling_floor(held_out, reference, GRID)
    blocks = [compare_fields(block, reference, GRID) for block in held_out.split(100)]
    assert floor == pytest.approx({name: np.mean([row[name] for row in blocks]) for name in floor})
    same, wrong = (sampling_floor(x, reference, GRID) for x in (fresh, 1.3 * fresh))
    for name in ("spectrum", "covariance", "sliced_wasserstein", "marginal_wasserstein", "mmd", "smoothness_wasserstein"):
        assert same[name] == pytest.approx(floor[name], rel=0.2) and wrong[name] > 1.3 * floor[name], name


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 12, 2), (5, 12, 1)), "same N and C"),
        (((0, 12, 1), (5, 12, 1)), "S >= 1"),
        (((5, 11, 1), (5, 11, 1)), "one graph with 11 nodes"),
        (((1, 12, 1), (5, 12, 1)), "at least 2 samples"),
    ],
)
def test_errors_of_shape(shapes, message):
    with pytest.raises(ValueError, match=message):
        compare_fields(*(torch.ones(s) for s in shapes), GRID)


def test_failures_do_not_go_uncounted():
    x = torch.zeros(4, 12, 1)
    x[2, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 4 fields are not finite"):
        compare_fields(x, torch.zeros(4, 12, 1), GRID)
    with pytest.raises(ValueError, match="as many held-out samples as there are references, 4; got 3"):
        sampling_floor(torch.zeros(3, 12, 1), torch.zeros(4, 12, 1), GRID)


def test_what_is_not_known_counts_in_no_measure(sets):
    """Whole fields: as without gaps. Gaps: closed values of each measure that takes them, all others of whole fields."""
    x, y = sets
    bare, found = compare_fields(x, y, GRID), compare_fields(x, y, GRID, gaps=True)
    assert found == pytest.approx(bare, rel=1e-9) and bare.keys() == found.keys()
    holes = y.clone()
    holes[5:, 3, 1] = holes[2, 7, 0] = math.nan  # an entry that five know, one that all but one know; 4 are whole
    found = compare_fields(x, holes, GRID, gaps=True)
    whole = compare_fields(x, holes[[0, 1, 3, 4]], GRID)
    for name in whole.keys() - {"covariance", "marginal_wasserstein", "mean_mse"}:
        assert found[name] == whole[name]
    columns = [(x[:, n, c], holes[:, n, c][~holes[:, n, c].isnan()]) for n in range(12) for c in range(2)]
    squares = [wasserstein(a[:, None], b[:, None]) for a, b in columns]
    assert found["marginal_wasserstein"] == pytest.approx(float(torch.cat(squares).mean().sqrt()))
    errors = [(a - b.mean()).square().mean() for a, b in columns]
    assert found["mean_mse"] == pytest.approx(float(torch.stack(errors).mean()))
    flat, seen = holes.flatten(1), ~holes.flatten(1).isnan()
    cov = torch.empty(24, 24, dtype=torch.float64)
    for i in range(24):
        for j in range(24):
            cov[i, j] = flat[seen[:, i] & seen[:, j]][:, [i, j]].mT.cov()[0, 1]
    wanted = (x.flatten(1).mT.cov() - cov).norm() / cov.norm()
    assert found["covariance"] == pytest.approx(float(wanted))
    holes[:, 0, 0] = math.nan  # of which nothing is known
    none = compare_fields(x, holes, GRID, gaps=True)
    assert set(none) == {"covariance", "marginal_wasserstein", "mean_mse"} and all(map(math.isfinite, none.values()))
    floor = sampling_floor(x, holes[:20], GRID, gaps=True)
    blocks = [compare_fields(block, holes[:20], GRID, gaps=True) for block in x.split(20)]
    assert floor == pytest.approx({name: (blocks[0][name] + blocks[1][name]) / 2 for name in floor})


def test_a_measure_from_outside_is_a_row(sets):
    @measure("fields", error=True)
    def largest(given):
        return abs(float(given.generated.max() - given.reference.max()))

    MEASURES.add("largest", largest)
    try:
        found = compare_fields(sets[0], sets[1], GRID)
        assert found["largest"] == abs(float(sets[0].max() - sets[1].max()))
        shown = table({"methods": {"a": found, FLOOR: {**found, "largest": found["largest"] / 2}}})
        assert next(line for line in shown.splitlines() if line.startswith("largest")).split()[2] == "(2.00x)"
    finally:
        MEASURES.remove("largest")
    assert "largest" not in compare_fields(sets[0], sets[1], GRID)


def test_old_addresses_work_for_one_release():
    from pyg_diffusion.metrics import UnusedRecord, conformers, rmsd

    with pytest.warns(DeprecationWarning, match=r"is now pyg_diffusion\.metrics\.rmsd\.rmsd_matrix"):
        assert conformers.rmsd_matrix is rmsd.rmsd_matrix
    with pytest.warns(DeprecationWarning, match="UnusedRecord"):
        assert pyg_diffusion.metrics.Skipped is UnusedRecord
    with pytest.warns(DeprecationWarning, match="field_measures"):
        assert pyg_diffusion.metrics.fields.compare_fields is compare_fields
