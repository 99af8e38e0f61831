"""What a recipe says of molecules."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...data.properties import PROPERTIES
from ...nn.registry import NETWORKS
from ...sections import RecipeError
from ...train.recipe import Counted, DataSection, Process, Recipe, Sample
from .laplacian import LaplacianOptions

STAGES = ("conformer", "hydrogen")  # networks of the two stages of data.hydrogens: second
TAU_RANGE = (2e-3, 40.0)  # where sampling ends and begins: the last .05 Å of noise are left to one denoising
FASTEST, LEAST_PHI = 8.0, 1e-3  # λ of two bonded atoms with four neighbours each; DDPM ends at φ = .0066


class MoleculesData(LaplacianOptions, DataSection):
    """Conformers of prepared stores, or of a PyG data set."""

    kind: Literal["molecules"] = "molecules"
    batch_size: Counted = 128
    """conformers per step, of all processes together"""
    store: list[str] = Field([])
    """paths of prepared stores"""
    dataset: str = ""
    """in the place of stores a PyG data set, module:Name, such as torch_geometric.datasets:QM9: what makes it of data.root
    and data.options. Its items have z, pos, edge_index and edge_attr as those of QM9, or are this package's"""
    root: str = "store/dataset"
    """where data.dataset is kept, with what is worked out of it"""
    options: dict[str, Any] = Field({})
    """arguments of data.dataset; transform, pre_transform and pre_filter are given as module:Name, or a list of those"""
    repeat: list[int] = Field([])
    """passes over each store in one epoch"""
    val_store: str = ""
    """a store that is held out; if there is none, val_fraction of the molecules is"""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """share of the molecules that is held out, at least one; or of the conformers of each, with split: time"""
    split: Literal["molecule", "time"] = "molecule"
    """what is held out: whole molecules, at random, or the last conformers of each in the order of its store, which of
    frames of a simulation (prepare --top) are the latest"""
    hydrogens: Literal["first", "second"] = "first"
    """first, with the atoms they are bound to, or second, drawn when those are known, so that the graph is the skeleton
    (`chem.skeleton`)"""
    level_limits: dict[str, Counted] = Field({})
    """atoms, hydrogens too, of the largest molecules for which a level of theory is sampled where none is asked for; of
    model.levels the first that is for a molecule so large is taken, and a level without a limit is for all"""
    reference: Literal["drawn", "lowest"] = "drawn"
    """of train.regularizers.reference: the conformer drawn, or that of the molecule with the lowest energy at its level in
    the store, which is superposed (the one drawn where no energies are known)"""
    max_pairs: Counted = 80_000
    """a batch holds no more than this many padded atom pairs"""

    @model_validator(mode="after")
    def _one_count_for_each_store(self) -> "MoleculesData":
        if self.repeat and len(self.repeat) != len(self.store):
            raise ValueError(f"repeat has {len(self.repeat)} entries for {len(self.store)} stores")
        return self

    @model_validator(mode="after")
    def _a_store_or_a_dataset(self) -> "MoleculesData":
        if self.dataset and self.store:
            raise ValueError("dataset: takes the place of stores; give one of the two")
        if self.split == "time" and self.val_store:
            raise ValueError("split: time holds conformers of the stores out, and val_store is held out already")
        if self.options and not self.dataset:
            raise ValueError("options: are for data.dataset, which is not given")
        if self.dataset and self.hydrogens == "second":
            raise ValueError("dataset: shows whole molecules; prepare a store for hydrogens that are drawn second")
        return self

    def essence(self) -> dict[str, Any]:
        names = {"store": [Path(path).name for path in self.store], "val_store": Path(self.val_store).name}
        return {
            key: value for key, value in super().essence().items() if key not in ("root", "spectra", "level_limits")
        } | names


def exact_targets(recipe: Recipe) -> tuple[str, ...]:
    """What "auto" averages over: all that is in closed form and that the network is not told."""
    assert isinstance(recipe.data, MoleculesData)
    if recipe.model.kind == "hydrogen" or recipe.data.backend != "dense":
        return ()
    return ("rotations",) if recipe.model.conditions else ("rotations", "mirror", "labels")


