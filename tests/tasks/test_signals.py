"""The task of signals of one's own, from files and data sets to samples, scores and pictures, by the command line."""

import json
from functools import partial

import h5py
import numpy as np
import pytest
import torch
import yaml
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from pyg_diffusion.cli import main
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.data.signal_file import arrays_of, read_signals, write_signals
from pyg_diffusion.data.signals import Names, SignalSet, from_items
from pyg_diffusion.generate import Steering
from pyg_diffusion.metrics.field_measures import compare_fields
from pyg_diffusion.metrics.fields import wasserstein
from pyg_diffusion.spectral import ChebyshevOperator, ExactOperator, LowRankOperator, PowerSpectrum
from pyg_diffusion.tasks import TASKS, owner, recipe_from
from pyg_diffusion.tasks.backend import BackendOptions
from pyg_diffusion.tasks.signals.data import SignalsDataModule
from pyg_diffusion.tasks.signals.facts import Facts
from pyg_diffusion.tasks.signals.generator import GraphSignalGenerator
from pyg_diffusion.tasks.signals.laplacian import SignalLaplacian
from pyg_diffusion.tasks.signals.prior import fill, fit_spectrum
from pyg_diffusion.tasks.signals.source import part
from pyg_diffusion.train import RecipeError
from pyg_diffusion.train.datamodule import Draws

REST = {
    "process": {"gamma": 1.0, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-4, "tau_max": 10.0},
    "train": {"max_steps": 3, "val_every": 3, "threads": 1, "bf16": False},
}
MODEL = {"width": 8, "depth": 1, "heads": 2}
MEAN = 20.0


def sensors(nodes: int, rng: np.random.Generator) -> Data:
    """Random points in a square, each joined to the four nearest."""
    pos = torch.from_numpy(rng.random((nodes, 2))).float()
    near = torch.cdist(pos, pos).topk(5, largest=False).indices[:, 1:]
    edges = torch.stack([torch.arange(nodes).repeat_interleave(4), near.flatten()])
    return Data(edge_index=to_undirected(edges, num_nodes=nodes), pos=pos, num_nodes=nodes)


def law(graph: Data, count: int, rng: np.random.Generator) -> torch.Tensor:
    """Signals N(20, 1/(L + .3)²), `[count, N, 1]`."""
    noise = torch.from_numpy(rng.standard_normal((int(graph.num_nodes or 0), count))).float()
    return MEAN + laplacian_operator(graph).apply(lambda lam: 1 / (lam + 0.3), noise).T[:, :, None]


