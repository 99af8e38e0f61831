"""Recipes: what is trained on what, and how; read from YAML with `section.key=value` overrides.

No task and no network is named here: the sections `data` and `model` are of the classes that the `kind` in them names.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import yaml
from pydantic import Field, PrivateAttr, SerializeAsAny, field_validator, model_validator
from pydantic.json_schema import models_json_schema

from ..loss import OBJECTIVES, TIME_WEIGHTS
from ..mining import MINERS, miners_of
from ..nn.registry import NETWORKS, NetworkOptions
from ..registry import own
from ..sample import parse_grid, parse_sampler
from ..sde import SCHEDULES, TabulatedTime, make_schedule
from ..sections import OneOf, RecipeError, Section, no_such_key, validated
from ..terms import TARGET
from ..weights_io import ProcessArguments

if TYPE_CHECKING:
    from .datamodule import SignalDataModule
    from .module import DenoiserModule

Counted = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]
AUTO = ["auto"]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class DataSection(Section):
    """What signals there are. Every task has a class of its own, with these and others."""

    kind: str
    """the task"""
    batch_size: Counted = 64
    """signals per step, of all processes together"""
    workers: Annotated[int, Field(ge=0)] = 0
    """loader processes; 0: in the main process"""

    def essence(self) -> dict[str, Any]:
        """What must not change from one piece of a run to the next: all but how the signals are read."""
        return self.model_dump(exclude={"workers"})


class Process(Section):
    """The linear process dS = -½ β(t) a(L) S dt + √β(t) g(L) dW with a = γλ + λ₀ (`sde.LinearSDE`)."""

    gamma: AtLeast0 = 1.33
    """γ, in 1/Å² for coordinates"""
    lambda0: AtLeast0 = 0.0
    """λ₀"""
    noise: Literal["white", "matched"] = "white"
    """colour of the noise: white (g = 1) or matched (g² = a)"""
    tau_min: Positive = 2e-4
    """the smallest τ"""
    tau_max: Positive = 40.0
    """the largest τ"""
    schedule: Annotated[str, OneOf(SCHEDULES, own=True)] = "geometric"
    """τ as a function of t in [0, 1], from tau_min to tau_max (`sde.make_schedule`): geometric; linear, β from 1e-4 to .02
    as in DDPM; constant β; cosine; or a function τ(t, tau_min, tau_max) of your own. The process is the same whatever the
    schedule: only where time is spent changes, in samplers and with train.time_sampling=schedule"""

    @model_validator(mode="after")
    def _time_increases(self) -> "Process":
        if self.tau_min >= self.tau_max:
            raise ValueError(f"tau_min: must be < tau_max, got {self.tau_min} and {self.tau_max}")
        try:
            make_schedule(self.schedule, self.tau_min, self.tau_max)
        except ValueError as error:
            raise ValueError(f"schedule: {error}") from error
        return self

    def facts(self) -> ProcessArguments:
        """What a card says of it: with a function of one's own, its values, so that loading weights runs no code."""
        schedule = make_schedule(self.schedule, self.tau_min, self.tau_max)
        facts = ProcessArguments(
            gamma=self.gamma,
            lambda0=self.lambda0,
            noise=self.noise,
            tau_min=self.tau_min,
            tau_max=self.tau_max,
            schedule=self.schedule,
        )
        if isinstance(schedule, TabulatedTime):
            facts["knots"] = list(schedule.knots)
        return facts


class Optimizer(Section):
    """How the network's parameters move."""

    name: Literal["muon", "adamw"] = "muon"
    """muon (matrices of the blocks by Muon, the rest by AdamW) or adamw"""
    lr: Positive = 1e-3
    """rate of AdamW"""
    muon_lr: Positive = 0.01
    """rate of Muon"""
    weight_decay: AtLeast0 = 0.01
    """of both"""
    warmup: Annotated[int, Field(ge=0)] = 200
    """steps of linear warm-up, then cosine to 0 at the end"""
    clip: Positive = 1.0
    """largest norm of the gradient"""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """decay of the weight average, ramped up"""


