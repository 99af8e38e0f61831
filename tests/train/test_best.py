"""The best weights of a run beside its last: written where a validation improves, kept by resuming, found by name."""

import pytest
import torch
from safetensors.torch import load_file

from pyg_diffusion.cli import main
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.train import DenoiserModule, RecipeError, train
from pyg_diffusion.weights_io import WeightsError, load_pretrained
from pyg_diffusion.weights_path import weights_path


def recipe(root, **train_options):
    return recipe_from(
        {
            "data": {
                "kind": "fields", "root": str(root), "law": "matern", "shape": [4], "num_samples": 24,
                "val_samples": 4, "batch_size": 4,
            },
            "process": {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-3, "tau_max": 10.0},
            "model": {"kind": "graph", "width": 8, "depth": 1},
            "optimizer": {"name": "adamw", "warmup": 2},
            "train": {"max_steps": 8, "val_every": 2, "threads": 1, "accelerator": "cpu", "bf16": False, **train_options},
        }
    )  # fmt: skip


@pytest.fixture
def losses(monkeypatch):
    """Validation losses by step, which the test sets; and the weights that each was of."""
    given: dict[int, float] = {}
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def validation_step(self, batch, index):
        self.log("val/loss", torch.tensor(given[self.global_step]), batch_size=batch.num_graphs)
        seen[self.global_step] = {k: v.clone() for k, v in self.denoiser.net.state_dict().items()}

    monkeypatch.setattr(DenoiserModule, "validation_step", validation_step)
    monkeypatch.setattr(DenoiserModule, "on_validation_epoch_end", lambda self: None)
    return given, seen


def same(weights, state) -> bool:
    saved = load_file(weights)
    return all(torch.equal(saved[k], v.half()) for k, v in state.items())


def test_the_best_are_the_averaged_weights_of_the_smallest_loss(losses, tmp_path):
    given, seen = losses
    given |= {2: 0.75, 4: 0.25, 6: float("nan"), 8: 0.5}
    result = train(recipe(tmp_path / "data"), tmp_path / "run", progress=False)
    best = tmp_path / "run" / "best.safetensors"
    assert (result.val_loss, result.best_loss) == (0.5, 0.25)
    assert same(best, seen[4]) and same(result.weights, seen[8]) and not same(best, seen[8])
    (_, one), (_, other) = (load_pretrained(f"{tmp_path / 'run'}:{name}") for name in ("best", "last"))
    assert (one.training["steps"], one.metrics) == (4, {"val/loss": 0.25})
    assert (other.training["steps"], other.metrics) == (8, {"val/loss": 0.5})


def test_a_run_shorter_than_val_every_has_best_weights(losses, tmp_path):
    given, seen = losses
    given |= {3: 0.5}
    result = train(recipe(tmp_path / "data", max_steps=3, val_every=5), tmp_path / "run", progress=False)
    assert same(result.weights, seen[3]) and same(tmp_path / "run" / "best.safetensors", seen[3])
    assert load_pretrained(f"{tmp_path / 'run'}:best")[1].training["steps"] == 3


def broken(monkeypatch, at, config, folder):
    """A run that is killed at a step, its state saved at the one before."""
    step = DenoiserModule.training_step

    def breaks(self, batch, index):
        if self.global_step == at:
            raise RuntimeError("killed")
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(DenoiserModule, "training_step", breaks)
        train(config, folder, progress=False)


def test_resuming_keeps_the_best(losses, tmp_path, monkeypatch):
    given, seen = losses
    given |= {2: 0.25, 4: 0.75, 6: 0.5, 8: 0.5}
    config = recipe(tmp_path / "data", checkpoint_minutes=1e-6)
    broken(monkeypatch, 5, config, tmp_path / "run")
    before = dict(seen)
    result = train(config, tmp_path / "run", resume=True, progress=False)
    assert result.best_loss == 0.25 and same(tmp_path / "run" / "best.safetensors", before[2])
    given |= {10: 0.125, 12: 0.5}
    train(recipe(tmp_path / "data", max_steps=12), tmp_path / "run", resume=True, progress=False)
    assert same(tmp_path / "run" / "best.safetensors", seen[10])


def test_patience_ends_a_run_and_more_of_it_goes_on(losses, tmp_path, monkeypatch):
    given, _ = losses
    given |= dict.fromkeys(range(2, 40), 0.5)
    config = recipe(tmp_path / "data", max_steps=30, patience=2, checkpoint_minutes=1e-6)
    broken(monkeypatch, 5, config, tmp_path / "run")  # the count goes on where it was
    result = train(config, tmp_path / "run", resume=True, progress=False)
    assert result.steps == 7 and not result.interrupted  # best at 2; 4 and 6 are no better
    with pytest.raises(RecipeError, match=r"has ended \(7 steps.*train\.patience to go on"):
        train(config, tmp_path / "run", resume=True, progress=False)
    more = recipe(tmp_path / "data", max_steps=30, patience=4)
    assert train(more, tmp_path / "run", resume=True, progress=False).steps == 11
    with pytest.raises(RecipeError, match=r"train\.patience must be >= 0"):
        recipe(tmp_path / "data", patience=-1)


def test_weights_by_name(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    assert weights_path(run) == weights_path(f"{run}:last") == run / "weights.safetensors"
    assert weights_path(f"{run}:best") == run / "best.safetensors"
    assert weights_path("a:b.safetensors").name == "a:b.safetensors"
    with pytest.raises(WeightsError, match="run:bset: a run has best and last weights, no 'bset'"):
        load_pretrained(f"{run}:bset")
    with pytest.raises(WeightsError, match=r"best\.safetensors: no such file"):
        load_pretrained(f"{run}:best")
    assert main(["sample", "CCO", "--weights", f"{run}:bset"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"pyg-diffusion sample: {run}:bset: a run has best and last weights, no 'bset'"
    ]


def test_sample_says_which_weights_it_took(tmp_path, capsys):
    train(recipe(tmp_path / "data", max_steps=4), tmp_path / "run", progress=False)
    for name, file in (("best", "best"), ("last", "weights")):
        _, card = load_pretrained(f"{tmp_path / 'run'}:{name}")
        command = ["sample", "--weights", f"{tmp_path / 'run'}:{name}", "-n", "1", "--steps", "2"]
        assert main([*command, "-o", str(tmp_path / "x.h5")]) == 0
        said = f"{file}.safetensors: step {card.training['steps']}, validation loss {card.metrics['val/loss']:.4f}"
        assert said in capsys.readouterr().err