def items(**options) -> list[Data]:
    """Many graphs, as a data set would give them."""
    rng, found = np.random.default_rng(options.get("seed", 0)), []
    for k in range(24):
        graph = sensors(int(rng.integers(7, 12)), rng)
        graph.y, graph.kind = law(graph, 1, rng)[0, :, 0], torch.tensor(k % 3)
        found.append(graph)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run on one graph, `one`, told an amplitude, and one on many, `many`, told a class."""
    folder, rng = tmp_path_factory.mktemp("signals"), np.random.default_rng(0)
    graph, scale = sensors(20, rng), rng.uniform(0.5, 2.0, 60)
    x = MEAN + torch.from_numpy(scale).float()[:, None, None] * (law(graph, 60, rng) - MEAN)
    arrays = {"edge_index": graph.edge_index, "pos": graph.pos, "x": x, "scale": torch.from_numpy(scale)}
    np.savez(folder / "one.npz", **{name: value.numpy() for name, value in arrays.items()})
    recipes = {
        "one": ({"path": str(folder / "one.npz"), "batch_size": 16}, ["scale"]),
        "many": (
            {"dataset": f"{__name__}:items", "signal": "y", "split": "graph", "categories": ["kind"], "batch_size": 8},
            ["kind"],
        ),
    }
    for name, (data, conditions) in recipes.items():
        recipe = {"data": {"kind": "signals", **data}, "model": {**MODEL, "conditions": conditions}, **REST}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        assert main(["train", str(folder / f"{name}.yaml"), "-o", str(folder / name), "--quiet"]) == 0
    return folder


def sample(runs, name: str, target, *options: str) -> int:
    return main(["sample", "--weights", str(runs / name), "--steps", "4", "-o", str(target), "--quiet", *options])


def test_one_graph_by_the_command_line(runs, tmp_path, capsys):
    made, result, drawn = tmp_path / "made.h5", tmp_path / "made.json", tmp_path / "paths.h5"
    assert sample(runs, "one", made, "-n", "6", "--ask", "scale=1.5", "--trajectory", str(drawn)) == 0
    found = read_signals(made, Names(scalars=("scale",)))
    assert found.stacked().shape == (6, 20, 1) and found.scalars["scale"].tolist() == [1.5] * 6
    assert abs(float(found.stacked().mean()) - MEAN) < 3  # in the units of the data
    assert owner(made) is owner(runs / "one.npz") is TASKS["signals"]
    capsys.readouterr()
    assert main(["evaluate", str(made), "-o", str(result), "--baselines"]) == 0
    table = capsys.readouterr().out
    scores = json.loads(result.read_text())
    assert {"pyg_diffusion", "held-out samples", "gaussian_cov"} <= set(scores["methods"]) and "covariance" in table
    assert len(scores["eigenvalues"]) == 20 and owner(result) is TASKS["signals"]
    assert owner(drawn) is TASKS["signals"]
    assert main(["plot", str(made), "-o", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 3000


@pytest.mark.slow
def test_pictures_of_all_that_is_written(runs, tmp_path):
    made, result, drawn = tmp_path / "made.h5", tmp_path / "made.json", tmp_path / "paths.h5"
    for name in ("one", "many"):
        assert sample(runs, name, made, "-n", "6", "--trajectory", str(drawn)) == 0
        assert main(["evaluate", str(made), "-o", str(result)]) == 0
        for source in (made, result, drawn, runs / "one.npz"):
            assert main(["plot", str(source), "-o", str(tmp_path / "a.png")]) == 0
            assert (tmp_path / "a.png").stat().st_size > 3000


def test_many_graphs_by_the_command_line(runs, tmp_path, capsys):
    made, again = tmp_path / "made.h5", tmp_path / "again.h5"
    assert sample(runs, "many", made, "-n", "4", "--guidance", "2", "--ask", "kind=2") == 0
    found = read_signals(made, Names(scalars=("kind",)))
    assert len(found) == 4 and found.scalars["kind"].tolist() == [2] * 4
    assert sample(runs, "many", again, str(made), "-n", "2") == 0  # on the graphs of a file, asked what it says
    both = read_signals(again, Names(scalars=("kind",)))
    assert both.sizes().tolist() == found.sizes().repeat(2).tolist() and both.scalars["kind"].tolist() == [2] * 8
    assert main(["evaluate", str(made)]) == 0 and main(["evaluate", str(made), str(again)]) == 0
    assert "values_wasserstein" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("many", ["--ask", "kind=7"], "kind is one of 0, 1, 2, not 7"),
        ("one", ["--ask", "heat=7"], "--ask heat: these weights were not trained with it"),
        ("one", ["a.h5", "b.h5"], "one file of graphs is enough"),
        ("one", ["none.h5"], "none.h5: no such file"),
        ("many", ["--keep", "known.npy"], "give a file of signals with their graphs"),
        ("one", ["--keep", "known.npy"], r"known values must be [20, 1], NaN where free; got [3, 1]"),
        ("one", ["--keep", "known.npy", "a.h5"], "--keep brings its own graphs"),
        ("one", ["--frames", "3"], "--frames goes with --trajectory"),
    ],
)
def test_options_that_cannot_be_kept(name, options, said, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("known.npy", np.ones((3, 1)))
    assert sample(runs, name, "out.h5", *options) in (1, 2)
    assert said in capsys.readouterr().err and not (tmp_path / "out.h5").exists()


def test_weights_of_one_graph_refuse_another(runs, tmp_path, capsys):
    made = tmp_path / "made.h5"
    assert sample(runs, "many", made, "-n", "1") == 0
    assert sample(runs, "one", tmp_path / "b.h5", str(made)) == 1
    assert "these weights are of one graph, and this is another" in capsys.readouterr().err
    generator = GraphSignalGenerator.from_pretrained(runs / "many", device="cpu", steps=3)
    with pytest.raises(ValueError, match="give those that signals are wanted on"):
        generator.sample(2)
    flat = read_signals(made).data(0)
    del flat.pos
    with pytest.raises(ValueError, match=r"graph 0: these weights read positions, pos \[N, 2\]"):
        generator.sample_on([flat])


def test_a_signal_depends_on_its_number_alone(runs):
    generator = GraphSignalGenerator.from_pretrained(runs / "one", device="cpu", steps=3)
    three = generator.sample(3, seed=5)
    generator = GraphSignalGenerator.from_pretrained(runs / "one", device="cpu", steps=3, max_nodes=20)
    torch.testing.assert_close(generator.sample(3, seed=5), three, rtol=1e-4, atol=1e-3)
    each = generator.sample(2, seed=5, condition=[{"scale": 0.5}, {"scale": 2.0}])
    same = generator.sample(2, seed=5, condition={"scale": 0.5})
    torch.testing.assert_close(each[0], same[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "data.path: give either path, a file, or dataset"),
        ({"path": "a.npz", "dataset": "a:B"}, "data.path: give either path, a file, or dataset"),
        ({"path": "a.npz", "arguments": {"a": 1}}, "data.arguments: they are those of a dataset"),
        ({"path": "a.npz", "time": "t"}, "data.time: it goes with split: time"),
        ({"path": "a.npz", "val_fraction": 0.6, "test_fraction": 0.5}, "leaves nothing to train on"),
        ({"path": "a.npz", "categories": ["y"]}, "data.categories: 'y' is no condition"),
        ({"path": "a.npz", "modes": 4}, "data.modes: 4 is for backend lowrank and has no effect on auto"),
    ],
)
def test_recipes_that_cannot_be(data, said):
    with pytest.raises(RecipeError, match=said):
        recipe_from({"data": {"kind": "signals", **data}})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"path": "none.npz"}, "data: none.npz: no such file"),
        ({"dataset": "json:nothing"}, "data: dataset: json:nothing"),
        ({"dataset": "json:loads"}, "data: dataset: json:loads: TypeError"),
        ({"dataset": "builtins:int"}, "gives a int, which has no items"),
        ({"dataset": "builtins:list"}, "builtins:list: there are no signals"),
    ],
)
def test_data_that_cannot_be_read(data, said):
    recipe = recipe_from({"data": {"kind": "signals", **data}})
    with pytest.raises(RecipeError, match=said):
        recipe.task.datamodule(recipe)


def test_parts_by_index_graph_and_time():
    rng = np.random.default_rng(1)
    graphs = [sensors(6, rng) for _ in range(6)]
    found = from_items(
        [Data(**graphs[k % 6].to_dict(), x=torch.full((6, 1), float(k)), t=-k) for k in range(60)], Names(scalars=("t",))
    )

    def parted(**options):
        recipe = recipe_from(
            {"data": {"kind": "signals", "path": "a.npz", "val_fraction": 0.2, "test_fraction": 0.2, **options}}
        )
        pieces = part(recipe.data, found)
        numbers = [{int(x[0, 0]) for x in piece.x} for piece in pieces]
        assert set.union(*numbers) == set(range(60)) and sum(map(len, numbers)) == 60
        return numbers

    assert [len(piece) for piece in parted()] == [36, 12, 12]
    by_graph = [{k % 6 for k in piece} for piece in parted(split="graph")]
    assert [len(piece) for piece in by_graph] == [4, 1, 1] and not by_graph[0] & by_graph[1]
    assert parted(split="time")[2] == set(range(48, 60))  # in their order
    assert parted(split="time", time="t")[2] == set(range(12))  # the latest


def test_signals_are_scaled_by_what_is_trained_on(runs):
    recipe = recipe_from(yaml.safe_load((runs / "one.yaml").read_text()))
    module = recipe.task.datamodule(recipe)
    assert isinstance(module, SignalsDataModule)
    x = module.train.signals.stacked()
    torch.testing.assert_close(x.mean(0), torch.zeros(20, 1), rtol=0, atol=1e-5)  # each node about its own mean
    torch.testing.assert_close(x.square().mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    graph = module.train.signals.graphs[0]
    assert float(graph.edge_weight.sum()) / 20 == pytest.approx(1, rel=1e-6)  # the mean degree
    packed = Facts.unpacked(json.loads(json.dumps(module.facts.packed())))
    torch.testing.assert_close(
        packed.restored(x), read_signals(runs / "one.npz").stacked()[find(module, runs)], rtol=1e-4, atol=1e-4
    )
    told = module.present(next(iter(module.val_dataloader())), Draws(torch.Generator(), 6, 120))[2]
    assert told.condition.shape == (6, 1) and "x" not in told


def find(module, runs) -> list[int]:
    """Numbers of the training signals in the file."""
    scale = read_signals(runs / "one.npz", Names(scalars=("scale",))).scalars["scale"]
    return [int((scale - s).abs().argmin()) for s in module.train.conditions[:, 0]]


def test_a_class_is_asked_and_withheld_as_a_whole(runs):
    recipe = recipe_from(yaml.safe_load((runs / "many.yaml").read_text()))
    module = recipe.task.datamodule(recipe)
    assert module.model_facts()["conditions"] == ["kind:0", "kind:1", "kind:2"]
    assert bool((module.train.conditions.sum(1) == 1).all())
    withheld = module.withheld(Draws(torch.Generator().manual_seed(0), 1000, 0), 3, 0.3)
    assert bool((withheld.all(1) == withheld.any(1)).all()) and 0.25 < float(withheld.float().mean()) < 0.35


@pytest.fixture(scope="module")
def holes(runs):
    """The data of `one` with a fifth of the values missing: the file, and where they are."""
    arrays = dict(np.load(runs / "one.npz"))
    mask = np.random.default_rng(5).random(arrays["x"].shape) > 0.2
    whole, arrays["x"] = arrays["x"], np.where(mask, arrays["x"], np.nan)
    np.savez(runs / "holes.npz", seen=mask, **arrays)
    return runs / "holes.npz", mask, whole


def test_missing_values_are_filled_in_with_their_spread(runs, holes, tmp_path, capsys):
    path, mask, whole = holes
    made, known = tmp_path / "made.h5", tmp_path / "known.npy"
    np.save(known, np.where(mask[3], whole[3], np.nan))
    assert sample(runs, "one", made, "-n", "8", "--keep", str(known)) == 0
    drawn = read_signals(made).stacked().numpy()
    wanted = np.broadcast_to(whole[3][mask[3]], (8, int(mask[3].sum())))
    np.testing.assert_allclose(drawn[:, mask[3]], wanted, atol=2e-3)
    with h5py.File(made) as file:
        mean, spread = file["filled_mean"][...], file["filled_spread"][...]
        assert file["filled"][...].tolist() == [0] * 8
    np.testing.assert_allclose(spread, drawn.std(0, ddof=1), atol=1e-3)
    np.testing.assert_allclose(mean, drawn.mean(0), atol=1e-3)
    assert float(spread[~mask[3]].min()) > 0.05 > float(spread[mask[3]].max())
    few = tmp_path / "few.npz"
    arrays = dict(np.load(path))
    np.savez(few, **{name: arrays[name] for name in ("edge_index", "pos")}, x=arrays["x"][:5], scale=arrays["scale"][:5])
    assert sample(runs, "one", made, "-n", "2", "--keep", str(few)) == 0  # all signals of a file, told what it says of them
    with h5py.File(made) as file:
        assert file["filled"].shape == (10,) and file["filled_mean"].shape == (100, 1) and "scale" in file
    np.testing.assert_allclose(read_signals(made).stacked()[::2].numpy()[mask[:5]], whole[:5][mask[:5]], atol=5e-3)
    assert main(["evaluate", str(few), str(few)]) == 1
    assert "name a mask of known values" in capsys.readouterr().err


def test_held_out_signals_with_gaps_are_scored(runs, holes, tmp_path, capsys):
    """Those of the data and those of a file: by what is known, and by the whole ones; how many there were is said."""
    path, mask, whole = holes
    x, seen = torch.from_numpy(whole[:40]).float(), mask.copy()
    seen[:30], seen[30:, 1:] = True, True  # the first half is whole, node 0 is missing in some of the others
    arrays = {**dict(np.load(path)), "seen": seen}
    np.savez(tmp_path / "some.npz", **arrays | {"x": np.where(seen, whole, np.nan)})
    data = {"kind": "signals", "path": str(tmp_path / "some.npz"), "mask": "seen", "val_fraction": 0.3, "test_fraction": 0.3}
    graph = read_signals(runs / "one.npz").graphs[0]
    made, result = tmp_path / "made.h5", tmp_path / "made.json"
    write_signals(made, copies(graph, x), data)
    assert main(["evaluate", str(made), "--baselines", "-o", str(result)]) == 0
    scores = json.loads(result.read_text())
    signals = read_signals(tmp_path / "some.npz", Names(mask="seen"))
    config = recipe_from({"data": data}).data
    test = part(config, signals).test
    full = torch.stack(list(test.known)).all((1, 2))
    note = f"{int((~full).sum())} of 18 reference signals"
    assert 1 < int(full.sum()) < 18 and scores["notes"][0].startswith(f"values are missing in {note}, ")
    assert note in capsys.readouterr().out and "gaussian_cov" in scores["methods"]
    operator = laplacian_operator(graph, dtype=torch.float64)
    rows, wanted = scores["methods"]["pyg_diffusion"], compare_fields(x, test.stacked()[full], operator)
    assert rows["spectrum"] == pytest.approx(wanted["spectrum"], rel=1e-4)
    columns = [test.stacked()[torch.stack(list(test.known))[:, n, 0], n, 0] for n in range(20)]
    squares = [float(wasserstein(x[:, n].double(), column[:, None].double())) for n, column in enumerate(columns)]
    assert rows["marginal_wasserstein"] == pytest.approx(np.mean(squares) ** 0.5, rel=1e-5)
    np.savez(tmp_path / "file.npz", edge_index=arrays["edge_index"], pos=arrays["pos"], x=np.where(mask, whole, np.nan))
    write_signals(made, copies(graph, x), {})
    assert main(["evaluate", str(made), str(tmp_path / "file.npz")]) == 0  # none of which is whole
    said = capsys.readouterr().out
    count = int((~mask.all((1, 2))).sum())
    assert f"{count} of 60 reference signals" in said and ("spectrum" in said) == (count < 59)
    assert main(["plot", str(tmp_path / "file.npz"), "-o", str(tmp_path / "a.png")]) == 0


def test_signals_with_gaps_on_many_graphs(tmp_path, capsys):
    """values_wasserstein and power of all known values, the others of whole signals."""
    found = from_items(items(), Names("y"))
    values = [x.clone() for x in found.x]
    values[0][0, 0] = values[3][2, 0] = float("nan")
    arrays = arrays_of(SignalSet(found.graphs, found.graph, values))
    np.savez(tmp_path / "some.npz", **arrays)
    made, result = tmp_path / "made.h5", tmp_path / "made.json"
    write_signals(made, SignalSet(found.graphs, found.graph, [x + 0.5 for x in found.x]), {})
    assert main(["evaluate", str(made), str(tmp_path / "some.npz"), "-o", str(result)]) == 0
    assert "values are missing in 2 of 24 reference signals" in capsys.readouterr().out
    rows = json.loads(result.read_text())["methods"]["pyg_diffusion"]
    known = torch.cat(values)[~torch.cat(values).isnan()][:, None].double()
    squared = wasserstein(torch.cat(list(found.x)).double() + 0.5, known)
    assert rows["values_wasserstein"] == pytest.approx(float(squared) ** 0.5, rel=1e-5)
    assert 0 < rows["roughness_wasserstein"] < 0.2  # a constant has no roughness: 22 against 24
    np.savez(
        tmp_path / "some.npz", **arrays | {"x": np.where(np.arange(len(arrays["x"]))[:, None] % 5, arrays["x"], np.nan)}
    )
    assert main(["evaluate", str(made), str(tmp_path / "some.npz"), "-o", str(result)]) == 0
    assert json.loads(result.read_text())["methods"]["pyg_diffusion"].keys() == {"values_wasserstein", "power"}
    assert "all else needs two whole signals of each set" in capsys.readouterr().out
    assert main(["plot", str(result), "-o", str(tmp_path / "b.png")]) == 0


def test_training_completes_what_is_missing_by_its_gaussian_law(holes):
    """Known values stay; errors of the others are about twice what their neighbours leave open, not twice all."""
    path, mask, whole = holes
    bare = recipe_from({"data": {"kind": "signals", "path": str(path)}})
    with pytest.raises(RecipeError, match=r"graph 0: x is nan at signal 0.*name a mask of known values"):
        bare.task.datamodule(bare)
    recipe = recipe_from({"data": {"kind": "signals", "path": str(path), "mask": "seen", "batch_size": 16}, **REST})
    module = recipe.task.datamodule(recipe)
    assert isinstance(module, SignalsDataModule) and module.train.signals.known is None
    signals = read_signals(path, Names(mask="seen", scalars=("scale",)))
    scale = signals.scalars["scale"]
    rows = [int((scale - s).abs().argmin()) for s in part(recipe.data, signals).train.scalars["scale"]]
    x, seen = module.facts.restored(module.train.signals.stacked()), torch.from_numpy(mask[rows])
    torch.testing.assert_close(x[seen], torch.from_numpy(whole[rows]).float()[seen], rtol=1e-4, atol=1e-3)
    gap = (x - torch.from_numpy(whole[rows]).float())[~seen]
    assert 0.1 < float(gap.square().mean()) / float(torch.from_numpy(whole).float().var(0).mean()) < 1.6


def test_fill_is_the_conditional_gaussian():
    """Mean and covariance of draws, against dense matrices."""
    operator = laplacian_operator(sensors(8, np.random.default_rng(0)), dtype=torch.float64)
    lam = torch.linspace(0.05, 12, 60)
    p = PowerSpectrum(lam.log(), -2 * (lam + 0.3).log(), 1.0)
    cov = operator.matrix(p)[0]
    known = torch.tensor([True, False, True, False, True, True, False, True])
    value, shape = torch.linspace(-1, 1, 8, dtype=torch.float64), (8, 4000, 1)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal(shape))
    made = fill(operator, value[:, None, None].expand(shape), known[:, None, None].expand(shape), p, noise)[:, :, 0]
    gain = cov[:, known] @ torch.linalg.inv(cov[known][:, known])
    torch.testing.assert_close(made.mean(1), gain @ value[known], rtol=0, atol=0.05)
    torch.testing.assert_close(made.cov(), cov - gain @ cov[known], rtol=0, atol=0.06)
    assert torch.equal(made[known], value[known][:, None].expand(5, 4000))


def copies(graph: Data, x: torch.Tensor) -> SignalSet:
    return SignalSet([graph], np.zeros(len(x), int), x)


def test_the_prior_is_the_law_on_every_backend():
    """p = 1/(λ + .3)² is found from signals, by modes, by bands of a polynomial, and by the lowest modes."""
    rng = np.random.default_rng(3)
    graph = sensors(150, rng)
    x = law(graph, 200, rng) - MEAN
    lam = torch.tensor([0.2, 0.5, 1.0, 3.0, 6.0])
    for name, options, kind, where in (
        ("auto", {}, ExactOperator, lam),
        ("chebyshev", {}, ChebyshevOperator, lam),
        ("lowrank", {"modes": 40}, LowRankOperator, lam[:2]),
    ):
        laplacian = SignalLaplacian(BackendOptions(backend=name, **options), True)
        assert isinstance(laplacian.single(graph), kind)
        found = fit_spectrum(copies(graph, x), laplacian, 0)(where)[:, 0]
        torch.testing.assert_close(found * (where + 0.3) ** 2, torch.ones(len(where)), rtol=0.12, atol=0)


def test_copies_of_one_graph_are_decomposed_once():
    from torch_geometric.data import Batch

    graph = sensors(30, np.random.default_rng(4))
    batch, x = Batch.from_data_list([graph] * 3), torch.randn(90, 2)
    t = torch.tensor([[0.1], [1.0], [3.0]])
    for options in ({"backend": "dense"}, {"backend": "lowrank", "modes": 30}, {"backend": "chebyshev", "tolerance": 1e-6}):
        laplacian = SignalLaplacian(BackendOptions(**options), True)
        one, wanted = laplacian.operator(batch), laplacian_operator(batch)
        kernel = partial(lambda lam, t: torch.exp(-t * lam), t=t)
        torch.testing.assert_close(one.apply(kernel, x), wanted.apply(kernel, x), rtol=1e-4, atol=1e-4)
        assert laplacian.operator(batch) is one
    with pytest.raises(ValueError, match="too large for backend: dense; take lowrank or chebyshev"):
        SignalLaplacian(BackendOptions(), True).single(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=9000))


def test_a_condition_for_each_of_many_graphs(runs):
    generator = GraphSignalGenerator.from_pretrained(runs / "many", device="cpu", steps=3)
    graphs = items()[:2]
    made = generator.sample_on(graphs, 1, [{"kind": 0}, {}], Steering(1.5))
    assert [x.shape for x in made] == [(int(g.num_nodes or 0), 1) for g in graphs]