class Train(Section):
    """The loss and the run. The end is whichever of max_steps and max_minutes comes first."""

    seed: Seed = 0
    """of everything random"""
    max_steps: Counted = 1_000_000
    """steps of the optimizer"""
    max_minutes: AtLeast0 = 0.0
    """training time, resumed pieces added up; 0: however long"""
    time_sampling: Literal["lognormal", "uniform", "schedule", "importance"] = "lognormal"
    """lognormal, log τ of a sample ~ N(log_tau_mean, log_tau_std²), clipped to the process; uniform in log τ; schedule,
    uniform in t of process.schedule; importance, by the loss seen at each noise level so far"""
    log_tau_mean: float = -1.0
    """of lognormal"""
    log_tau_std: Positive = 2.0
    """of lognormal"""
    objectives: dict[str, float] = Field({})
    """weights of F, eps, score, x0 in the loss (`loss.denoising_losses`); without, that of what the network predicts"""
    time_weight: Annotated[str, OneOf(TIME_WEIGHTS, own=True)] = "none"
    """of noise levels in the loss (`loss.time_weight`): min_snr, with objective eps, of Hang et al. 2023; edm, with x0;
    likelihood, with score; or a function of your own of (denoiser, t, parts)"""
    regularizers: dict[str, float] = Field({})
    """weights of terms (`terms`) on the estimate; energy and alignment compare it with the truth, reference with a
    reference, weighted by masses. The log has every term of the loss"""
    stage_weight: float = 0.25
    """of intermediate estimates"""
    log_floor: AtLeast0 = 0.0
    """if > 0, minimise the mean of log(loss + log_floor), for losses that span decades"""
    exact_targets: list[str] = Field(AUTO)
    """what is averaged out of the target in closed form (`posterior`), of what the task knows how to: rotations, mirror
    (images, where there is no stereocentre), labels (of equivalent atoms), ensemble (all conformers of the same graph at the
    same level in the store); of fields translations (along periodic axes); auto alone: of molecules the first three,
    rotations alone with model.conditions, else nothing, nor with log_floor; [] for the drawn signal as it is"""
    miner: Annotated[str, OneOf(MINERS)] = "none"
    """negatives for energies (`mining`)"""
    miner_weight: AtLeast0 = 0.01
    """of their loss"""
    miner_options: dict[str, int | float] = Field({})
    """their arguments"""
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """how often a condition, or the level of theory, is withheld"""
    init_from: str = ""
    """weights to begin with (a file or a run's folder; shipped: the package's own), of the same process and model but for
    further levels"""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0: torch's choice"""
    bf16: bool = True
    """matrix products of the network in bf16"""
    compile: bool = False
    """torch.compile the network: a minute or two once, then faster steps"""
    checkpoint_minutes: Positive = 5.0
    """how often the resume state is written"""
    val_every: Counted = 500
    """steps between validations"""
    patience: Annotated[int, Field(ge=0)] = 0
    """validations in a row without a smaller loss that end the run; 0: never"""
    accelerator: str = "auto"
    """as Lightning's Trainer"""
    devices: Counted = 1
    """as Lightning's Trainer"""
    nodes: Counted = 1
    """as Lightning's Trainer"""
    strategy: str = "auto"
    """as Lightning's Trainer"""

    @field_validator("objectives")
    @classmethod
    def _known(cls, values: dict[str, float]) -> dict[str, float]:
        if set(values) - set(OBJECTIVES) or min(values.values(), default=1) < 0:
            raise ValueError(f"weights >= 0 of {', '.join(OBJECTIVES)}, got {values}")
        return values

    @field_validator("time_weight")
    @classmethod
    def _callable(cls, name: str) -> str:
        if name not in TIME_WEIGHTS:
            own(TIME_WEIGHTS, name)
        return name

    @model_validator(mode="after")
    def _miner_takes_its_options(self) -> "Train":
        try:
            MINERS[self.miner](**self.miner_options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"miner_options: {error}") from error
        return self


