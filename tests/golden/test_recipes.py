"""What the rebuild of the upper half must not change: recipes, defaults, cards, weights, and runs that were begun before it.

`python tests/golden/test_recipes.py` writes the expected values anew; that is a change of behaviour and wants a reason.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from pyg_diffusion.cli import main
from pyg_diffusion.nn import ConformerNet, EnergyNet, EpsNet, GraphNet, HydrogenNet, MatrixMLP, MatrixNet, MLPNet, ScoreNet
from pyg_diffusion.tasks import load_recipe, recipe_from
from pyg_diffusion.weights_io import load_pretrained

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NETWORKS = {
    "molecules": ("conformer", "hydrogen"),
    "fields": ("graph", "eps", "score", "mlp", "energy"),
    "matrices": ("matrix_energy", "matrix_mlp_energy"),
}
QUICK = {"max_steps": 2, "val_every": 2, "threads": 1, "accelerator": "cpu", "bf16": False}
PROCESS = {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 0.001, "tau_max": 10.0}


def all_recipes() -> dict[str, dict]:
    """Every recipe of configs/, and every pair of data and network with all its defaults."""
    found = {path.name: load_recipe(path).to_dict() for path in sorted((ROOT / "configs").glob("*.yaml"))}
    found["of nothing"] = recipe_from({}).to_dict()
    for data, networks in NETWORKS.items():
        found[data] = recipe_from({"data": {"kind": data}}).to_dict()
        for network in networks:
            second = {"hydrogens": "second"} if network == "hydrogen" else {}
            values = {"data": {"kind": data, **second}, "model": {"kind": network}}
            found[f"{data} {network}"] = recipe_from(values).to_dict()
    return found


def small_recipes(folder: Path) -> dict[str, dict]:
    """A training of two steps of every task, and of every way it goes on."""
    molecules = {"store": [str(folder / "twenty.h5")], "batch_size": 8, "val_fraction": 0.2}
    net = {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8}
    fields = {"kind": "fields", "root": str(folder), "law": "matern", "shape": [4, 5], "num_samples": 40, "val_samples": 12}
    fields |= {"batch_size": 6, "parameters": {"amplitude": [0.5, 2.0]}}
    matrices = {"kind": "matrices", "n": 3, "num_samples": 64, "val_samples": 8, "batch_size": 8}
    conditioned = {"width": 16, "depth": 1, "heads": 2, "conditions": ["amplitude"]}
    energy = {"kind": "matrix_energy", "depth": 2, "channels": 3, "node_channels": 2}
    return {
        "molecules": {"data": molecules, "model": net, "train": QUICK},
        "conditioned": {"data": molecules, "model": {**net, "conditions": ["radius_of_gyration"]}, "train": QUICK},
        "levels": {"data": molecules, "model": {**net, "levels": ["GFN2-xTB"]}, "train": QUICK},
        "hydrogens": {
            "data": {**molecules, "hydrogens": "second"},
            "model": {"kind": "hydrogen", "width": 16, "depths": [1, 1]},
            "train": QUICK,
        },
        "fields": {"data": fields, "process": PROCESS, "model": conditioned, "train": QUICK},
        "matrices": {
            "data": matrices,
            "process": {**PROCESS, "gamma": 0.0, "lambda0": 1.0},
            "model": energy,
            "train": {**QUICK, "miner": "calibrated", "log_floor": 0.01, "time_sampling": "uniform"},
        },
    }


def card_of(run: Path) -> dict:
    """A run's card without what differs from run to run: the time it took, its digest and where things are."""
    card = json.loads((run / "weights.json").read_text())
    del card["sha256"], card["training"]["minutes"]
    data = card["training"]["recipe"]["data"]
    for key in {"store", "root"} & set(data):
        del data[key]
    return card


def trained(folder: Path) -> dict[str, dict]:
    """The card of every small recipe, trained through the command line."""
    source = str(ROOT / "datasets" / "qm9_ensembles_20.sdf.gz")
    assert main(["prepare", source, "-o", str(folder / "twenty.h5"), "--quiet"]) == 0
    cards = {}
    for name, recipe in small_recipes(folder).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        assert main(["train", str(folder / f"{name}.yaml"), "-o", str(folder / name), "--quiet"]) == 0
        cards[name] = card_of(folder / name)
    return cards


