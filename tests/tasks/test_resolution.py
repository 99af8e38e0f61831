"""Signals drawn coarse first: the means of a draw, a Gaussian law, weights that hold all resolutions."""

import h5py
import numpy as np
import pytest
import torch
import yaml
from torch_geometric.data import Batch

from pyg_diffusion.cli import main
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.data.coarsen import coarsened
from pyg_diffusion.datasets.graph_fields import sensor_graph
from pyg_diffusion.metrics.fields import power_spectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.fields.data import FieldDataModule
from pyg_diffusion.tasks.fields.generator import FieldGenerator
from pyg_diffusion.tasks.fields.law import fields_of
from pyg_diffusion.tasks.signals.generator import GraphSignalGenerator
from pyg_diffusion.train import RecipeError
from pyg_diffusion.train.datamodule import Draws
from pyg_diffusion.train.run import _model
from pyg_diffusion.weights_io import load_pretrained, save_pretrained

PROCESS = {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-4, "tau_max": 12.0}
MODEL = {"width": 8, "depth": 1, "heads": 2}
TRAIN = {"max_steps": 2, "val_every": 2, "threads": 1, "bf16": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resolutions")


def fields(folder, **more) -> dict:
    data = {"kind": "fields", "root": str(folder / "fields"), "law": "matern", "shape": [8, 8], "num_samples": 600}
    return data | {"val_samples": 8, "batch_size": 4, "parameters": {"amplitude": [0.5, 1.0]}, **more}


def run(folder, name: str, data: dict, conditions: list[str], rate: float = 1e-3) -> int:
    recipe = {"data": data, "process": PROCESS, "model": {**MODEL, "conditions": conditions}, "train": TRAIN}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**recipe, "optimizer": {"lr": rate}}))
    return main(["train", str(folder / f"{name}.yaml"), "-o", str(folder / name), "--quiet"])


@pytest.fixture(scope="module")
def runs(folder):
    """Fields in three resolutions, 2x2, 4x4 and 8x8, told their amplitude."""
    for name, more in (
        ("low", {"coarsen": 4}),
        ("mid", {"coarsen": 2, "coarse": str(folder / "low")}),
        ("top", {"coarse": str(folder / "mid")}),
    ):
        assert run(folder, name, fields(folder, **more), ["amplitude"]) == 0
    return folder


def test_means_of_a_draw_are_the_coarser_draw(runs):
    top = FieldGenerator.from_pretrained(runs / "top", device="cpu", steps=4)
    asked = {"amplitude": 0.8}
    x, graph = top.sample(3, seed=5, condition=asked), top.graph()
    for name, factor in (("mid", 2), ("low", 4)):  # as these weights alone draw it: each has noise of its own
        alone = FieldGenerator.from_pretrained(runs / name, device="cpu", steps=4).sample(3, seed=5, condition=asked)
        blocks = coarsened(graph, factor)[1]
        found = torch.stack([blocks.means(one) for one in x])
        torch.testing.assert_close(found, alone, atol=2e-3, rtol=2e-3)
    assert top.evaluations == 12 and float(x.std(0).mean()) > 0.1
    again = FieldGenerator.from_pretrained(runs / "top", device="cpu", steps=4, max_nodes=64)
    torch.testing.assert_close(again.sample(3, seed=5, condition=asked), x, atol=1e-4, rtol=1e-4)


def test_weights_hold_all_resolutions(runs, tmp_path):
    top, card = load_pretrained(runs / "top")
    assert card.data["shape"] == [8, 8] and card.model["node_conditions"] == 2
    below, theirs = load_pretrained(runs / "low")
    lowest = top.coarse.coarse
    for name, value in below.net.state_dict().items():
        assert torch.equal(lowest.net.state_dict()[name], value)
    assert torch.equal(lowest.spectrum.log_power, below.spectrum.log_power)
    assert theirs.data["shape"] == [2, 2] and theirs.data["spacing"] == 4.0 and lowest.coarse is None
    save_pretrained(tmp_path / "copy.safetensors", top, card)
    found = FieldGenerator.from_pretrained(tmp_path / "copy.safetensors", device="cpu", steps=3).sample(2)
    torch.testing.assert_close(found, FieldGenerator.from_pretrained(runs / "top", device="cpu", steps=3).sample(2))


