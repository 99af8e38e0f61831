"""Training on fields: noise levels, objectives and penalties in a recipe, processes that share a batch, the command line."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pyg_diffusion import FieldGenerator
from pyg_diffusion.cli import main
from pyg_diffusion.data.field_file import FieldFileError, read_fields, write_fields
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.fields.data import FieldDataModule
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws
from pyg_diffusion.train.module import NoiseLevels
from pyg_diffusion.weights_io import load_pretrained


def recipe(root, kind="graph", conditions=(), **train_options) -> dict:
    parameters = {"amplitude": [0.5, 2.0]} if conditions else {"amplitude": 1.0}
    return {
        "data": {
            "kind": "fields",
            "root": str(root),
            "law": "matern",
            "shape": [4, 5],
            "parameters": parameters,
            "num_samples": 60,
            "val_samples": 12,
            "batch_size": 6,
        },
        "process": {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-3, "tau_max": 10.0},
        "model": {"kind": kind, "width": 16, "depth": 1, "conditions": list(conditions)},
        "optimizer": {"name": "adamw", "warmup": 2},
        "train": {"max_steps": 4, "val_every": 2, "threads": 1, "accelerator": "cpu", "bf16": False, **train_options},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run conditioned on the amplitude."""
    folder = tmp_path_factory.mktemp("fields")
    train(recipe_from(recipe(folder / "data", conditions=["amplitude"])), folder / "run", progress=False)
    return folder / "run"


def test_importance_sampling_follows_the_losses_and_stays_unbiased():
    """After losses 1, ..., 20 in the bins, levels come in proportion to them, and the weights undo it."""
    config = recipe_from({"train": {"time_sampling": "importance"}})
    moments = torch.zeros(2, NoiseLevels.bins)
    levels = NoiseLevels(config, moments)
    span = torch.linspace(levels.low, levels.high, NoiseLevels.bins + 1)
    centers, loss = (span[1:] + span[:-1]) / 2, torch.arange(1.0, NoiseLevels.bins + 1)
    draws = Draws(torch.Generator().manual_seed(0), 200_000, 0)
    assert bool((levels.draw(draws)[1] == 1).all())  # nothing seen yet: uniform
    for _ in range(NoiseLevels.least):
        levels.learn(centers, loss)
    torch.testing.assert_close(moments[0], loss**2)
    log_tau, weight = levels.draw(draws)
    k = torch.bucketize(log_tau[:, 0], span[1:-1])
    share = torch.bincount(k, minlength=NoiseLevels.bins) / len(k)
    wanted = (1 - levels.floor) * loss / loss.sum() + levels.floor / NoiseLevels.bins
    torch.testing.assert_close(share, wanted, rtol=0.05, atol=1e-3)
    torch.testing.assert_close((weight[:, 0] * loss[k]).mean(), loss.mean(), rtol=0.01, atol=0)
    assert bool((levels.draw(draws, learned=False)[1] == 1).all())


@pytest.mark.parametrize("kind", ["graph", "eps", "score", "mlp", "energy"])
def test_every_network_trains_resumes_and_samples(kind, tmp_path):
    options = {"objectives": {"eps": 1.0, "x0": 0.1}, "time_sampling": "importance", "regularizers": {"smoothness": 0.1}}
    whole = train(recipe_from(recipe(tmp_path / "data", kind, **options)), tmp_path / "whole", progress=False)
    train(
        recipe_from(recipe(tmp_path / "data", kind, **options) | {"optimizer": {"name": "muon"}}),
        tmp_path / "muon",
        False,
        False,
    )
    if kind == "energy":
        mined = recipe(tmp_path / "data", kind, **options, miner="adversarial")
        assert np.isfinite(train(recipe_from(mined), tmp_path / "mined", progress=False).val_loss)
    assert np.isfinite(whole.val_loss) and whole.steps == 4
    x = FieldGenerator.from_pretrained(whole.weights, steps=3, device="cpu").sample(3, seed=1)
    assert x.shape == (3, 20, 1) and bool(torch.isfinite(x).all())


def test_a_broken_run_of_fields_resumes_as_if_it_had_not_been(tmp_path):
    """Ended early by its steps and prolonged with the same schedule: the learned noise levels are part of the state."""
    options = {"time_sampling": "importance", "checkpoint_minutes": 1e-6}
    config = recipe_from(recipe(tmp_path / "data", max_steps=6, **options))
    whole = train(config, tmp_path / "whole", progress=False)
    state = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    assert float(state["state_dict"]["time_moments"][1].sum()) == 6 * 6

    from pyg_diffusion.train import DenoiserModule

    step = DenoiserModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 3:
            raise RuntimeError("killed")
        return step(self, batch, index)

    DenoiserModule.training_step = breaks
    try:
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts", progress=False)
    finally:
        DenoiserModule.training_step = step
    resumed = train(config, tmp_path / "parts", resume=True, progress=False)
    one, two = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(one[k], two[k]) for k in one)


def losses(run) -> list[tuple[int, float]]:
    rows = csv.DictReader(next(run.glob("logs/*/metrics.csv")).open())
    return [(int(r["step"]), float(r[k])) for r in rows for k in ("train/loss", "val/loss") if r.get(k)]