def assert_close(found, wanted, where: str = "") -> None:
    """Equal but for rounding, in which processors differ, and for keys that are new."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict) and set(found) >= set(wanted), where
        for key in wanted:
            assert_close(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(found, list) and len(found) == len(wanted), where
        for k, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_close(one, other, f"{where}[{k}]")
    elif isinstance(wanted, float):
        assert isinstance(found, float) and math.isclose(found, wanted, rel_tol=2e-3, abs_tol=1e-5), (where, found, wanted)
    else:
        assert type(found) is type(wanted) and found == wanted, (where, found, wanted)


RECIPES = json.loads((HERE / "recipes.json").read_text()) if (HERE / "recipes.json").exists() else {}


@pytest.fixture(scope="module")
def recipes_now() -> dict[str, dict]:
    return all_recipes()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_means_what_it_meant(name, recipes_now):
    """The same keys, the same values of the same types; keys that are new have their default."""
    nothing = recipes_now["of nothing"]
    for section, values in RECIPES[name].items():
        found = {key: value for key, value in recipes_now[name][section].items() if key in values}
        assert json.dumps(found, sort_keys=True) == json.dumps(values, sort_keys=True)
        for key in set(recipes_now[name][section]) - set(values) if section in ("process", "optimizer", "train") else ():
            assert recipes_now[name][section][key] == nothing[section][key]


def test_no_recipe_of_before_is_gone(recipes_now):
    assert set(recipes_now) >= set(RECIPES)


@pytest.fixture(scope="module")
def cards_now(tmp_path_factory) -> dict[str, dict]:
    return trained(tmp_path_factory.mktemp("cards"))


@pytest.mark.parametrize("name", ["molecules", "conditioned", "levels", "hydrogens", "fields", "matrices"])
def test_two_steps_write_the_card_they_wrote(name, cards_now):
    wanted = json.loads((HERE / "cards.json").read_text())[name]
    found = dict(cards_now[name])
    found.pop("centered", None)  # cards of before did not say
    assert_close(found, wanted)


MODELS = {
    "conformer": {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8, "expansion": 2},
    "hydrogen": {"width": 16, "depths": [1, 1], "levels": ["MMFF94s"], "conditions": []},
    "graph": {"width": 16, "depth": 1, "heads": 2, "expansion": 2, "global_attention": True},
    "eps": {"width": 16, "depth": 1, "heads": 2, "expansion": 2, "global_attention": False},
    "score": {"width": 16, "depth": 1, "heads": 2, "expansion": 2, "global_attention": False},
    "mlp": {"width": 16, "depth": 1},
    "energy": {"width": 16, "depth": 1, "heads": 2, "expansion": 2, "global_attention": False},
    "matrix_energy": {"depth": 2, "channels": 3, "node_channels": 2, "residual": True, "conditions": []},
    "matrix_mlp_energy": {"width": 16, "depth": 1, "conditions": []},
}
DATA = {
    "molecules": {"kind": "molecules"},
    "fields": {"kind": "fields", "law": "matern", "shape": [4, 5], "kinds": "cycle", "spacing": 1.0, "parameters": {}},
    "matrices": {"kind": "matrices", "n": 3, "c": 0.5, "seed": 0, "num_samples": 10},
}


def network(kind: str) -> torch.nn.Module:
    """The network that the card of `old_weights` tells of."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in MODELS[kind].items() if k != "conditions"}
    graph = {"channels": 1, "positions": 2, "conditions": 1}
    if kind == "conformer":
        return ConformerNet(**options, conditions=("radius_of_gyration",), levels=("GFN2-xTB", "MMFF94s"))
    if kind == "matrix_energy":
        return EnergyNet(MatrixNet(**options))
    if kind == "matrix_mlp_energy":
        return EnergyNet(MatrixMLP(n=3, **options))
    if kind == "energy":
        return EnergyNet(GraphNet(**options, **graph))
    if kind == "hydrogen":
        return HydrogenNet(**options)
    return {"graph": GraphNet, "eps": EpsNet, "score": ScoreNet, "mlp": MLPNet}[kind](**options, **graph)


def model_of(kind: str) -> dict:
    """As cards of 0.5 and 0.6 have it."""
    facts: dict = {}
    if kind == "conformer":
        facts = {"conditions": ["radius_of_gyration"], "levels": ["GFN2-xTB", "MMFF94s"]}
    elif kind in NETWORKS["fields"]:
        facts = {"conditions": ["amplitude"], "channels": 1, "positions": 2}
    elif kind in NETWORKS["matrices"]:
        facts = {"n": 3}
    return {"kind": kind, **MODELS[kind], **facts}


