"""What a researcher would combine: networks, objectives, samplers, schedules and miners of every task."""

import importlib.util
import itertools
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_diffusion.data import MoleculeStore, write_store
from pyg_diffusion.tasks import task_of
from pyg_diffusion.train import train
from pyg_diffusion.weights_io import join_stages, load_pretrained

PATH = Path(__file__).parent.parent / "docs" / "crossing.py"
_spec = importlib.util.spec_from_file_location("crossing_page", PATH)
assert _spec is not None and _spec.loader is not None
crossing = sys.modules["crossing_page"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(crossing)
FEW, COVERING = crossing.covering(1), crossing.covering(2)
QUICK = [cell for cell in FEW if cell.task != "signals" or cell.network == "graph"]  # signals have the networks of fields


@pytest.fixture(scope="session")
def ensembles(molecules, tmp_path_factory):
    """The ten molecules with energies of their conformers, as a store."""
    path = tmp_path_factory.mktemp("ensembles") / "ten.h5"
    write_store(path, [replace(molecule, energies=[0.0, 1.0, 3.0]) for molecule in molecules])
    return path


def test_the_page_is_that_of_the_recipes():
    assert crossing.PAGE.read_text(encoding="utf-8") == crossing.page(), "run: python docs/crossing.py"


def test_few_cells_have_every_option_and_more_have_every_two():
    options = crossing.allowed()
    for together, found in ((1, FEW), (2, COVERING)):
        rows = [((cell.task, cell.network), cell.objective, cell.sampler, cell.schedule, cell.miner) for cell in found]
        assert len(set(rows)) == len(rows)
        met = {parts for row in rows for parts in itertools.combinations(enumerate(row), together)}
        wanted = set()
        for net, kinds in options.items():
            for row in itertools.product([net], *kinds.values()):
                wanted |= set(itertools.combinations(enumerate(row), together))
        assert met == wanted


def test_what_goes_with_the_network_goes_together():
    """A refusal is of one option with the network; of the whole product a part is tried."""
    options, rng = crossing.allowed(), random.Random(0)
    for _ in range(40):
        net = rng.choice(list(options))
        names = [rng.choice(names) for names in crossing.OPTIONS.values()]
        each = [name in good for name, good in zip(names, options[net].values(), strict=True)]
        reason = crossing.refusal(crossing.Cell(*net, *names))
        assert (reason == "") == all(each)
        assert "\n" not in reason and len(reason) < 250


def runs(cell, setting, folder) -> np.ndarray:
    """What a cell samples after 20 steps."""
    recipe = cell.recipe(setting, max_steps=20, val_every=20)
    result = train(recipe, folder / "run", progress=False)
    assert result.steps == 20 and np.isfinite(result.val_loss)
    weights = result.weights
    if cell.network == "hydrogen":
        first = setting.recipe("molecules", "conformer", {"hydrogens": "second"}, max_steps=1)
        weights = folder / "both.safetensors"
        join_stages(train(first, folder / "first", progress=False).weights, result.weights, weights)
    denoiser, card = load_pretrained(weights)
    steps = {} if cell.sampler or cell.task == "matrices" else {"steps": 3}
    generator = task_of(card).generator(denoiser, card, device="cpu", **EXTRA[cell.task], **steps)
    return SAMPLES[cell.task](generator, setting)


def conformers(generator, setting) -> np.ndarray:
    butanol = MoleculeStore(setting.store)[8]  # no stereo, which 20 steps do not teach
    (made,) = generator.sample([butanol], 1, max_attempts=1)
    return made.positions


def inverses(generator, setting) -> np.ndarray:
    return generator.invert(2 * torch.eye(4)).numpy()


EXTRA = {
    "molecules": {"unsound": "keep", "confidence": False},
    "fields": {},
    "matrices": {"landscapes": 2, "steps": 2},
    "signals": {},
}
SAMPLES = {
    "molecules": conformers,
    "fields": lambda generator, setting: generator.sample(2).numpy(),
    "matrices": inverses,
    "signals": lambda generator, setting: generator.sample(2).numpy(),
}
SHAPES = {"molecules": (1, 15, 3), "fields": (2, 36, 1), "matrices": (4, 4), "signals": (2, 20, 1)}


@pytest.mark.parametrize(
    "cell",
    [
        *QUICK,
        *(pytest.param(cell, marks=pytest.mark.slow) for cell in dict.fromkeys([*FEW, *COVERING]) if cell not in QUICK),
    ],
    ids=lambda cell: "-".join(part for part in vars(cell).values() if part),
)
def test_a_cell_trains_and_samples(cell, ensembles, tmp_path):
    setting = crossing.Setting("cpu", ensembles, tmp_path, True)
    drawn = runs(cell, setting, tmp_path)
    assert drawn.shape == SHAPES[cell.task] and np.isfinite(drawn).all()