def test_two_processes_with_half_the_batch_each_have_the_losses_of_one(tmp_path):
    """Under DDP (gloo), with unequal halves: batches of 5."""
    values = recipe(tmp_path / "data", max_steps=20, val_every=10)
    values["data"]["batch_size"] = 5
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(values))
    train(recipe_from(values), tmp_path / "one", progress=False)
    command = [sys.executable, "-m", "pyg_diffusion.cli", "train", str(path), "-o", str(tmp_path / "two"), "--quiet"]
    done = subprocess.run([*command, "train.devices=2", "train.strategy=ddp"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 3 and [s for s, _ in one] == [s for s, _ in two]
    np.testing.assert_allclose([v for _, v in two], [v for _, v in one], rtol=1e-4)


def test_conditions_guidance_and_known_nodes(trained):
    generator = FieldGenerator.from_pretrained(trained, steps=4, device="cpu")
    plain = generator.sample(4, seed=2)
    small = FieldGenerator.from_pretrained(trained, steps=4, device="cpu", max_nodes=20).sample(4, seed=2)
    torch.testing.assert_close(small, plain, rtol=1e-4, atol=1e-4)  # the same whatever the batching
    known = np.full((4, 5, 1), np.nan)
    known[1, 2], known[3, 3] = 0.5, -1.0
    x = generator.sample(4, seed=2, fixed=known).view(4, 4, 5)
    torch.testing.assert_close(x[:, 1, 2], torch.full((4,), 0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(x[:, 3, 3], torch.full((4,), -1.0), atol=1e-3, rtol=0)
    assert generator.sample(2, condition={"amplitude": 1.0}, guidance=2.0).isfinite().all()
    for options, message in [
        ({"condition": {"speed": 1.0}}, "not conditioned on 'speed'"),
        ({"guidance": 2.0}, "needs a condition"),
        ({"fixed": np.zeros((3, 1))}, "fixed must be"),
        ({"n": 0}, "n >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            generator.sample(**({"n": 1} | options))
    denoiser, card = load_pretrained(trained)
    with pytest.raises(ValueError, match="make fields, no molecules"):
        ConformerGenerator(denoiser, card)
    amplitudes = FieldDataModule(
        recipe_from(recipe(trained.parent / "data", conditions=["amplitude"])).data, 0, ["amplitude"]
    )
    torch.testing.assert_close(denoiser.net.condition_mean, amplitudes.conditions(["amplitude"])[0], rtol=1e-2, atol=0)


@pytest.mark.slow
def test_compiled_networks_make_the_same_fields(trained):
    plain, compiled = (FieldGenerator.from_pretrained(trained, steps=3, device="cpu", compile=c) for c in (False, True))
    torch.testing.assert_close(compiled.sample(4, seed=1), plain.sample(4, seed=1), rtol=1e-4, atol=1e-4)


def test_fields_through_the_command_line(trained, tmp_path, capsys):
    out, result = tmp_path / "out.h5", tmp_path / "result.json"
    assert main(["sample", "--weights", str(trained), "-n", "12", "-o", str(out), "--steps", "3", "--quiet"]) == 0
    x, data = read_fields(out)
    assert x.shape == (12, 20, 1) and data["law"] == "matern"
    assert main(["evaluate", str(out), "--baselines", "-o", str(result)]) == 0
    table = capsys.readouterr().out
    assert "held-out samples" in table and "gaussian_cov" in table
    methods = json.loads(result.read_text())["methods"]
    assert methods["held-out samples"]["covariance"] < methods["uniform"]["covariance"]
    for source in (out, result, trained):
        assert main(["plot", str(source), "-o", str(tmp_path / "p.png")]) == 0
    assert main(["evaluate", str(out), str(out)]) == 0  # against itself: no error at all
    assert "covariance" in capsys.readouterr().out
    for wrong in (["CCO"], ["--keep", str(result)], ["--guide", "bonds=1"], ["--ask", "speed=1"]):
        assert main(["sample", "--weights", str(trained), "-o", str(tmp_path / "x.h5"), *wrong]) == 2
    assert main(["sample", "--weights", str(trained)]) == 2  # to stdout
    assert main(["evaluate", str(tmp_path / "none.h5")]) == 1


def test_field_files_are_checked(tmp_path):
    data = {"shape": [2, 3], "kinds": "path", "spacing": 1.0}
    write_fields(tmp_path / "a.h5", torch.arange(24.0).view(2, 6, 2), data)
    x, back = read_fields(tmp_path / "a.h5")
    assert torch.equal(x, torch.arange(24.0).view(2, 6, 2)) and back == data
    (tmp_path / "b.h5").write_text("no")
    with pytest.raises(FieldFileError, match="not a file of fields"):
        read_fields(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"kind": "field"}}, "molecules, fields"),
        ({"data": {"kind": "fields"}, "model": {"kind": "conformer"}}, "fields take one of graph"),
        ({"data": {"kind": "fields"}, "model": {"depths": [1]}}, "model.depths: no such key"),
        ({"train": {"time_sampling": "often"}}, "lognormal, uniform, schedule, importance"),
        ({"train": {"objectives": {"mse": 1.0}}}, "F, eps, score, x0"),
        ({"train": {"time_weight": "snr"}}, "min_snr"),
        ({"data": {"kind": "fields"}, "train": {"regularizers": {"bonds": 1.0}}}, "fields have smoothness"),
    ],
)
def test_wrong_recipes_of_any_kind_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(change)


def test_wrong_laws_are_named(tmp_path):
    values = recipe(tmp_path)
    values["data"]["law"] = "gauss"
    with pytest.raises(RecipeError, match="data: law must be one of matern"):
        FieldDataModule(recipe_from(values).data, 0)
    with pytest.raises(RecipeError, match="varies no 'amplitude'"):
        FieldDataModule(recipe_from(recipe(tmp_path)).data, 0, ["amplitude"])
