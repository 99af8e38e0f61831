"""Training: batches, optimizer, recipes, and a run that is killed and resumed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch_geometric.data import Batch

from pyg_diffusion.data import write_store
from pyg_diffusion.nn import ConformerNet, EnergyNet, GraphNet, HydrogenNet
from pyg_diffusion.tasks import TASKS, load_recipe, recipe_from
from pyg_diffusion.tasks.molecules.data import ConformerDataModule, rotations
from pyg_diffusion.train import DenoiserModule, RecipeError, train
from pyg_diffusion.train.datamodule import Draws, SizedBatches
from pyg_diffusion.train.optimizer import MuonAdamW, orthogonalize, split_parameters
from pyg_diffusion.weights_io import WeightsError, load_pretrained, union_of_domains


def recipe(store, **train_options) -> dict:
    return {
        "data": {"store": [str(store)], "batch_size": 4, "val_fraction": 0.2},
        "model": {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8},
        "optimizer": {"warmup": 2},
        "train": {"max_steps": 8, "val_every": 4, "threads": 1, "accelerator": "cpu", **train_options},
    }


def test_batches_cover_an_epoch_once_and_resume_anywhere():
    sizes = np.random.default_rng(0).integers(3, 30, 500)
    batches = SizedBatches(sizes, batch_size=16, max_pairs=4000, seed=3)
    epoch = batches.epoch(0)
    assert sorted(np.concatenate(epoch)) == list(range(500))
    assert all(len(b) <= 16 and len(b) * sizes[b].max() ** 2 <= 4000 for b in epoch)
    wasted = sum(len(b) * sizes[b].max() - sizes[b].sum() for b in epoch) / sizes.sum()
    assert wasted < 0.15  # random batches of 16 waste most of a half
    straight = [b for b, _ in zip(batches, range(2 * len(epoch) + 5), strict=False)]
    for start in (1, len(epoch), len(epoch) + 3):
        resumed = SizedBatches(sizes, 16, 4000, 3, start=lambda s=start: s)
        assert [b for b, _ in zip(resumed, range(5), strict=False)] == straight[start : start + 5]


def test_two_ranks_share_every_batch_of_one():
    sizes = np.arange(3, 40)
    one = SizedBatches(sizes, 4, 10_000, seed=0)
    half = [SizedBatches(sizes, 4, 10_000, 0, rank=r, world=2) for r in (0, 1)]
    straight, left, right = ([b for b, _ in zip(s, range(25), strict=False)] for s in (one, *half))
    for whole, a, b in zip(straight, left, right, strict=True):
        assert a and b
        assert a + b == whole or len(whole) == 1  # a batch of one is seen by both


def test_draws_do_not_depend_on_how_a_batch_is_cut():
    def draw(*counts):
        d = Draws(torch.Generator().manual_seed(3), *counts)
        return d.graph_normal(2), d.node_normal(3), d.graph_uniform(1)

    whole = draw(5, 40)
    parts = draw(2, 13, (0, 0), (5, 40)), draw(3, 27, (2, 13), (5, 40))
    for k in range(3):
        assert torch.equal(whole[k], torch.cat([part[k] for part in parts]))


def test_a_molecule_larger_than_the_budget_still_gets_a_batch():
    assert [b.tolist() for b in SizedBatches(np.array([100]), 4, 10, 0).epoch(0)] == [[0]]


def test_orthogonalize_keeps_singular_vectors():
    matrix = torch.randn(3, 24, 40)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    out = orthogonalize(matrix)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.5 and values.max() < 1.4
    mixed = u.mT @ out @ v.mT
    assert (mixed - torch.diag_embed(mixed.diagonal(dim1=1, dim2=2))).abs().max() < 0.1


def test_adam_part_equals_torch_adamw():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.arange(5.0)) for _ in range(2))
    a = MuonAdamW([], [ours], muon_lr=0.0, lr=0.1, weight_decay=0.1)
    b = torch.optim.AdamW([theirs], lr=0.1, betas=(0.9, 0.98), weight_decay=0.1)
    for _ in range(5):
        grad = torch.randn(5)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        a.step(), b.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("net", [ConformerNet(width=16, heads=2), GraphNet(2, width=16, heads=2), EnergyNet(GraphNet(2))])
def test_muon_gets_the_matrices_of_the_blocks(net):
    """Most of every network, and nothing that is no matrix; embeddings and read-outs go to AdamW."""
    matrices, others = split_parameters(net)
    assert sum(p.numel() for p in matrices) > 0.6 * sum(p.numel() for p in net.parameters())
    assert all(p.dim() == 2 for p in matrices) and len(matrices) + len(others) == len(list(net.parameters()))
    tables = {id(m.weight) for m in net.modules() if isinstance(m, torch.nn.Embedding)}
    assert not tables & {id(p) for p in matrices}


def test_rotations_are_proper_and_uniform():
    turn = rotations(torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))).double()
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).double().expand_as(turn), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(20_000).double(), atol=1e-5, rtol=0)
    assert turn.mean(0).abs().max() < 0.02  # E R = 0 under the Haar measure
    assert abs(turn[:, 0, 0].square().mean() - 1 / 3) < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"stor": ["x"]}}, "data.stor: no such key"),
        ({"train": {"max_steps": "many"}}, "train.max_steps: expected int"),
        ({"train": {"max_steps": 0}}, "must be > 0"),
        ({"optimizer": {"name": "sgd"}}, "muon or adamw"),
        ({"data": {"store": ["a"], "repeat": [1, 2]}}, "repeat has 2 entries for 1 stores"),
        ({"model": 3}, "expected a mapping"),
        ({"optimizer": {"lr": -1.0}}, "optimizer.lr must be > 0"),
        ({"optimizer": {"ema": 1.0}}, "optimizer.ema must lie in"),
        ({"train": {"exact_targets": ["turns"]}}, "train.exact_targets: turns: there are rotations"),
        ({"train": {"exact_targets": ["auto", "labels"]}}, "not 'auto'"),
        ({"train": {"exact_targets": ["mirror"]}}, "name rotations as well"),
        ({"train": {"exact_targets": ["rotations"], "log_floor": 0.1}}, "must be quadratic"),
        ({"train": {"exact_targets": ["rotations"]}, "data": {"kind": "matrices"}}, "only the drawn signal is known"),
        (
            {"train": {"exact_targets": ["rotations", "labels"]}, "model": {"conditions": ["radius_of_gyration"]}},
            "tells one conformer from another",
        ),
    ],
)
def test_wrong_recipes_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(change)


def test_recipe_from_yaml_with_overrides(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("optimizer: {lr: 1e-3}\ndata: {store: a.h5}\n")
    config = load_recipe(path, ["model.depths=[1, 1, 1]", "train.max_minutes=2"])
    assert config.optimizer.lr == 1e-3 and config.data.store == ["a.h5"]
    assert config.model.depths == [1, 1, 1] and config.train.max_minutes == 2.0
    with pytest.raises(RecipeError, match=r"expected section\.key=value"):
        load_recipe(path, ["model"])
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(path, ["data.store=[a"])
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, ("rotations", "mirror", "labels")),
        ({"model": {"conditions": ["radius_of_gyration"]}}, ("rotations",)),
        ({"train": {"log_floor": 0.1}}, ()),
        ({"data": {"kind": "fields"}}, ()),
        ({"train": {"exact_targets": []}}, ()),
        ({"train": {"exact_targets": ["rotations", "ensemble"]}}, ("rotations", "ensemble")),
    ],
)
def test_targets_are_exact_where_nothing_speaks_against_it(change, parts):
    assert recipe_from(change).exact_targets == parts


def test_candidates_are_conformers_of_the_molecule_that_is_told(store_path):
    """Each has the bond lengths of a stored one in some order, and the handedness told; the drawn one is among them."""
    options = recipe(store_path, exact_targets=["rotations", "mirror", "labels", "ensemble"])
    data = ConformerDataModule(recipe_from(options).data, seed=0, exact=TASKS["molecules"].averages)
    batch = Batch.from_data_list([data.train[k] for k in range(len(data.train))])
    operator, x_0, told = data.present(batch, Draws(torch.Generator().manual_seed(0), batch.num_graphs, batch.num_nodes))
    candidates = data.candidates(operator, x_0, told)
    assert candidates.graph.numel() > 5 * batch.num_graphs and len(candidates.conformer_graph) == 3 * batch.num_graphs
    with_centres = set(batch.batch[batch.tetra_index[0]].tolist())
    assert candidates.mirror.tolist() == [g not in with_centres for g in range(batch.num_graphs)]
    row, col = batch.edge_index
    for g in range(batch.num_graphs):
        mine = (candidates.graph == g).nonzero().squeeze(1)
        shapes = torch.stack([candidates.signal[candidates.owner == k] for k in mine])
        first = int(batch.ptr[g])
        bonds = batch.batch[row] == g
        lengths = (shapes[:, row[bonds] - first] - shapes[:, col[bonds] - first]).norm(dim=2).sort(1).values
        drawn = (x_0[row[bonds]] - x_0[col[bonds]]).norm(dim=1).sort().values
        assert ((lengths - drawn).abs().amax(1) < 1e-4).any()
        three = lengths[:: len(mine) // 3]
        assert (lengths[:, None] - three).abs().amax(2).amin(1).max() < 1e-4
        columns = told.tetra_index[:, batch.batch[told.tetra_index[0]] == g] - first
        _, a, b, c, d = (shapes[:, k] for k in columns)
        assert (torch.linalg.det(torch.stack([a - d, b - d, c - d], 2)) > 0).all()


def test_both_losses_are_logged(store_path, tmp_path):
    card = load_pretrained(train(recipe_from(recipe(store_path, max_steps=2)), tmp_path / "a", progress=False).weights)[1]
    metrics = card.metrics
    assert 0 < metrics["val/loss_exact"] < metrics["val/loss"]  # what no network can know is in the second alone
    plain = recipe_from(recipe(store_path, max_steps=2, exact_targets=[]))
    other = load_pretrained(train(plain, tmp_path / "b", progress=False).weights)[1].metrics
    assert "val/loss_exact" not in other and other["val/loss"] == pytest.approx(metrics["val/loss"], rel=0.01)


def test_split_keeps_molecules_apart(store_path):
    data = ConformerDataModule(recipe_from(recipe(store_path)).data, seed=0)
    held, kept = ({tuple(row[:2]) for row in part.index} for part in (data.val, data.train))
    assert held and kept and not held & kept
    assert len(data.val) + len(data.train) == 30  # ten molecules of three conformers
    options = recipe(store_path)
    options["data"]["store"] *= 2  # the same molecules again are still on one side only
    twice = ConformerDataModule(recipe_from(options).data, seed=0)
    held, kept = ({twice.stores[s][int(m)].smiles for s, m, _ in part.index} for part in (twice.val, twice.train))
    assert held and kept and not held & kept


def test_elements_are_those_trained_on(tmp_path, molecules):
    salt = [m for m in molecules if 11 in m.z]
    write_store(tmp_path / "a.h5", [m for m in molecules if 11 not in m.z])
    write_store(tmp_path / "val.h5", salt)
    options = recipe(tmp_path / "a.h5")
    options["data"]["val_store"] = str(tmp_path / "val.h5")
    data = ConformerDataModule(recipe_from(options).data, seed=0)
    assert 11 not in data.elements() and {1, 6, 7, 8} <= set(data.elements())
    seen = [m for m in molecules if 11 not in m.z]
    assert data.domain() == {"max_atoms": max(len(m.z) for m in seen), "charges": [-1, 0, 1]}  # a betaine is among them


def test_the_domain_of_continued_training_is_both():
    one, other = {"max_atoms": 9, "charges": [0]}, {"max_atoms": 7, "charges": [-1, 0]}
    assert union_of_domains(one, other) == {"max_atoms": 9, "charges": [-1, 0]}
    assert union_of_domains(one, {}) == union_of_domains({}, one) == {}


def test_repeat_counts_passes(store_path):
    options = recipe(store_path)
    options["data"]["repeat"] = [3]
    plain = ConformerDataModule(recipe_from(recipe(store_path)).data, 0)
    assert len(ConformerDataModule(recipe_from(options).data, 0).train) == 3 * len(plain.train)


@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_a_broken_run_resumes_as_if_it_had_not_been(end, store_path, tmp_path, monkeypatch):
    # killed: a checkpoint was written some steps before; interrupted: by Ctrl-C, which writes its own
    config = recipe_from(recipe(store_path, checkpoint_minutes=1e-6 if end == "killed" else 60.0))
    whole = train(config, tmp_path / "whole", progress=False)
    assert whole.steps == 8

    step = DenoiserModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 5:
            if end == "killed":
                raise RuntimeError("killed")
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, index)

    monkeypatch.setattr(DenoiserModule, "training_step", breaks)
    if end == "killed":
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts", progress=False)
        assert not (tmp_path / "parts" / "weights.safetensors").exists()
    else:
        broken = train(config, tmp_path / "parts", progress=False)
        assert broken.interrupted and broken.steps == 6
    monkeypatch.setattr(DenoiserModule, "training_step", step)
    with pytest.raises(RecipeError, match="already holds a run"):
        train(config, tmp_path / "parts", progress=False)
    resumed = train(config, tmp_path / "parts", resume=True, progress=False)
    assert resumed.steps == 8 and not resumed.interrupted
    one, two = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_finished_run_can_be_prolonged(store_path, tmp_path):
    train(recipe_from(recipe(store_path, max_steps=3)), tmp_path / "run", progress=False)
    assert train(recipe_from(recipe(store_path, max_steps=5)), tmp_path / "run", resume=True, progress=False).steps == 5
    before = load_file(tmp_path / "run" / "weights.safetensors")
    with pytest.raises(RecipeError, match="has ended"):
        train(recipe_from(recipe(store_path, max_steps=5)), tmp_path / "run", resume=True, progress=False)
    after = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(before[k], after[k]) for k in before)
    with pytest.raises(RecipeError, match=r"train\.seed=0"):
        train(recipe_from(recipe(store_path, max_steps=9, seed=1)), tmp_path / "run", resume=True, progress=False)
    other = recipe(store_path, max_steps=9)
    other["model"]["width"] = 32
    with pytest.raises(RecipeError, match="model"):
        train(recipe_from(other), tmp_path / "run", resume=True, progress=False)


def test_a_run_killed_before_the_export_is_finished_by_resuming(store_path, tmp_path):
    config = recipe_from(recipe(store_path, max_steps=3))
    weights = train(config, tmp_path / "run", progress=False).weights
    whole = load_file(weights)
    weights.unlink()
    again = train(config, tmp_path / "run", resume=True, progress=False)
    found = load_file(again.weights)
    assert again.steps == 3 and all(torch.equal(whole[k], found[k]) for k in whole)


def test_weights_round_trip_and_refusals(store_path, tmp_path):
    config = recipe_from(recipe(store_path, max_steps=2))
    result = train(config, tmp_path / "run", progress=False)
    denoiser, card = load_pretrained(tmp_path / "run")
    assert card.elements == [1, 6, 7, 8, 9, 11] and card.training["steps"] == 2
    assert card.domain == {"max_atoms": 19, "charges": [-1, 0, 1]}
    saved = load_file(result.weights)
    assert all(torch.equal(v, saved[k].float()) for k, v in denoiser.net.state_dict().items())

    card_path = result.weights.with_suffix(".json")
    good = card_path.read_text()
    for old, new, message in (
        ('"version": 1', '"version": 99', "weights version 99"),
        ('"format": "pyg', '"format": "xyz', "not a weights card"),
        ('"width": 16', '"width": 32', "do not fit together"),
    ):
        card_path.write_text(good.replace(old, new))
        with pytest.raises(WeightsError, match=message):
            load_pretrained(result.weights)
    card_path.write_text(good)
    result.weights.write_bytes(result.weights.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="does not match its card"):
        load_pretrained(result.weights)
    with pytest.raises(WeightsError, match="no such file"):
        load_pretrained(tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match=r"expected a \.safetensors"):
        load_pretrained(tmp_path / "nothing")


def test_trains_without_rdkit(store_path, tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe(store_path, max_steps=2)))
    code = (
        "import sys; sys.modules.update(rdkit=None)\n"
        "from pyg_diffusion.cli import main\n"
        f"sys.exit(main(['train', {str(tmp_path / 'r.yaml')!r}, '-o', {str(tmp_path / 'run')!r}, '--quiet']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_conditions_are_learned_from_the_coordinates_and_stay_with_the_weights(store_path, tmp_path):
    """The network standardises by the data's mean and spread; the card names the conditions."""
    config = recipe_from(recipe(store_path, max_steps=4, condition_dropout=0.0) | {"model": CONDITIONED})
    train(config, tmp_path / "run", progress=False)
    denoiser, card = load_pretrained(tmp_path / "run")
    assert card.model["conditions"] == ["radius_of_gyration"]
    data = ConformerDataModule(config.data, config.train.seed)
    radii = []
    for k in range(len(data.train)):
        pos = data.train[k].pos
        radii.append(float((pos - pos.mean(0)).square().sum(1).mean().sqrt()))
    np.testing.assert_allclose(float(denoiser.net.condition_mean), np.mean(radii), rtol=2e-3)
    np.testing.assert_allclose(float(denoiser.net.condition_std), np.std(radii), rtol=2e-3)
    with pytest.raises(RecipeError, match="no property 'mass'"):
        recipe_from({"model": {"conditions": ["mass"]}})
    with pytest.raises(RecipeError, match="condition_dropout"):
        recipe_from({"train": {"condition_dropout": 1.0}})