def check(recipe: Recipe) -> None:
    """Raises RecipeError where the sections do not go together."""
    data, model, train, asked = recipe.data, recipe.model, recipe.train, recipe.exact_targets
    assert isinstance(data, MoleculesData)
    if model.kind == "hydrogen" and (data.hydrogens != "second" or train.exact_targets != ["auto"]):
        raise RecipeError(
            "model.kind: hydrogen is the second stage; set data.hydrogens to second, and no train.exact_targets"
        )
    _check_laplacian(recipe, data)
    if data.hydrogens == "second" and model.kind not in STAGES:
        raise RecipeError(f"data.hydrogens: second goes with model.kind {' and '.join(STAGES)}, not with {model.kind}")
    _check_prediction(recipe, data)
    if model.kind == "hydrogen":
        _check_second(recipe)
    if unknown := sorted(set(model.conditions) - set(PROPERTIES)):
        raise RecipeError(f"model.conditions: no property {unknown[0]!r}; there are {', '.join(PROPERTIES)}")
    if unknown := sorted(set(data.level_limits) - set(recipe.levels)):
        raise RecipeError(f"data.level_limits: model.levels does not name {unknown[0]}")
    if data.reference != "drawn" and "reference" not in train.regularizers:
        raise RecipeError(f"data.reference: {data.reference} is for train.regularizers.reference, which is not asked for")
    where = f"train.exact_targets: {', '.join(asked)}:"
    if asked and "rotations" not in asked:
        raise RecipeError(f"{where} conformers are shown in random orientation, so name rotations as well")
    if set(asked) - {"rotations"} and model.conditions:
        raise RecipeError(
            f"{where} what the network is told ({', '.join(model.conditions)}) tells one conformer from another; "
            "name rotations alone"
        )


def _check_laplacian(recipe: Recipe, data: MoleculesData) -> None:
    """Raises RecipeError where something else of the recipe needs another Laplacian."""
    kind, defaults = recipe.model.kind, LaplacianOptions()
    asked = {name: getattr(data, name) for name in LaplacianOptions.model_fields}
    other = [name for name, value in asked.items() if value != getattr(defaults, name)]
    if kind == "hydrogen" and other:
        raise RecipeError(f"data.{other[0]}: the second stage reads no Laplacian; say it to the first stage alone")
    if data.normalized and data.hydrogens == "second":
        raise RecipeError(
            "data.normalized: hydrogens are drawn second because eliminating them from D - W leaves that of the skeleton, "
            "which is not so of a normalised Laplacian; set data.hydrogens to first, or data.normalized to false"
        )
    if data.weight == "learned" and not recipe.process.gamma:
        raise RecipeError("data.weight: learned weights are fitted to N(0, (γL + λ₀)⁻¹); set process.gamma > 0")
    if data.backend == "dense":
        return
    if NETWORKS[kind].network.needs_dense:
        raise RecipeError(f"data.backend: the network {kind} reads entries of heat kernels; set data.backend to dense")
    if recipe.exact_targets:
        raise RecipeError(
            f"train.exact_targets: {', '.join(recipe.exact_targets)}: exact targets need the modes of L; "
            "set data.backend to dense, or train.exact_targets to []"
        )


def _check_prediction(recipe: Recipe, data: MoleculesData) -> None:
    """Raises RecipeError where D = (S_t - σ ε̂)/φ would divide errors of ε̂ by almost nothing."""
    kind, process = recipe.model.kind, recipe.process
    if not NETWORKS[kind].energy and NETWORKS[kind].network.predicts == "F":
        return
    fastest = 2.0 if data.normalized else FASTEST
    phi = math.exp(-0.5 * (process.gamma * fastest + process.lambda0) * min(process.tau_max, TAU_RANGE[1]))
    if phi < LEAST_PHI:
        raise RecipeError(
            f"model.kind: {kind} predicts ε, so its errors are divided by φ, which is {phi:.1g} in the fastest modes where "
            "sampling begins; set process.gamma and process.lambda0 to 0, as in configs/molecules_eps.yaml, or take graph"
        )


def _check_second(recipe: Recipe) -> None:
    """Raises RecipeError where something is asked for that hydrogens, drawn at once, have no use for."""
    train = recipe.train
    asked = {
        "process.schedule": recipe.process.schedule != Process().schedule,
        "sample": recipe.sample != Sample(),
        "train.objectives": bool(train.objectives),
        "train.time_weight": train.time_weight != "none",
        "train.regularizers": bool(train.regularizers),
    }
    for name in (name for name, wanted in asked.items() if wanted):
        raise RecipeError(f"{name}: has no effect on the second stage, which draws hydrogens at once by a loss of its own")
