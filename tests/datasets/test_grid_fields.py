"""The laws' closed forms, and a dataset that keeps PyG's promises."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.datasets import GridFields
from pyg_diffusion.datasets.field_laws import (
    LAWS,
    advection,
    difference,
    direction,
    divergence,
    flow,
    matern_spectrum,
    vortices,
)
from pyg_diffusion.metrics.fields import power_spectrum
from pyg_diffusion.spectral import GridOperator, heat
from pyg_diffusion.transforms import AddLaplacianSpectrum


def grid(*shape, kinds="cycle", spacing=1.0):
    return GridOperator(shape, kinds, spacing, dtype=torch.float64)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kinds", ["cycle", "path", "complete"])
def test_matern_has_its_spectrum_and_its_variance(tmp_path, kinds):
    data = GridFields(tmp_path, "matern", (6, 5), 4000, kinds=kinds, spacing=0.5, amplitude=2.0, length=1.5, nu=0.5)
    operator = laplacian_operator(data[0], dtype=torch.float64)
    p = matern_spectrum(operator, amplitude=2.0, length=1.5, nu=0.5)(operator.eigenvalues[0])
    kappa2 = 2 * 0.5 / 1.5**2
    shape = (kappa2 + operator.eigenvalues[0]) ** -1.5
    torch.testing.assert_close(p, 4 * shape / shape.mean())
    ratio = power_spectrum(data.fields, operator)[:, 0] / p  # χ² with 4000 degrees of freedom over 4000
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / 4000)


@pytest.mark.parametrize(
    ("shape", "kinds", "channels"),
    [((6, 7), "cycle", 2), ((6, 7), ["path", "cycle"], 2), ((4, 5, 3), "path", 3), ((6, 7), "cycle", 3), ((9,), "path", 3)],
)
def test_flow_has_no_divergence(shape, kinds, channels):
    operator = grid(*shape, kinds=kinds, spacing=0.7)
    x = flow(operator, channels, rng())
    assert x.shape == (math.prod(shape), channels) and float(x.norm()) > 0.1
    assert float(divergence(operator, x).abs().max()) < 1e-14
    assert float(divergence(operator, x.roll(1, 0) * x).abs().max()) > 1e-3 or len(shape) == 1  # the operator does see it


def test_differences_commute_and_know_a_linear_field():
    operator = grid(5, 4, kinds="path", spacing=[0.5, 2.0])
    y, x = np.meshgrid(np.arange(5) * 0.5, np.arange(4) * 2.0, indexing="ij")
    linear = torch.from_numpy(3 * y - 2 * x).reshape(-1, 1)
    torch.testing.assert_close(difference(operator, linear, 0), torch.full_like(linear, 3))
    torch.testing.assert_close(difference(operator, linear, 1), torch.full_like(linear, -2))
    wave = torch.randn(20, 2, dtype=torch.float64)
    for kinds in ("path", "cycle"):
        mixed = grid(5, 4, kinds=kinds)
        there = difference(mixed, difference(mixed, wave, 0), 1)
        torch.testing.assert_close(there, difference(mixed, difference(mixed, wave, 1), 0))


@pytest.mark.parametrize("law", [flow, vortices])
def test_vortices_reach_the_speed_asked_for(law):
    x = law(grid(64, 64, kinds="path"), None, rng(1), **{"vortices" if law is flow else "count": 1}, strength=1.7, core=6.0)
    assert float(x[:, :2].norm(dim=1).max()) == pytest.approx(1.7, rel=0.02)


def test_vortices_are_periodic():
    """Across the seam neighbours differ no more than elsewhere."""
    x = torch.cat([vortices(grid(24, 24), None, rng(seed), core=4.0).view(24, 24, 3) for seed in range(8)], 1)
    steps = (x - x.roll(1, 0)).norm(dim=2).amax(1)
    assert float(steps[0]) <= float(steps[1:].max())


def test_advection_is_the_solution():
    operator = grid(9, 7)
    start = advection(operator, 1, rng(), time=0.0)
    still = advection(operator, 1, rng(), speed=0.0, diffusivity=0.3, time=2.0)
    torch.testing.assert_close(still, operator.apply(heat(0.6), start))
    three = advection(operator, 3, rng(), time=3.0)
    torch.testing.assert_close(three[:, 1:2], advection(operator, 1, rng(), time=2.0))
    torch.testing.assert_close(three.mean(0), start.mean(0).expand(3))  # nothing is lost
    # ∂S/∂t = -v·∇S - D L S: one derivative in time against those in space, v found from the field's own spectrum.
    line, dt = grid(15, spacing=0.8), 1e-4
    before, after = (advection(line, 1, rng(2), time=1 + s * dt)[:, 0] for s in (-1, 1))
    now = advection(line, 1, rng(2), time=1.0)
    gradient = torch.fft.ifft(2j * math.pi * torch.fft.fftfreq(15, 0.8) * torch.fft.fft(now[:, 0])).real
    rest = (after - before) / (2 * dt) + 0.1 * line.apply(lambda lam: lam, now)[:, 0]
    speed = float((rest @ gradient) / (gradient @ gradient))
    assert abs(speed) == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(rest, speed * gradient, rtol=1e-4, atol=1e-6)
    closed = advection(grid(8, kinds="path"), 1, rng(), diffusivity=0.2, time=1.0)
    torch.testing.assert_close(
        closed, grid(8, kinds="path").apply(heat(0.2), advection(grid(8, kinds="path"), 1, rng(), time=0.0))
    )


def test_directions_are_unit_vectors_with_defects():
    """The winding numbers of a periodic field cancel, and there are some: a smooth lift to angles would have none."""
    x = direction(grid(24, 24), 2, rng(), length=2.0)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(576, dtype=torch.float64))
    angle = torch.atan2(x[:, 1], x[:, 0]).view(24, 24)

    def turn(a, b):
        return torch.remainder(b - a + math.pi, 2 * math.pi) - math.pi

    corners = [angle, angle.roll(-1, 0), angle.roll((-1, -1), (0, 1)), angle.roll(-1, 1), angle]
    winding = sum(turn(a, b) for a, b in pairwise(corners)) / (2 * math.pi)
    torch.testing.assert_close(winding, winding.round(), atol=1e-9, rtol=0)
    assert abs(float(winding.sum())) < 1e-9 and int(winding.abs().round().sum()) > 4
    assert set(direction(grid(30), 1, rng()).unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kinds", ["cycle", "path"])
def test_every_law_serves_the_old_table(tmp_path, law, kinds):
    """5x5, 3-vectors, 100 samples."""
    data = GridFields(tmp_path, law, (5, 5), 100, channels=3, kinds=kinds)
    assert data.fields.shape == (100, 25, 3) and bool(torch.isfinite(data.fields).all())
    assert bool((data.fields.std(0) > 1e-3).all()), "every entry varies"


def test_samples_depend_on_seed_split_and_index_alone(tmp_path):
    small, large = (GridFields(tmp_path, "direction", (3, 4), n, seed=7) for n in (5, 9))
    assert torch.equal(large.fields[:5], small.fields) and torch.equal(large[[2, 4]].fields, small.fields[[2, 4]])
    others = [GridFields(tmp_path, "direction", (3, 4), 9, seed=s, split=split) for s, split in ((8, "train"), (7, "val"))]
    rows = torch.cat([large.fields, *(other.fields for other in others)]).flatten(1)
    assert rows.unique(dim=0).size(0) == 27


def test_items_are_the_graph_with_field_and_condition(tmp_path):
    data = GridFields(tmp_path, "flow", (4, 3), 6, core=[1.0, 2.0], vortices=(1, 4), strength=2.0)
    assert data.condition_names == ("vortices", "core")
    count, core = data.conditions.T
    assert (
        set(count.tolist()) <= {1.0, 2.0, 3.0, 4.0}
        and bool(((core >= 1) & (core <= 2)).all())
        and core.unique().numel() == 6
    )
    batch = next(iter(DataLoader(data, batch_size=6)))
    assert torch.equal(batch.x, data.fields.flatten(0, 1)) and torch.equal(batch.condition, data.conditions)
    assert isinstance(laplacian_operator(batch), GridOperator)
    assert data[0].edge_index.data_ptr() == data[5].edge_index.data_ptr()
    data[0].x.zero_()
    assert float(data[0].x.norm()) > 0
    assert "condition" not in GridFields(tmp_path, "flow", (4, 3), 1)[0]
    assert len(GridFields(tmp_path, "flow", (4, 3), 0)) == 0 and len(GridFields(tmp_path, "matern", (1,), 2)) == 2


def test_the_cache_is_used_and_never_stale(tmp_path, monkeypatch):
    first = GridFields(tmp_path, "matern", (4, 4), 3)
    with monkeypatch.context() as patch:
        patch.setattr(GridFields, "process", lambda self: pytest.fail("processed again"))
        again = GridFields(tmp_path, "matern", (4, 4), 3, length=3.0)
    assert torch.equal(first.fields, again.fields)
    assert torch.equal(GridFields(tmp_path, "matern", (4, 4), 3, force_reload=True).fields, first.fields)
    for change in ({"length": 2.0}, {"spacing": 2.0}, {"kinds": "path"}):
        assert not torch.equal(GridFields(tmp_path, "matern", (4, 4), 3, **change).fields, first.fields)


def test_pre_transform_and_pre_filter(tmp_path):
    plain = GridFields(tmp_path, "matern", (3, 3), 20)
    data = GridFields(
        tmp_path, "matern", (3, 3), 20, pre_transform=AddLaplacianSpectrum(), pre_filter=lambda item: float(item.x.sum()) > 0
    )
    kept = [item.x for item in plain if float(item.x.sum()) > 0]
    assert 0 < len(kept) < 20 and torch.equal(data.fields, torch.stack(kept))
    assert all(torch.equal(item.x, x) and item.eigenvalues.shape == (9,) for item, x in zip(data, kept, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"law": "turbulence"}, "law must be one of matern"),
        ({"split": "dev"}, "split must be one of train"),
        ({"core": 1.0}, "'matern' has no core; it has amplitude, length, nu"),
        ({"length": (3.0, 1.0)}, "pair low <= high"),
        ({"length": float("nan")}, "length must be a number"),
        ({"length": 0.0}, "length must be > 0"),
        ({"law": "flow", "vortices": 1.5}, "vortices must be an integer"),
        ({"law": "flow", "channels": 1}, "flow has 3 channels"),
        ({"law": "flow", "kinds": "complete"}, "complete graph"),
        ({"law": "vortices", "shape": (5,)}, "3-vectors on 2 axes"),
        ({"num_samples": -1}, "num_samples must be an integer >= 0"),
        ({"shape": (0, 2)}, "shape must be"),
    ],
)
def test_errors_name_the_argument(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        GridFields(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
