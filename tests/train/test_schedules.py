"""Schedules in recipes and cards, and the plain processes that recipes compare with."""

import json
import math
from pathlib import Path

import pytest
import torch

from pyg_diffusion import FieldGenerator
from pyg_diffusion.sde import GeometricTime, TabulatedTime
from pyg_diffusion.tasks import load_recipe, recipe_from
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws
from pyg_diffusion.train.module import NoiseLevels
from pyg_diffusion.weights_io import WeightsError, load_pretrained

CONFIGS = Path(__file__).parents[2] / "configs"
QUICK = {"max_steps": 4, "val_every": 2, "threads": 1, "accelerator": "cpu", "bf16": False}


def squares(t, tau_min, tau_max):
    """Increasing."""
    return tau_min + (tau_max - tau_min) * t**2


def backwards(t, tau_min, tau_max):
    """Decreasing."""
    return tau_max + (tau_min - tau_max) * t


def fields(root, schedule, **train_options) -> dict:
    process = {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-3, "tau_max": 10.0, "schedule": schedule}
    return {
        "data": {"kind": "fields", "root": str(root), "law": "matern", "shape": [4], "num_samples": 24, "val_samples": 4},
        "process": process,
        "model": {"kind": "graph", "width": 8, "depth": 1},
        "train": QUICK | train_options,
    }


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine", f"{__name__}:squares"])
def test_every_schedule_trains_samples_and_stays_with_the_weights(schedule, tmp_path):
    config = recipe_from(fields(tmp_path / "data", schedule, time_sampling="schedule"))
    result = train(config, tmp_path / "run", progress=False)
    denoiser, card = load_pretrained(result.weights)
    assert math.isfinite(result.val_loss) and card.process["schedule"] == schedule
    t = torch.tensor([0.0, 0.3, 1.0])
    tau = denoiser.sde.schedule.tau(t)
    torch.testing.assert_close(tau[[0, 2]], torch.tensor([1e-3, 10.0]))
    if ":" in schedule:  # its values are in the card: loading runs no code of the function
        assert isinstance(denoiser.sde.schedule, TabulatedTime) and len(card.process["knots"]) == 257
        torch.testing.assert_close(tau[1], squares(t[1], 1e-3, 10.0), rtol=1e-3, atol=0)
    x = FieldGenerator.from_pretrained(result.weights, steps=3, device="cpu").sample(2, seed=1)
    assert x.shape == (2, 4, 1) and bool(x.isfinite().all())


def test_cards_without_a_schedule_are_geometric_and_wrong_ones_are_said(tmp_path):
    weights = train(recipe_from(fields(tmp_path / "data", "geometric")), tmp_path / "run", progress=False).weights
    card, text = weights.with_suffix(".json"), json.loads(weights.with_suffix(".json").read_text())
    assert text["process"].pop("schedule") == "geometric"
    card.write_text(json.dumps(text))
    assert load_pretrained(weights)[0].sde.schedule == GeometricTime(1e-3, 10.0)
    for change in ({"schedule": "os:getcwd"}, {"schedule": "linaer"}, {"knots": [1.0, 0.5]}, {"knots": ["a"]}):
        card.write_text(json.dumps({**text, "process": {**text["process"], **change}}))
        with pytest.raises(WeightsError, match="damaged card"):
            load_pretrained(weights)


def test_a_run_may_begin_with_weights_of_another_schedule(tmp_path):
    """The network reads τ, not t."""
    first = train(recipe_from(fields(tmp_path / "data", "geometric")), tmp_path / "one", progress=False)
    more = fields(tmp_path / "data", f"{__name__}:squares", init_from=f"{tmp_path / 'one'}:best", max_steps=2)
    second = train(recipe_from(more), tmp_path / "two", progress=False)
    assert math.isfinite(first.val_loss + second.val_loss)


def test_times_even_in_t_follow_the_schedule():
    """With constant β the mean of τ is the middle of its range, with geometric that of log τ is."""
    draws = Draws(torch.Generator().manual_seed(0), 100_000, 0)
    for schedule, middle, of in (("constant", 5.0005, torch.exp), ("geometric", math.log(0.1), lambda v: v)):
        levels = NoiseLevels(recipe_from(fields("data", schedule, time_sampling="schedule")), torch.zeros(2, 20))
        log_tau, weight = levels.draw(draws)
        assert float(of(log_tau).mean()) == pytest.approx(middle, rel=0.01) and bool((weight == 1).all())


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (
            {"schedule": "linaer"},
            "process.schedule must be one of geometric, linear, constant, cosine, or module:function, got",
        ),
        ({"schedule": f"{__name__}:backwards"}, r"process\.schedule: .*backwards: a schedule must increase, and this has"),
        ({"schedule": "nowhere:f"}, "process.schedule: nowhere:f: ModuleNotFoundError: No module named 'nowhere'"),
        ({"tau_min": 3.0, "tau_max": 1.0}, "process.tau_min: must be < tau_max, got 3.0 and 1.0"),
    ],
)
def test_wrong_processes_are_said_in_one_sentence(process, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from({"process": process})


@pytest.mark.parametrize("name", ["ddpm", "ve"])
def test_the_plain_processes_know_no_neighbours(name, tmp_path, store_path):
    """Noise alike in every mode, with the variance of DDPM or VE; a few steps on fields and on molecules."""
    lam = torch.tensor([[0.0, 2.0, 7.0]])
    for task in ("fields", "molecules"):
        overrides = {
            "fields": ["data.shape=[3,3]", f"data.root={tmp_path}", "data.num_samples=32", "data.val_samples=4"],
            "molecules": [f"data.store={store_path}", "model.depths=[1]", "data.val_fraction=0.2"],
        }[task]
        overrides += [
            "model.width=16",
            "data.batch_size=8",
            "train.max_steps=3",
            "train.val_every=3",
            "train.accelerator=cpu",
        ]
        overrides += ["train.threads=1", "optimizer.warmup=1"]
        config = load_recipe(CONFIGS / f"{name}_{task}.yaml", overrides)
        result = train(config, tmp_path / task, progress=False)
        sde = load_pretrained(result.weights)[0].sde
        tau = torch.tensor([[0.5]])
        variance = 1 - math.exp(-0.5) if name == "ddpm" else 0.5
        torch.testing.assert_close(sde.var(sde.schedule.t(tau))(lam), torch.full((1, 3), variance), rtol=1e-4, atol=0)
        if task == "fields":
            x = FieldGenerator.from_pretrained(result.weights, steps=3, device="cpu").sample(2, seed=1)
            assert bool(x.isfinite().all())
        else:
            generator = ConformerGenerator.from_pretrained(result.weights, steps=3, device="cpu")
            assert math.isfinite(result.val_loss) and generator.denoiser.centered
