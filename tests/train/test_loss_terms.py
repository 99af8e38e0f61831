"""Terms of the loss in recipes: logged one by one, weighted in time, held to a reference."""

import csv

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from pyg_diffusion.data import write_store
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.datamodule import Draws


def recipe(store, reference="drawn", **train_options) -> dict:
    return {
        "data": {"store": [str(store)], "batch_size": 4, "val_fraction": 0.2, "reference": reference},
        "model": {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8},
        "optimizer": {"warmup": 2},
        "train": {"max_steps": 20, "val_every": 20, "threads": 1, "accelerator": "cpu", "bf16": False, **train_options},
    }


@pytest.fixture
def ranked(molecules, tmp_path):
    """A store in which every conformer has an energy, the second the lowest."""
    for m in molecules:
        m.energies = [(k - 1.0) ** 2 for k in range(len(m.pos))]
    write_store(tmp_path / "ranked.h5", molecules)
    for m in molecules:
        m.energies = []
    return tmp_path / "ranked.h5"


def test_every_term_is_logged_and_they_sum_to_the_loss(ranked, tmp_path):
    options = {
        "objectives": {"F": 1.0, "x0": 0.1},
        "time_weight": "min_snr",
        "regularizers": {"bonds": 0.1, "reference": 0.01},
        "exact_targets": [],
    }
    config = recipe_from(recipe(ranked, "lowest", **options))
    train(config, tmp_path / "run", progress=False)
    rows = list(csv.DictReader(next(tmp_path.glob("run/logs/*/metrics.csv")).open()))
    row = next(r for r in rows if r["train/loss"])
    terms = {name: float(value) for name, value in row.items() if name.startswith("train/term_")}
    assert sorted(name.removeprefix("train/term_") for name in terms) == ["F", "bonds", "reference", "stages", "x0"]
    assert all(value > 0 for value in terms.values())
    assert sum(terms.values()) == pytest.approx(float(row["train/loss"]), rel=1e-4)


def test_the_lowest_conformer_is_the_reference_and_is_reflected_with_the_rest(ranked):
    data = ConformerDataModule(recipe_from(recipe(ranked, "lowest", regularizers={"reference": 0.1})).data, seed=0)
    items = [data.train[k] for k in range(6)]
    for item, (store, molecule, _) in zip(items, data.train.index, strict=False):
        conformers = data.stores[store][int(molecule)].pos
        wanted = conformers[min(1, len(conformers) - 1)]
        np.testing.assert_array_equal(item.reference.numpy(), wanted)
    batch = Batch.from_data_list(items)
    _, x_0, told = data.present(batch, Draws(torch.Generator().manual_seed(0), batch.num_graphs, batch.num_nodes))
    volume, reflected = [], 0
    for g in range(batch.num_graphs):
        sign = told.reference[batch.batch == g][0] / batch.reference[batch.batch == g][0]
        assert torch.equal(sign, sign[0].expand(3)) and abs(float(sign[0])) == 1
        own, shown = batch.pos[batch.batch == g], x_0[batch.batch == g]
        own, shown = own - own.mean(0), shown - shown.mean(0)
        if len(own) > 4:  # a turn has determinant 1, a reflection -1
            turn = torch.linalg.lstsq(own, shown).solution
            assert float(torch.linalg.det(turn)) == pytest.approx(float(sign[0]), abs=1e-3)
            reflected += int(sign[0] < 0)
            volume.append(g)
    assert 0 < reflected < len(volume)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"data": {"reference": "lowest"}},
            "data.reference: lowest is for train.regularizers.reference, which is not asked for",
        ),
        ({"data": {"reference": "best"}}, "data.reference must be drawn or lowest, got 'best'"),
        (
            {"train": {"time_weight": "snr"}},
            "train.time_weight must be one of none, min_snr, likelihood, edm, or module:f",
        ),
        (
            {"train": {"time_weight": "math:f"}},
            "train.time_weight: math:f: AttributeError: module 'math' has no attr",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values, message):
    with pytest.raises(RecipeError, match=message) as error:
        recipe_from(values)
    assert "\n" not in str(error.value)