def old_weights(path: Path, kind: str, dtype: torch.dtype, second: bool = False) -> dict[str, torch.Tensor]:
    """Weights and card of 0.5 and 0.6 for a random network, written by hand."""
    task = next(name for name, networks in NETWORKS.items() if kind in networks)
    torch.manual_seed(3)
    net = network(kind)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1)
    state = {k: v.to(dtype).contiguous() for k, v in net.state_dict().items()}
    card = {
        "format": "pyg_diffusion.weights",
        "version": 1,
        "features": 1,
        "spectrum": {"log_lambda": [-2.0, 0.0, 2.0], "log_power": [2.0, 0.0, -2.0], "floor": 1e-5},
        "process": PROCESS,
        "model": model_of(kind),
        "bf16": False,
        "elements": [1, 6, 8] if task == "molecules" else [],
        "data": {**DATA[task], **({"channels": 1} if task == "fields" else {})},
        "training": {"sources": [task], "signals": 10, "steps": 2, "minutes": 0.1, "recipe": {}},
        "metrics": {"val/loss": 0.5},
        "domain": {"max_atoms": 9, "charges": [0]} if task == "molecules" else {},
    }
    if kind == "hydrogen" or second:
        card["data"] = {"kind": "molecules", "hydrogens": "second"}
        card["hydrogens"] = {}
    if second:
        card["hydrogens"] = {"model": model_of("hydrogen"), "training": {}, "metrics": {}}
        state |= {f"second.{k}": v.to(dtype).contiguous() for k, v in network("hydrogen").state_dict().items()}
    save_file(state, path)
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    return {k: v.float() for k, v in state.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", MODELS)
def test_weights_of_before_load(kind, dtype, tmp_path):
    state = old_weights(tmp_path / "w.safetensors", kind, dtype)
    denoiser, card = load_pretrained(tmp_path / "w.safetensors")
    found = denoiser.net.state_dict()
    assert sorted(found) == sorted(state) and all(torch.equal(found[k], v) for k, v in state.items())
    assert denoiser.centered == (kind in NETWORKS["molecules"]) and not denoiser.training and not denoiser.autocast
    assert type(denoiser.net) is type(network(kind)) and denoiser.second is None
    assert denoiser.predicts == {"conformer": "F", "hydrogen": "F", "graph": "F", "score": "score"}.get(kind, "eps")
    assert card.model == model_of(kind) and card.metrics == {"val/loss": 0.5} and card.training["steps"] == 2
    assert list(denoiser.spectrum.log_power) == [2.0, 0.0, -2.0] and denoiser.sde.gamma == 0.5


def test_weights_of_two_stages_of_before_load(tmp_path):
    state = old_weights(tmp_path / "w.safetensors", "conformer", torch.float16, second=True)
    denoiser, card = load_pretrained(tmp_path / "w.safetensors")
    found = denoiser.net.state_dict() | denoiser.second.state_dict(prefix="second.")
    assert sorted(found) == sorted(state) and all(torch.equal(found[k], v) for k, v in state.items())
    assert card.hydrogens["model"] == model_of("hydrogen") and denoiser.second.levels == ("MMFF94s",)


def test_a_run_that_began_before_goes_on(tmp_path):
    """Three of six steps were made by version 0.6; the other three end where version 0.6 ended."""
    run = tmp_path / "run"
    shutil.copytree(HERE / "old_run", run)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((run / "config.yaml").read_text())
    assert main(["train", str(recipe), "-o", str(run), "--resume", "--quiet"]) == 0
    found, wanted = load_file(run / "weights.safetensors"), load_file(HERE / "old_run_end.safetensors")
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name].float(), wanted[name].float(), atol=2e-3, rtol=2e-3)
    assert json.loads((run / "weights.json").read_text())["training"]["steps"] == 6
    state = torch.load(run / "last.ckpt", weights_only=True)
    before = torch.load(HERE / "old_run" / "last.ckpt", weights_only=True)
    assert list(state) == list(before) and sorted(state["state_dict"]) == sorted(before["state_dict"])
    assert set(state["callbacks"]) == {*before["callbacks"], "BestWeights"}


def write() -> None:
    """The expected values, from the code as it is; not the run, which version 0.6 began."""
    import tempfile

    (HERE / "recipes.json").write_text(json.dumps(all_recipes(), indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        (HERE / "cards.json").write_text(json.dumps(trained(Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    write()
