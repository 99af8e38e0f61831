"""One molecule with many frames: the latest are held out."""

import numpy as np
import pytest

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.cli import main
from pyg_diffusion.data import write_store
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.train import RecipeError
from tests.conftest import embed


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[str]:
    """Ethanol with 40 frames; water with 3 and methane with one."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)

    def frames(smiles: str, count: int):
        molecule = molecule_from_mol(embed(smiles))
        molecule.pos = [molecule.pos[0] + 0.01 * rng.standard_normal(molecule.pos[0].shape) for _ in range(count)]
        return molecule

    write_store(folder / "one.h5", [frames("CCO", 40)])
    write_store(folder / "two.h5", [frames("O", 3), frames("C", 1)])
    return [str(folder / "one.h5"), str(folder / "two.h5")]


def test_the_last_frames_of_each_molecule_are_held_out(stores):
    recipe = recipe_from({"data": {"store": stores, "split": "time", "val_fraction": 0.2, "repeat": [2, 1]}})
    data = ConformerDataModule(recipe.data, seed=0)
    assert data.val.index.tolist() == [[0, 0, k] for k in range(32, 40)] + [[1, 0, 2]]
    train = [[0, 0, k] for k in range(32) for _ in range(2)] + [[1, 0, 0], [1, 0, 1], [1, 1, 0]]
    assert data.train.index.tolist() == train


def test_a_model_trains_on_one_molecule(stores, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"data: {{store: {stores[0]}, split: time, val_fraction: 0.1, batch_size: 8}}\n"
        "model: {width: 16, depths: [1], heads: 2, pair_width: 8}\n"
        "train: {max_steps: 2, val_every: 2, threads: 1, accelerator: cpu, bf16: false}\n"
    )
    assert main(["train", str(tmp_path / "r.yaml"), "-o", str(tmp_path / "run"), "--quiet"]) == 0


def test_what_cannot_be_split_is_said(stores):
    with pytest.raises(RecipeError, match=r"one molecule alone .* or data.split: time, which holds out its last conformers"):
        ConformerDataModule(recipe_from({"data": {"store": stores[0]}}).data, seed=0)
    with pytest.raises(RecipeError, match=r"data.split: time holds conformers of the stores out, and val_store is held out"):
        recipe_from({"data": {"store": stores[0], "val_store": stores[1], "split": "time"}})