class Sample(Section):
    """How the weights sample where nothing else is asked for; empty values leave it to the task."""

    sampler: str = ""
    """by name (`sample.SAMPLERS`), options behind a colon, such as ode:1e-3"""
    steps: Annotated[int, Field(ge=0)] = 0
    """times of a draw; 0: the task's own choice"""
    grid: str = ""
    """the times by name (`sample.GRIDS`), options behind a colon; even in t without; goes with sampler"""
    temperature: AtLeast0 = 1.0
    """noise is scaled by its root"""

    @model_validator(mode="after")
    def _go_together(self) -> "Sample":
        if self.grid and not self.sampler:
            raise ValueError("grid goes with sampler")
        if self.steps == 1:
            raise ValueError("steps must be at least 2, got 1")
        if self.sampler:
            sampler = parse_sampler(self.sampler)
            if self.grid:
                parse_grid(self.grid, sampler)
            if self.steps and sampler.adaptive:
                raise ValueError(f"steps has no effect on {self.sampler}, which chooses its steps")
        return self


class TrainableTask(Protocol):
    """What training needs of a task (`tasks.Task`)."""

    @property
    def name(self) -> str: ...
    @property
    def networks(self) -> tuple[str, ...]: ...
    @property
    def has(self) -> tuple[str, ...]: ...
    @property
    def averages(self) -> tuple[str, ...]: ...
    @property
    def section(self) -> type[DataSection]: ...
    def terms(self, *more: str) -> tuple[str, ...]: ...
    def check(self, recipe: "Recipe") -> None: ...
    def exact_targets(self, recipe: "Recipe") -> tuple[str, ...]: ...
    def datamodule(self, recipe: "Recipe") -> "SignalDataModule": ...
    def module(self, recipe: "Recipe") -> "type[DenoiserModule]": ...


class Recipe(Section):
    """One recipe. `data` and `model` are of the classes that their `kind` names; `recipe_from` makes and checks one."""

    data: SerializeAsAny[DataSection]
    process: Process
    model: SerializeAsAny[NetworkOptions]
    optimizer: Optimizer
    train: Train
    sample: Sample = Sample()
    _task: TrainableTask = PrivateAttr()

    @property
    def task(self) -> TrainableTask:
        """That of `data`."""
        return self._task

    @property
    def levels(self) -> list[str]:
        """What the network tells apart by name."""
        return self.model_dump()["model"].get("levels", [])

    @property
    def exact_targets(self) -> tuple[str, ...]:
        """What the targets average over, "auto" resolved."""
        if self.train.exact_targets != AUTO:
            return tuple(self.train.exact_targets)
        return () if self.train.log_floor else self.task.exact_targets(self)

    def to_dict(self) -> dict[str, Any]:
        """All values, as YAML and JSON take them."""
        return self.model_dump()


def networks_of(task: TrainableTask) -> list[str]:
    """Names of networks that a task takes: those that it names, and those that name it."""
    return [*task.networks, *(name for name in NETWORKS if task.name in NETWORKS[name].tasks and name not in task.networks)]


def recipe_from(values: dict[str, Any], tasks: Mapping[str, TrainableTask]) -> Recipe:
    """A checked recipe from nested dictionaries; data without a kind are of the first task, a model without one the first
    network of the task.

    Raises:
        RecipeError: naming the key or value that is wrong.
    """
    if unknown := sorted(str(key) for key in values if key not in Recipe.model_fields):
        raise RecipeError(no_such_key("", unknown[0], Recipe.model_fields))
    data, model = values.get("data", {}), values.get("model", {})
    task = tasks[_kind(data, tasks, next(iter(tasks)), "data")]
    network, fitting = _kind(model, NETWORKS, task.networks[0], "model"), networks_of(task)
    if network not in fitting:
        raise RecipeError(f"model.kind: {task.name} take one of {', '.join(fitting)}, got {network!r}")
    recipe = Recipe(
        data=validated(task.section, data, "data"),
        process=validated(Process, values.get("process", {}), "process"),
        model=validated(NETWORKS[network].options(network), model, "model"),
        optimizer=validated(Optimizer, values.get("optimizer", {}), "optimizer"),
        train=validated(Train, values.get("train", {}), "train"),
        sample=validated(Sample, values.get("sample", {}), "sample"),
    )
    recipe._task = task
    for check in (_check_network, _check_regularizers, _check_exact_targets, task.check):
        check(recipe)
    return recipe


def _kind(section: object, kinds: Collection[str], default: str, where: str) -> str:
    """The kind of a section that comes in kinds."""
    kind = section.get("kind", default) if isinstance(section, dict) else default
    if not isinstance(kind, str) or kind not in kinds:
        raise RecipeError(f"{where}.kind: expected one of {', '.join(kinds)}, got {kind!r}")
    return kind


