"""`benchmarks/trained.py`: from a clean checkout to weights in one call, once."""

import argparse
import sys
from pathlib import Path

import pytest
import yaml

from pyg_diffusion.weights_io import load_pretrained

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "data": {"store": ["store/qm9_ensembles_20.h5"], "batch_size": 4, "val_fraction": 0.2},
    "model": {"width": 16, "depths": [1], "heads": 2, "pair_width": 8},
    "train": {"max_steps": 3, "val_every": 3, "threads": 1, "accelerator": "cpu"},
}


@pytest.fixture
def helper(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import trained

    yield trained
    sys.modules.pop("trained")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def options(helper, folder, *arguments):
    parser = argparse.ArgumentParser()
    helper.add_weights(parser)
    return parser.parse_args([*arguments, "--train-dir", str(folder / "runs")])


def test_a_recipe_is_trained_once_on_a_bundled_file(helper, recipe, tmp_path, capsys, monkeypatch):
    asked = options(helper, tmp_path, "--train", str(recipe), "--set", "train.max_steps=2")
    found = helper.weights_of(asked)
    _, card = load_pretrained(found.path)
    assert card.training["steps"] == 2 and card.training["sources"] == ["qm9_ensembles_20.h5"]
    assert found.about["recipe"] == "tiny.yaml" and found.about["changes"] == ["train.max_steps=2"]
    assert found.about["steps"] == 2
    monkeypatch.setattr(helper, "train", None)  # it is there
    monkeypatch.setattr(helper, "prepare", None)
    assert helper.weights_of(asked) == found
    assert helper.weights_of(options(helper, tmp_path, "--weights", found.path)).about["steps"] == 2
    assert "no weights are given" not in capsys.readouterr().out


def test_where_nothing_is_given_a_small_model_is_trained_and_said(helper, recipe, tmp_path, capsys):
    found = helper.weights_of(options(helper, tmp_path, "--quick"), recipe, ["data.val_fraction=0.3"], ["train.max_steps=1"])
    assert "no weights are given, and none of this kind are shipped: a small model by tiny.yaml" in capsys.readouterr().out
    assert found.about["steps"] == 1 and found.about["changes"] == ["data.val_fraction=0.3", "train.max_steps=1"]
    assert helper.weights_of(options(helper, tmp_path)) == helper.Weights(None, {"file": "shipped"})


def test_a_training_that_was_killed_before_it_was_marked_is_not_trained_again(helper, recipe, tmp_path):
    asked = options(helper, tmp_path, "--train", str(recipe))
    found = helper.weights_of(asked)
    (Path(found.path) / "trained").unlink()
    before = Path(found.path, "weights.safetensors").stat().st_mtime_ns
    assert helper.weights_of(asked) == found
    assert Path(found.path, "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "a", "--train", "b"], "exclude each other"),
        (["--set", "train.seed=1"], "--set changes the recipe of --train"),
        (["--train", "RECIPE", "--set", "data.store=store/none.h5"], "store/none.h5 is not there: datasets/fetch.py"),
        (["--train", "RECIPE", "--set", "train.color=1"], "train.color: no such key"),
    ],
)
def test_bad_input(helper, recipe, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message) as error:
        helper.weights_of(options(helper, tmp_path, *(str(recipe) if a == "RECIPE" else a for a in arguments)))
    assert "\n" not in str(error.value)
