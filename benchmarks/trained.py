"""Whose weights a benchmark judges: weights given, trained here by a recipe, those of the package, or a small model.

From a clean checkout one command comes to a table: stores of bundled files (`datasets/NAME.sdf.gz` for `store/NAME.h5`) are
prepared, and a training that was broken off goes on where it was. What is trained is kept below `--train-dir`, in a folder
of its own for every recipe, and not trained again.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.train import RecipeError, train
from pyg_diffusion.train.recipe import Recipe
from pyg_diffusion.weights_io import load_pretrained

ROOT = Path(__file__).resolve().parent.parent
CONFIGS, DATASETS = ROOT / "configs", ROOT / "datasets"
LEVELS = {"qm9_3000": "B3LYP/6-31G(2df,p)", "dft8k_200": "DFT (CASCADE)", "qm9_ensembles_20": "GFN2-xTB"}
QUICK = ("train.max_steps=30", "train.val_every=30", "data.batch_size=16", "optimizer.warmup=5")


@dataclass
class Weights:
    """Where they are, None for the package's own; and what a result says of them."""

    path: str | None
    about: dict[str, Any]


def add_weights(parser: argparse.ArgumentParser, quick: bool = True) -> None:
    """The options that `weights_of` reads; `quick` where the script has no `--quick` of its own."""
    group = parser.add_argument_group("weights to judge")
    group.add_argument("--weights", default=None, help="a file or a run's folder")
    group.add_argument("--train", default=None, metavar="RECIPE", help="train by this recipe, here and now")
    group.add_argument("--set", nargs="+", default=[], metavar="section.key=value", help="changes to the recipe")
    group.add_argument("--train-dir", default="runs/benchmarks", help="where trained weights are kept")
    if quick:
        parser.add_argument("--quick", action="store_true", help="tiny sizes and a tiny training, to see that it runs")


def results(args: argparse.Namespace) -> Path:
    """The folder of results; those of `--quick` are no measurement and stay out of the repository's."""
    folder = Path(args.train_dir) if args.quick else ROOT / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights_of(
    args: argparse.Namespace, recipe: str | Path | None = None, small: Sequence[str] = (), quick: Sequence[str] = QUICK
) -> Weights:
    """What the options ask for.

    Args:
        recipe: what is trained, with the changes `small`, where nothing is asked for; None: the package's own weights.
        quick: changes to a recipe under `--quick`.
    """
    if args.weights and args.train:
        raise SystemExit("--weights and --train exclude each other: give one of them")
    if args.weights:
        return Weights(args.weights, {"file": Path(args.weights).name, **_facts(args.weights)})
    if args.set and not args.train:
        raise SystemExit("--set changes the recipe of --train; give one")
    if not args.train and recipe is None:
        return Weights(None, {"file": "shipped"})
    chosen = Path(args.train or str(recipe))
    changes = [*(args.set if args.train else small), *(quick if args.quick else ())]
    if not args.train:
        print(
            f"no weights are given, and none of this kind are shipped: a small model by {chosen.name}, {' '.join(changes)}"
        )
    return trained(chosen, changes, Path(args.train_dir))


def trained(recipe: Path, changes: Sequence[str], folder: Path) -> Weights:
    """Weights of a recipe, trained now, gone on with, or trained before."""
    try:
        asked = _with_stores(load_recipe(recipe, list(changes)), recipe, changes, folder / "stores")
    except RecipeError as error:
        raise SystemExit(str(error)) from error
    key = hashlib.sha256(json.dumps(asked.to_dict(), sort_keys=True).encode()).hexdigest()[:10]
    run, done = folder / f"{recipe.stem}_{key}", folder / f"{recipe.stem}_{key}" / "trained"
    if not done.exists():
        print(f"training by {recipe.name} into {run}", flush=True)
        try:
            if train(asked, run, resume=(run / "last.ckpt").exists(), progress=False).interrupted:
                raise SystemExit("training was interrupted; the same command goes on")
        except RecipeError as error:
            if "has ended" not in str(error):  # killed between the last step and the mark
                raise SystemExit(str(error)) from error
        done.touch()
    about = {"recipe": recipe.name, "changes": list(changes), **_facts(run)}
    print(f"weights of {recipe.name}: {about['steps']} steps, {about['minutes']} min", flush=True)
    return Weights(str(run), about)


def _facts(path: str | Path) -> dict[str, Any]:
    training = load_pretrained(path)[1].training
    return {name: training.get(name) for name in ("steps", "minutes")}


def _with_stores(recipe: Recipe, path: Path, changes: Sequence[str], folder: Path) -> Recipe:
    """The recipe, on stores that are there: those of bundled files are prepared.

    Raises:
        SystemExit: one is missing that cannot be.
    """
    data = recipe.to_dict()["data"]
    if "store" not in data or not (data["store"] or data["val_store"]):
        return recipe
    found = {name: bundled_store(name, folder) for name in (*data["store"], data["val_store"]) if name}
    replaced = [f"data.store={json.dumps([found[name] for name in data['store']])}"]
    if data["val_store"]:
        replaced.append(f"data.val_store={json.dumps(found[data['val_store']])}")
    return load_recipe(path, [*changes, *replaced])


def bundled_store(name: str, folder: Path) -> str:
    """The path of a store, which is prepared of a bundled file of that name where it is not there.

    Raises:
        SystemExit: there is no such file.
    """
    if Path(name).is_file():
        return name
    stem = Path(name).stem
    source, target = DATASETS / f"{stem}.sdf.gz", folder / f"{stem}.h5"
    if not source.is_file():
        raise SystemExit(
            f"{name} is not there: datasets/fetch.py and 'pyg-diffusion prepare' make it (datasets/README.md), "
            "or --set data.store=store/qm9_3000.h5 takes the bundled molecules"
        )
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prepare([str(source)], str(target), level=LEVELS.get(stem, ""), progress=False)
    return str(target)