def _check_network(recipe: Recipe) -> None:
    name, model, train = recipe.model.kind, recipe.model, recipe.train
    if model.conditions and not NETWORKS[name].takes_conditions:
        raise RecipeError(f"model.conditions: {name} takes none, got {', '.join(model.conditions)}")
    if train.miner != "none" and not NETWORKS[name].energy:
        raise RecipeError(f"train.miner: negatives are for energies; {name} is none")
    if train.miner not in (known := miners_of(recipe.task.has)):
        raise RecipeError(f"train.miner: {recipe.task.name} take one of {', '.join(known)}, got {train.miner!r}")


def _check_regularizers(recipe: Recipe) -> None:
    terms = recipe.task.terms(TARGET)
    if set(recipe.train.regularizers) - set(terms):
        raise RecipeError(f"train.regularizers: {recipe.task.name} have {', '.join(terms)}, got {recipe.train.regularizers}")


def _check_exact_targets(recipe: Recipe) -> None:
    asked, known = recipe.exact_targets, recipe.task.averages
    where = f"train.exact_targets: {', '.join(asked)}:"
    if asked and not known:
        raise RecipeError(f"{where} of {recipe.task.name} only the drawn signal is known; leave it [] or auto")
    if unknown := sorted(set(asked) - set(known)):
        raise RecipeError(f'{where} there are {", ".join(known)}, or "auto" alone, not {unknown[0]!r}')
    if asked and recipe.train.log_floor:
        raise RecipeError(f"{where} the loss must be quadratic in the target; set train.log_floor to 0")


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A recipe with each `section.key=value` put in place, the value read as YAML; changes `values`.

    Raises:
        RecipeError: an override of another form.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot and name):
            raise RecipeError(f"override {override!r}: expected section.key=value")
        block = values.setdefault(section, {})
        if not isinstance(block, dict):
            raise RecipeError(f"{section}: expected a mapping, got {block!r}")
        try:
            block[name] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
            raise RecipeError(f"override {override!r}: the value is not valid YAML") from error
    return values


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError: there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:  # also dates that are none, keys that are lists
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected a mapping at the top")
    return values


def read_recipe(path: str | Path, overrides: list[str], tasks: Mapping[str, TrainableTask]) -> Recipe:
    """Read a YAML recipe; every override is `section.key=value`, the value in YAML.

    Raises:
        RecipeError: naming the file, key or value that is wrong.
    """
    values = read_yaml(path)
    try:
        return recipe_from(apply_overrides(values, overrides), tasks)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def schema(tasks: Mapping[str, TrainableTask]) -> dict[str, Any]:
    """JSON schema of a recipe of any of the tasks: an alternative for each kind of data, in it one for each network.

    A section that names no kind is of the first one, as in `recipe_from`.
    """
    sections: list[type[Section]] = [Process, Optimizer, Train, Sample]
    sections += [task.section for task in tasks.values()]
    names = {name: NETWORKS[name].options(name) for task in tasks.values() for name in networks_of(task)}
    sections += names.values()
    refs, shared = models_json_schema([(section, "validation") for section in sections], ref_template="#/$defs/{model}")
    by_class = {section: refs[section, "validation"] for section in sections}
    common = {"process": by_class[Process], "optimizer": by_class[Optimizer], "train": by_class[Train]}
    common["sample"] = by_class[Sample]
    alternatives = []
    for k, task in enumerate(tasks.values()):
        networks = [_named(by_class[names[name]], i > 0) for i, name in enumerate(networks_of(task))]
        properties = {"data": _named(by_class[task.section], k > 0), "model": {"oneOf": networks}, **common}
        alternative = {"title": task.name, "type": "object", "properties": properties, "additionalProperties": False}
        alternatives.append(alternative | ({"required": ["data"]} if k else {}))
    return {"$schema": DIALECT, "title": "recipe of pyg-diffusion train", "oneOf": alternatives, **shared}


def _named(ref: dict[str, Any], required: bool) -> dict[str, Any]:
    """A section that is only meant where its kind is given, unless it is the one meant by default."""
    return {"allOf": [ref], "required": ["kind"]} if required else ref