def test_begins_with_given_weights_and_learns_further_levels(store_path, molecules, tmp_path):
    first = recipe(store_path, max_steps=2)
    first["model"]["levels"] = ["MMFF94s"]
    source = train(recipe_from(first), tmp_path / "first", progress=False)
    for m, level in zip(molecules, ["MMFF94s", "mine", ""] * 4, strict=False):
        m.levels = [level] * len(m.pos)
    write_store(tmp_path / "mine.h5", molecules)
    for m in molecules:
        m.levels = []
    more = recipe(tmp_path / "mine.h5", max_steps=1, init_from=str(source.weights))
    with pytest.raises(RecipeError, match=r"model\.levels does not name mine"):
        train(recipe_from(more | {"model": first["model"]}), tmp_path / "no", progress=False)
    more["model"] = first["model"] | {"levels": ["mine", "MMFF94s"]}
    still = more | {"optimizer": {"lr": 1e-9, "muon_lr": 1e-9, "warmup": 1}}
    train(recipe_from(still), tmp_path / "second", progress=False)
    old, new = (load_pretrained(tmp_path / name)[0] for name in ("first", "second"))
    theirs, ours = old.net.state_dict(), new.net.state_dict()
    torch.testing.assert_close(ours.pop("level.weight"), theirs.pop("level.weight")[[1, 0, 1]])  # mine: as unknown
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=2e-3)
    torch.testing.assert_close(new.spectrum.log_power, old.spectrum.log_power)
    for section, change, message in (
        ("process", {"gamma": 1.0}, "another process: {'gamma': 1.33}"),
        ("model", more["model"] | {"heads": 4}, "another model: {'heads': 2}"),
    ):
        with pytest.raises(RecipeError, match=message):
            train(recipe_from(more | {section: change}), tmp_path / "third", progress=False)


