"""Weights of two stages: joined, loaded, sampled, kept atoms and all; untrained but for a few steps."""

import numpy as np
import pytest
import torch
from conftest import embed

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.skeleton import second_of, standing_in
from pyg_diffusion.chem.torsions import Torsions, torsion
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.finetune import finetune_recipe
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.kept import Pose
from pyg_diffusion.train import train
from pyg_diffusion.weights_io import WeightsError, join_stages, load_pretrained


@pytest.fixture(scope="module")
def stages(store_path, tmp_path_factory):
    """Folders of a run of each stage, and the joint weights."""
    folder = tmp_path_factory.mktemp("stages")
    options = {
        "data": {"store": [str(store_path)], "hydrogens": "second", "batch_size": 8, "val_fraction": 0.2},
        "model": {"width": 16, "depths": [1, 1], "heads": 2, "pair_width": 8, "levels": ["MMFF94s"]},
        "train": {"max_steps": 4, "val_every": 4, "threads": 1, "accelerator": "cpu"},
    }
    first = train(recipe_from(options), folder / "first", progress=False)
    options["model"] = {"kind": "hydrogen", "width": 16, "depths": [1, 1], "levels": ["MMFF94s"]}
    second = train(recipe_from(options), folder / "second", progress=False)
    join_stages(first.weights, second.weights, folder / "both.safetensors")
    return folder


@pytest.fixture(scope="module")
def generator(stages):
    return ConformerGenerator.from_pretrained(stages / "both.safetensors", steps=4, device="cpu", unsound="keep")


@pytest.fixture(scope="module")
def some():
    return [molecule_from_mol(embed(smiles), conformers=False) for smiles in ("c1ccccc1O", "CCCCO", "N#CC1CC1", "O")]


def lengths(molecule, positions):
    """Of the bonds to hydrogens that go second, `[k, H]`."""
    second = second_of(molecule)
    parent = standing_in(second, molecule.bond_index.astype(int))
    return np.linalg.norm(positions[:, second] - positions[:, parent[second]], axis=-1)


def test_one_file_holds_both(stages):
    denoiser, card = load_pretrained(stages / "both.safetensors")
    assert card.data["hydrogens"] == "second" and card.hydrogens["model"]["width"] == 16
    parts = [load_pretrained(stages / name)[0].net.state_dict() for name in ("first", "second")]
    for found, part in zip((denoiser.net, denoiser.second), parts, strict=True):
        assert all(torch.equal(v, part[k]) for k, v in found.state_dict().items())
    assert sum(p.requires_grad for p in denoiser.second.parameters()) == 0


def test_stages_are_joined_in_their_order_and_not_sampled_alone(stages, tmp_path):
    with pytest.raises(WeightsError, match=r"second: not a stage of model.kind conformer"):
        join_stages(stages / "second", stages / "first", tmp_path / "a.safetensors")
    for name in ("first", "second"):
        with pytest.raises(ValueError, match="one of two stages"):
            ConformerGenerator.from_pretrained(stages / name)


def test_conformers_near_a_pose_with_torsions_of_both_stages(generator):
    mol = embed("CCCCO")
    molecule, pose = molecule_from_mol(mol, conformers=False), mol.GetConformer().GetPositions() + 100
    locks = [(1, 2), (3, 4)]  # the second by the hydrogen of the hydroxyl group
    (result,) = generator.sample([molecule], 2, seed=1, around=[Pose(pose, 0.5, locks)])
    rows = Torsions(molecule, locks, pose).rows
    assert len(result.positions) == 2 and molecule.z[rows[1, 3]] == 1
    for pos in result.positions:
        assert [torsion(pos, row) for row in rows] == pytest.approx([torsion(pose, row) for row in rows], abs=1e-3)
        np.testing.assert_allclose(pos[:5].mean(0), pose[:5].mean(0), atol=0.02)


def test_all_atoms_come_out_in_their_order(generator, some):
    results = generator.sample(some, 3, seed=1)
    for molecule, result in zip(some, results, strict=True):
        assert result.positions.shape == (3, len(molecule.z), 3) and np.isfinite(result.positions).all()
        assert result.confidence.shape == (3,)
        found = lengths(molecule, result.positions)
        assert np.abs(found - np.where(found > 1.04, 1.09, 0.97)).max(initial=0) < 0.1  # C-H and O-H, of templates
    again = generator.sample(some[1:2], 3, seed=1, first=1)[0]  # however they are batched
    np.testing.assert_allclose(again.positions, results[1].positions, atol=1e-4)
    assert not np.allclose(generator.sample(some[1:2], 3, seed=2)[0].positions, results[1].positions, atol=0.1)


def test_what_is_kept_stays_and_its_hydrogens_with_it(generator):
    """Of butanol: three carbons with their hydrogens; a lone hydrogen; and heavy atoms without theirs."""
    mol = embed("CCCCO")
    molecule, pos = molecule_from_mol(mol, conformers=False), mol.GetConformer().GetPositions()
    second = second_of(molecule)
    parent = standing_in(second, molecule.bond_index.astype(int))
    for kept in (parent < 3, np.arange(len(second)) == 5, np.arange(len(second)) < 5):
        fixed = np.where(kept[:, None], pos, np.nan)
        found = generator.sample([molecule], 2, seed=3, fixed=[fixed])[0].positions
        assert len(found) == 2
        gap = found[:, kept] - pos[kept]
        assert np.abs(gap).max() < 2e-3


def test_steering_and_repulsion_work_on_what_the_first_stage_draws(generator, some):
    seen = []

    def energy(operator, batch):
        seen.append(batch.num_nodes)
        return lambda x: operator.graph_sum(x.square()).sum(1)

    found = generator.sample(some[:1], 2, seed=1, energy=energy, diversity=0.5)[0]
    assert found.positions.shape == (2, 13, 3) and set(seen) == {14}  # seven heavy atoms each


def test_finetuned_weights_keep_their_second_stage(stages, store_path, tmp_path):
    recipe = finetune_recipe(str(store_path), "own", str(stages / "both.safetensors"), overrides=["train.max_steps=2"])
    assert recipe.data.hydrogens == "second"
    tuned = train(recipe, tmp_path / "tuned", progress=False)
    denoiser, card = load_pretrained(tuned.weights)
    before = load_pretrained(stages / "both.safetensors")[0].second.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in denoiser.second.state_dict().items())
    assert card.hydrogens["model"]["levels"] == ["MMFF94s"] and card.model["levels"] == ["own", "MMFF94s"]