def test_training_leaves_the_coarser_weights_and_goes_on(runs, tmp_path):
    recipe = runs / "top.yaml"
    before = load_pretrained(runs / "top")[0].coarse.net.state_dict()
    assert main(["train", str(recipe), "-o", str(runs / "top"), "train.max_steps=3", "--resume", "--quiet"]) == 0
    after, card = load_pretrained(runs / "top")
    assert card.training["steps"] == 3
    assert all(torch.equal(before[name], value) for name, value in after.coarse.net.state_dict().items())


def test_by_the_command_line(runs, tmp_path, capsys):
    made, path = tmp_path / "made.h5", tmp_path / "paths.h5"
    options = ["--steps", "3", "--quiet", "--guide", "smoothness=0.1", "--ask", "amplitude=1", "--guidance", "2"]
    for name, shape in (("top", (4, 8, 8, 1)), ("mid", (4, 4, 4, 1))):
        weights = ["--weights", str(runs / name), "-n", "4", "-o", str(made), "--trajectory", str(path)]
        assert main(["sample", *weights, *options]) == 0
        with h5py.File(made) as file:
            assert file["x"].shape == shape
        assert main(["evaluate", str(made)]) == 0 and "covariance" in capsys.readouterr().out
        assert main(["plot", str(made), "-o", str(tmp_path / "a.png")]) == 0
    np.save(tmp_path / "known.npy", np.zeros((8, 8, 1)))
    keep = ["--keep", str(tmp_path / "known.npy")]
    assert main(["sample", "--weights", str(runs / "top"), "-n", "1", "-o", str(made), "--quiet", *keep]) == 1
    assert "weights of several resolutions keep no known values" in capsys.readouterr().err


def test_a_gaussian_law_is_drawn_as_it_is(folder, tmp_path):
    """Without a network, so by the best linear denoisers."""
    data = fields(folder, parameters={}, num_samples=1000)
    for name, more in (("low", {"coarsen": 2}), ("top", {"coarse": str(tmp_path / "low")})):
        recipe = recipe_from({"data": data | more, "process": PROCESS, "model": MODEL, "train": TRAIN})
        denoiser, card = _model(recipe, recipe.task.datamodule(recipe), None)
        (tmp_path / name).mkdir()
        save_pretrained(tmp_path / name / "weights.safetensors", denoiser, card)
    generator = FieldGenerator.from_pretrained(tmp_path / "top", device="cpu", steps=25)
    operator = laplacian_operator(generator.graph(), dtype=torch.float64)
    found = power_spectrum(generator.sample(400), operator)[:, 0]
    held = fields_of(data | {"seed": 1, "kinds": "cycle", "spacing": 1.0}, data["root"], "test", 1000)
    wanted = power_spectrum(held.fields, operator)[:, 0]
    smooth = operator.eigenvalues[0].argsort()[:5]  # which the means decide; what is in blocks depends on more than λ
    assert abs(float((found / wanted)[smooth].log().mean())) < 0.12
    assert abs(float(found.sum() / wanted.sum()) - 1) < 0.12


def test_what_is_shown_adds_up(runs, folder):
    model = {**MODEL, "conditions": ["amplitude"]}
    recipe = recipe_from({"data": fields(folder, coarse=str(runs / "mid")), "process": PROCESS, "model": model})
    data = recipe.task.datamodule(recipe)
    assert isinstance(data, FieldDataModule)
    batch = Batch.from_data_list([data.train[k] for k in range(3)])
    operator, detail, told = data.present(batch, Draws(torch.Generator(), 3, 192))
    assert detail.shape == (192, 1) and told.node_condition.shape == (192, 2) and operator.num_graphs == 3
    base = told.node_condition[:, :1] * data.details.estimate.variance**0.5
    torch.testing.assert_close(base + detail, batch.x, atol=1e-4, rtol=1e-4)
    assert float(data.details.means(detail.view(3, 64, 1)).abs().max()) < 1e-3
    assert 0.3 < float(told.node_condition.std()) < 3


