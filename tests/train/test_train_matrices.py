"""Training energies of matrices through a recipe: every miner, a broken run, inversion by descent of what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pyg_diffusion import MatrixInverter
from pyg_diffusion.cli import main
from pyg_diffusion.mining import miners_of
from pyg_diffusion.tasks import load_recipe, recipe_from
from pyg_diffusion.tasks.matrices.data import MatrixDataModule
from pyg_diffusion.train import RecipeError, train


def recipe(kind="matrix_energy", **train_options) -> dict:
    return {
        "data": {"kind": "matrices", "n": 4, "num_samples": 64, "val_samples": 8, "batch_size": 8},
        "process": {"gamma": 0.0, "lambda0": 1.0, "noise": "matched", "tau_min": 1e-6, "tau_max": 3.0},
        "model": {"kind": kind} | ({"depth": 2, "channels": 4} if kind == "matrix_energy" else {"width": 32, "depth": 1}),
        "optimizer": {"name": "adamw", "lr": 5e-3, "warmup": 2, "ema": 0.9},
        "train": {
            "max_steps": 4,
            "val_every": 4,
            "threads": 1,
            "accelerator": "cpu",
            "bf16": False,
            "time_sampling": "uniform",
            "log_floor": 0.01,
            **train_options,
        },
    }


@pytest.mark.parametrize("kind", ["matrix_energy", "matrix_mlp_energy"])
@pytest.mark.parametrize("miner", miners_of())
def test_every_miner_trains_and_its_figures_are_logged(kind, miner, tmp_path):
    result = train(recipe_from(recipe(kind, miner=miner, max_steps=21)), tmp_path / "run", progress=False)
    assert np.isfinite(result.val_loss)
    log = next((tmp_path / "run").glob("logs/*/metrics.csv")).read_text().splitlines()[0]
    assert all((f"mining/{name}" in log) == (miner != "none") for name in ("gap", "true_gap", "false_negatives", "calls"))


def test_training_matrices_are_new_and_their_inverses_right():
    data = MatrixDataModule(recipe_from(recipe()).data, 0)
    first, again, other, held = data.train[3], data.train[3], data.train[4], data.val[3]
    assert torch.equal(first.matrix, again.matrix) and not torch.equal(first.matrix, other.matrix)
    assert not torch.equal(first.matrix, held.matrix)
    product = first.matrix.view(4, 4).double() @ first.x.view(4, 4).double()
    torch.testing.assert_close(product, torch.eye(4).double(), atol=1e-5, rtol=0)


def test_a_short_training_inverts_small_matrices(tmp_path):
    """n = 2 in some seconds: far better than the mean inverse on new matrices; and through the command line."""
    options = recipe(max_steps=300, val_every=300)
    options["data"] |= {"n": 2, "num_samples": 20_000, "batch_size": 32}
    train(recipe_from(options), tmp_path / "run", progress=False)
    held = MatrixDataModule(recipe_from(options).data, 0).val
    a, inverse = (torch.stack([held[k][name].view(2, 2) for k in range(8)]) for name in ("matrix", "x"))
    inverter = MatrixInverter.from_pretrained(tmp_path / "run", steps=10)
    out = inverter.invert(a)
    assert float((out - inverse).square().mean()) < 0.05 * float((inverse - inverse.mean(0)).square().mean())
    torch.testing.assert_close(inverter.invert(a[:1]), out[:1], rtol=1e-4, atol=1e-4)  # the same whatever the batching
    assert inverter.invert(a[0]).shape == (2, 2)
    for wrong, message in [
        (np.ones((2, 3)), "square matrices"),
        (np.ones((2, 2)), "matrix 0 is singular"),
        (np.full((2, 2), np.nan), "not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            inverter.invert(wrong)
    np.save(tmp_path / "a.npy", a.numpy())
    files = [str(tmp_path / "a.npy"), "-o", str(tmp_path / "b.npy")]
    assert main(["sample", *files, "--weights", str(tmp_path / "run"), "--quiet"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), out.numpy(), rtol=1e-4, atol=1e-4)
    assert main(["sample", "CCO", "--weights", str(tmp_path / "run")]) == 2


def test_a_broken_run_of_matrices_resumes_as_if_it_had_not_been(tmp_path, monkeypatch):
    from pyg_diffusion.train import DenoiserModule

    config = recipe_from(recipe(miner="adversarial", max_steps=6, checkpoint_minutes=1e-6))
    whole = train(config, tmp_path / "whole", progress=False)
    step = DenoiserModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 3:
            raise RuntimeError("killed")
        return step(self, batch, index)

    monkeypatch.setattr(DenoiserModule, "training_step", breaks)
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "parts", progress=False)
    monkeypatch.setattr(DenoiserModule, "training_step", step)
    resumed = train(config, tmp_path / "parts", resume=True, progress=False)
    one, two = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", ["q001", "q002", "q003", "q004", "q005"])
def test_the_configs_are_sound(name):
    config = load_recipe(Path(__file__).parents[2] / "configs" / f"{name}.yaml")
    miners = {"q001": "none", "q002": "random", "q003": "adversarial", "q004": "adversarial", "q005": "calibrated"}
    assert config.train.miner == miners[name] and config.data.kind == "matrices"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"miner": "hard"}}, "none, random, published, adversarial, calibrated"),
        ({"train": {"miner": "random"}}, "negatives are for energies"),
        ({"data": {"kind": "matrices"}, "train": {"miner": "random", "miner_options": {"steps": 1}}}, "miner_options"),
        ({"data": {"kind": "matrices"}, "model": {"conditions": ["x"]}}, "matrix_energy takes none"),
    ],
)
def test_wrong_miners_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(change)
