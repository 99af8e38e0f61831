"""Every network of molecules is trained, samples, keeps atoms, follows conditions and rates what it draws."""

import numpy as np
import pytest
import torch
from rdkit import Chem

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.cli import main
from pyg_diffusion.nn import AtomNet, EnergyNet
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.finetune import finetune_recipe
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.weights_io import load_pretrained

KINDS = ["graph", "eps", "score", "energy", "mlp"]
VE = {"gamma": 0.0, "lambda0": 0.0}
QUICK = {"max_steps": 20, "val_every": 20, "threads": 1, "accelerator": "cpu", "bf16": False, "miner": "none"}


def recipe(store, kind, model=None, **train_options) -> dict:
    sizes = {"width": 16, "depth": 1} | ({} if kind == "mlp" else {"heads": 2})
    return {
        "data": {"store": [str(store)], "batch_size": 8, "val_fraction": 0.2},
        "process": {} if kind == "graph" else VE,
        "model": {"kind": kind, **sizes, **(model or {})},
        "optimizer": {"warmup": 1},
        "train": QUICK | train_options,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_trains_and_samples(kind, store_path, molecules, tmp_path):
    """Twenty steps with exact targets, then conformers of two molecules, whatever they are worth."""
    config = recipe_from(recipe(store_path, kind))
    assert config.exact_targets == ("rotations", "mirror", "labels")
    result = train(config, tmp_path / "run", progress=False)
    denoiser, card = load_pretrained(result.weights)
    assert np.isfinite(result.val_loss) and card.model["atoms"] is True and card.model["kind"] == kind
    net = denoiser.net.net if isinstance(denoiser.net, EnergyNet) else denoiser.net
    assert isinstance(net, AtomNet) == (kind != "mlp")
    generator = ConformerGenerator.from_pretrained(result.weights, steps=4, device="cpu", unsound="keep")
    made = generator.sample([molecules[2], molecules[8]], 2, seed=1, max_attempts=1)
    assert [c.positions.shape for c in made] == [(2, 13, 3), (2, 15, 3)]
    assert all(np.isfinite(c.positions).all() and ((c.confidence > 0) & (c.confidence < 1)).all() for c in made)


def test_atoms_are_kept_and_conditions_followed(store_path, molecules, tmp_path):
    model = {"conditions": ["radius_of_gyration"]}
    result = train(recipe_from(recipe(store_path, "eps", model)), tmp_path / "run", progress=False)
    generator = ConformerGenerator.from_pretrained(result.weights, steps=4, device="cpu", unsound="keep", confidence=False)
    butanol = molecules[8]
    fixed = np.full((len(butanol.z), 3), np.nan, np.float32)
    fixed[:4] = butanol.pos[0][:4]
    (kept,) = generator.sample([butanol], 2, seed=1, max_attempts=1, fixed=[fixed])
    assert np.abs(kept.positions[:, :4] - fixed[:4]).max() < 1e-3
    free, asked, twice = (
        generator.sample([butanol], 1, seed=1, max_attempts=1, **options)[0].positions
        for options in ({}, {"condition": {"radius_of_gyration": 2.0}},
                        {"condition": {"radius_of_gyration": 2.0}, "guidance": 2.0})
    )  # fmt: skip
    assert np.abs(free - asked).max() > 1e-4 and np.abs(twice - asked).max() > 1e-4


def test_the_command_line_takes_such_weights(store_path, tmp_path):
    """train, sample with guidance by a term and a kept fragment, evaluate, plot."""
    run, sdf, table = tmp_path / "run", tmp_path / "made.sdf", tmp_path / "table.json"
    options = ["model.kind=graph", "model.width=16", "model.depth=1", "model.heads=2", "train.max_steps=4"]
    options += ["data.batch_size=8", "data.val_fraction=0.2", "train.accelerator=cpu", "train.threads=1", "train.bf16=true"]
    (tmp_path / "r.yaml").write_text(f"data: {{store: [{store_path}]}}\n")
    assert main(["train", str(tmp_path / "r.yaml"), *options, "-o", str(run), "--quiet"]) == 0
    asked = ["CCO", "CC=O", "-n", "2", "--weights", str(run), "--steps", "4", "--guide", "clashes=0.1", "--unsound", "keep"]
    assert main(["sample", *asked, "--attempts", "1", "--quiet", "-o", str(sdf)]) == 0
    assert len([r for r in read_sdf(sdf) if isinstance(getattr(r, "mol", None), Chem.Mol)]) == 4
    assert main(["evaluate", str(sdf), str(sdf), "--busters", "0", "-j", "1", "-o", str(table)]) == 0
    assert main(["plot", str(table), "-o", str(tmp_path / "p.png")]) == 0 and (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["graph", "energy"])
def test_they_go_on_from_weights_in_bf16_without_an_eigenbasis(kind, store_path, tmp_path):
    """Chebyshev filters, and `finetune` of what they made; the network is told that nodes are atoms, not asked."""
    first = recipe(store_path, kind, max_steps=2, val_every=2, bf16=True)
    first["data"]["backend"] = "chebyshev"
    source = train(recipe_from(first), tmp_path / "first", progress=False)
    more = ["train.max_steps=2", "train.accelerator=cpu", "data.batch_size=8", "train.threads=1"]
    config = finetune_recipe(str(store_path), "own", str(source.weights), overrides=more)
    assert config.model.kind == kind and config.data.backend == "chebyshev" and config.exact_targets == ()
    result = train(config, tmp_path / "second", progress=False)
    assert np.isfinite([source.val_loss, result.val_loss]).all() and load_pretrained(result.weights)[1].model["atoms"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"kind": "eps"}}, "eps predicts ε, so its errors are divided by φ, which is 4e-93 in the fastest modes"),
        ({"model": {"kind": "energy"}, "process": {"gamma": 0.0, "lambda0": 0.4}}, r"by φ, which is 0\.0003 in"),
        (
            {"model": {"kind": "graph"}, "data": {"hydrogens": "second"}},
            "second goes with model.kind conformer and",
        ),
        ({"model": {"kind": "graph", "levels": ["a"]}}, "model.levels: no such key; there are kind, width"),
        ({"model": {"kind": "eps", "conditions": ["mass"]}, "process": VE}, "no property 'mass'; there are"),
    ],
)
def test_what_does_not_go_together_is_said(change, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(change)


def test_a_recipe_of_ddpm_is_within_bounds():
    process = {"gamma": 0, "lambda0": 1, "noise": "matched", "tau_max": 10.05, "schedule": "linear"}
    assert recipe_from({"model": {"kind": "eps"}, "process": process}).model.kind == "eps"
    assert torch.exp(torch.tensor(-0.5 * 10.05)) > 1e-3