def test_signals_on_a_graph(folder):
    pytest.importorskip("sklearn")
    data = {"kind": "signals", "dataset": f"{__name__}:sensed", "batch_size": 8}
    assert run(folder, "coarse", data | {"coarsen": 6}, []) == 0
    assert run(folder, "fine", data | {"coarse": str(folder / "coarse")}, []) == 0
    fine = GraphSignalGenerator.from_pretrained(folder / "fine", device="cpu", steps=4)
    coarse = GraphSignalGenerator.from_pretrained(folder / "coarse", device="cpu", steps=4)
    x, y = fine.sample(4, seed=2), coarse.sample(4, seed=2)
    assert x.shape == (4, 30, 1) and y.shape == (4, 5, 1)
    found = torch.stack([fine.clusters().means(one) for one in x])
    torch.testing.assert_close(found, y, atol=5e-3, rtol=1e-3)
    assert abs(float(x.mean()) - 20) < 3  # in the units of the data
    for name, nodes in (("fine", 30), ("coarse", 5)):
        made = folder / f"{name}.h5"
        assert main(["sample", "--weights", str(folder / name), "-n", "6", "--steps", "3", "-o", str(made), "--quiet"]) == 0
        with h5py.File(made) as file:
            assert file["x"].shape == (6, nodes, 1)
        assert main(["evaluate", str(made)]) == 0


def test_signals_held_out_are_the_same_in_all_resolutions(folder):
    pytest.importorskip("sklearn")
    data = {"kind": "signals", "dataset": f"{__name__}:sensed", "batch_size": 8}
    if not (folder / "coarse").exists():
        assert run(folder, "coarse", data | {"coarsen": 6}, []) == 0
    recipe = recipe_from({"data": data | {"coarse": str(folder / "coarse"), "seed": 1}, "model": MODEL})
    with pytest.raises(RecipeError, match=r"was trained with data\.seed=0, and here it is 1"):
        recipe.task.datamodule(recipe)


def sensed() -> list:
    """Signals of mean 20 on 30 sensors."""
    graph, rng = sensor_graph(30), torch.Generator().manual_seed(0)
    x = 20 + laplacian_operator(graph).apply(lambda lam: 1 / (lam + 0.3), torch.randn(30, 60, generator=rng))
    found = []
    for k in range(60):
        item = graph.clone()
        item.x = x[:, [k]]
        found.append(item)
    return found


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ({"coarse": "nowhere"}, {}, "data.coarse: nowhere"),
        ({"coarsen": 3}, {}, "has no blocks of 3"),
        ({"coarsen": 4, "coarse": "mid"}, {}, "trained with data.coarsen=2; here it must be a larger multiple of 4"),
        ({"coarse": "mid", "law": "direction", "parameters": {}}, {"conditions": []}, "has model.conditions"),
        ({"coarse": "mid", "seed": 3}, {}, "was trained with data.seed=0, and here it is 3"),
        ({"coarse": "mid", "shape": [16, 16]}, {}, r"is of a grid \[4, 4\]"),
        ({"coarse": "mid"}, {"conditions": []}, r"has model.conditions \['amplitude'\]; give the same"),
    ],
)
def test_what_does_not_go_together(data, more, said, runs, folder):
    if "coarse" in data and data["coarse"] != "nowhere":
        data = data | {"coarse": str(runs / data["coarse"])}
    model = {**MODEL, "conditions": ["amplitude"], **more}
    with pytest.raises(RecipeError, match=said):
        recipe = recipe_from({"data": fields(folder, **data), "process": PROCESS, "model": model})
        recipe.task.datamodule(recipe)


def test_many_graphs_have_no_resolutions():
    recipe = recipe_from({"data": {"kind": "signals", "dataset": f"{__name__}:two_graphs", "coarsen": 2}})
    with pytest.raises(RecipeError, match="resolutions are of signals of one graph, and these are on 2"):
        recipe.task.datamodule(recipe)
    with pytest.raises(RecipeError, match="means over clusters need all values"):
        recipe_from({"data": {"kind": "signals", "path": "a.npz", "mask": "seen", "coarsen": 2}})


def two_graphs() -> list:
    return [sensor_graph(8 + k % 2).update({"x": torch.randn(8 + k % 2, 1)}) for k in range(6)]
