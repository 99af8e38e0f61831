"""Recipes: what is read as people write it, what is refused and how, their schema and its reference page."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from pyg_diffusion.cli import main
from pyg_diffusion.nn import NETWORKS, MLPNet, NetworkKind
from pyg_diffusion.tasks import TASKS, load_recipe, recipe_from
from pyg_diffusion.train.recipe import RecipeError, schema

ROOT = Path(__file__).parents[2]


def test_values_are_read_as_yaml_has_them():
    """Numbers as strings, whole numbers as numbers, one value as a list of one, names as text."""
    recipe = recipe_from(
        {
            "data": {"kind": "fields", "shape": 8, "parameters": {"length": [1, 2.5]}},
            "model": {"kind": "energy"},
            "optimizer": {"lr": "1e-3", "clip": 2},
            "train": {"objectives": {"F": "1e1"}, "miner": "adversarial", "miner_options": {"steps": 3, "scale": "5e-1"}},
        }
    )
    assert recipe.data.shape == [8] and recipe.data.parameters == {"length": [1, 2.5]}
    assert recipe.optimizer.lr == 0.001 and type(recipe.optimizer.clip) is float
    assert recipe.train.objectives == {"F": 10.0}
    assert recipe.train.miner_options == {"steps": 3, "scale": 0.5} and type(recipe.train.miner_options["steps"]) is int
    assert recipe.task is TASKS["fields"] and recipe_from(recipe.to_dict()).to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}}, "models: no such key; there are data, process, model, optimizer, train"),
        ({"data": {"kind": "graphs"}}, "data.kind: expected one of molecules, fields, matrices, signals, got 'graphs'"),
        ({"model": {"kind": ["eps"]}}, "model.kind: expected one of conformer, "),
        (
            {"model": {"kind": "matrix_energy"}},
            "model.kind: molecules take one of conformer, hydrogen, graph, eps, score, mlp, energy, got 'matrix_energy'",
        ),
        ({"train": {"max_steps": 1.5}}, "train.max_steps: expected int, got 1.5"),
        ({"train": {"max_steps": True}}, "train.max_steps: expected int, got True"),
        (
            {"train": {"seed": 2**63}},
            "train.seed: expected a finite number that is not beyond all size, got 9223372036854775808",
        ),
        (
            {"train": {"max_minutes": float("inf")}},
            "train.max_minutes: expected a finite number that is not beyond all size",
        ),
        ({"train": {"bf16": "yes"}}, "train.bf16: expected bool, got 'yes'"),
        ({"train": {"objectives": {"F": "x"}}}, "train.objectives.F: expected float, got 'x'"),
        ({"train": {"objectives": {"F": -1}}}, "train.objectives: weights >= 0 of F, eps, score, x0, got {'F': -1.0}"),
        ({"train": {"objectives": 3}}, "train.objectives: expected a mapping, got 3"),
        ({"train": {"condition_dropout": 1}}, "train.condition_dropout must lie in [0, 1), got 1.0"),
        (
            {"train": {"time_sampling": "even"}},
            "train.time_sampling must be one of lognormal, uniform, schedule, importance, got 'even'",
        ),
        ({"train": {"regularizers": {"bond": 1}}}, "train.regularizers: molecules have smoothness, "),
        ({"optimizer": None}, "optimizer: expected a mapping, got None"),
        ({"optimizer": {"warmup": -1}}, "optimizer.warmup must be >= 0, got -1"),
        ({"optimizer": {"name": "sgd"}}, "optimizer.name must be muon or adamw, got 'sgd'"),
        ({"process": {"noise": "pink"}}, "process.noise must be white or matched, got 'pink'"),
        ({"model": {"depths": [1, "x"]}}, "model.depths: expected int, got 'x'"),
        ({"model": {"conditions": ["mass"]}}, "model.conditions: no property 'mass'; there are radius_of_gyration"),
        ({"data": {"kind": "matrices"}, "model": {"conditions": "x"}}, "model.conditions: matrix_energy takes none, got x"),
        ({"data": {"kind": "matrices", "n": 0}}, "data.n must be > 0, got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change, message):
    with pytest.raises(RecipeError) as error:
        recipe_from(change)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_network_from_outside_is_taken_by_the_task_that_it_names():
    facts = ("channels", "positions", "node_conditions", "atoms")
    kind = NetworkKind(MLPNet, facts, tasks=("fields",))
    NETWORKS.add("other", kind)
    try:
        recipe = recipe_from({"data": {"kind": "fields"}, "model": {"kind": "other", "width": 8}})
        assert recipe.model.model_dump() == {"kind": "other", "width": 8, "depth": 4, "conditions": []}
        with pytest.raises(RecipeError, match="matrices take one of"):
            recipe_from({"data": {"kind": "matrices"}, "model": {"kind": "other"}})
    finally:
        NETWORKS.remove("other")


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(schema(TASKS))
    return Draft202012Validator(schema(TASKS))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_takes_every_recipe(path, validator):
    validator.validate(yaml.safe_load(path.read_text()))
    validator.validate(load_recipe(path).to_dict())  # with all defaults, as a run's folder has it


@pytest.mark.parametrize(
    ("recipe", "good"),
    [
        ({}, True),
        ({"data": {"store": "a.h5"}}, True),
        ({"data": {"kind": "fields"}, "model": {"width": 8}}, True),
        ({"data": {"stor": ["a.h5"]}}, False),
        ({"model": {"kind": "graph"}}, True),
        ({"model": {"kind": "matrix_energy"}}, False),
        ({"data": {"kind": "fields"}, "model": {"kind": "conformer"}}, False),
        ({"optimizer": {"lr": 0}}, False),
        ({"train": {"miner": "hard"}}, False),
        ({"train": {"max_steps": "many"}}, False),
    ],
)
def test_the_schema_refuses_what_reading_refuses(recipe, good, validator):
    assert validator.is_valid(recipe) == good
    if good:
        recipe_from(recipe)
    else:
        with pytest.raises(RecipeError):
            recipe_from(recipe)


def test_the_command_line_prints_the_schema(capsys):
    assert main(["train", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema(TASKS)


def test_the_reference_page_is_that_of_the_schema():
    spec = importlib.util.spec_from_file_location("recipes_page", ROOT / "docs" / "recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python docs/recipes.py"
    for section in schema(TASKS)["$defs"].values():
        missing = [
            key for key, field in section["properties"].items() if "const" not in field and not field.get("description")
        ]
        assert not missing, f"{section['title']}: {missing} are not described"