CONDITIONED = {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8, "conditions": ["radius_of_gyration"]}


def test_both_stages_are_trained_from_one_data_section(store_path, tmp_path):
    """Twenty steps of each; their cards say what they are, and the weights load."""
    options = recipe(store_path, max_steps=20, val_every=10)
    options["data"]["hydrogens"] = "second"
    first = train(recipe_from(options), tmp_path / "first", progress=False)
    _, card = load_pretrained(first.weights)
    laplacian = {"weight": "unit", "normalized": False, "backend": "dense"}
    assert card.data == {"kind": "molecules", "hydrogens": "second", **laplacian} and card.model["kind"] == "conformer"
    assert card.elements[0] == 1 and card.domain["max_atoms"] > 12  # of whole molecules
    options["model"] = {"kind": "hydrogen", "width": 16, "depths": [1, 1]}
    second = train(recipe_from(options), tmp_path / "second", progress=False)
    denoiser, card = load_pretrained(second.weights)
    assert isinstance(denoiser.net, HydrogenNet) and card.model["kind"] == "hydrogen"
    assert np.isfinite([first.val_loss, second.val_loss]).all() and {"val/error", "val/entropy"} <= set(card.metrics)


def test_skeletons_are_what_the_first_stage_sees(store_path):
    options = recipe(store_path)
    options["data"]["hydrogens"] = "second"
    data = ConformerDataModule(recipe_from(options).data, seed=0)
    assert data.train.sizes().tolist() == [item.num_nodes for item in data.train]
    water = [item for item in data.train if item.smiles == "O"]
    assert all((item.z > 1).all() for item in data.train if item.smiles != "O") and all(len(i.z) == 3 for i in water)


@pytest.mark.parametrize("wrong", [{"hydrogens": "third"}, {"hydrogens": "first"}])
def test_the_second_stage_needs_hydrogens_that_go_second(wrong):
    with pytest.raises(RecipeError, match=r"hydrogens"):
        recipe_from({"data": {"kind": "molecules", "store": ["a.h5"], **wrong}, "model": {"kind": "hydrogen"}})
