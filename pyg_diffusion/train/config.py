"""The training recipe as dataclasses, read from YAML with `section.key=value` overrides; what is wrong in it is an error."""

import dataclasses
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from ..data.properties import PROPERTIES
from ..loss import OBJECTIVES, TIME_WEIGHTS
from ..mining import MINERS
from ..terms import GRAPH_TERMS, MOLECULE_TERMS, TARGET_TERMS


class ConfigError(ValueError):
    """A recipe that cannot be used, and why."""


@dataclass
class MoleculesConfig:
    """store: paths of prepared stores; repeat: passes over each store in one epoch; val_store: held-out store, or
    `val_fraction` of the molecules (at least 1) is held out; hydrogens: "first", with the atoms they are bound to, or
    "second", drawn when those are known, so that the graph is the skeleton (`chem.skeleton`); batch_size: conformers per
    step, of all processes together; max_pairs: a batch holds no more than this many padded atom pairs; workers: loader
    processes (0: in the main process)."""

    kind: str = "molecules"
    store: list[str] = field(default_factory=list)
    repeat: list[int] = field(default_factory=list)
    val_store: str = ""
    val_fraction: float = 0.02
    hydrogens: str = "first"
    batch_size: int = 128
    max_pairs: int = 80_000
    workers: int = 0


@dataclass
class FieldsConfig:
    """Fields of `GridFields`, which has law, shape, kinds, spacing, parameters and seed. root: where they are kept;
    num_samples, val_samples: how many to train and to validate on; batch_size: fields per step, of all processes together;
    workers: loader processes."""

    kind: str = "fields"
    root: str = "store/fields"
    law: str = "matern"
    shape: list[int] = field(default_factory=lambda: [32, 32])
    kinds: str = "cycle"
    spacing: float = 1.0
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    num_samples: int = 10_000
    val_samples: int = 1_000
    batch_size: int = 64
    workers: int = 0


@dataclass
class MatricesConfig:
    """Inverses of the matrices of `MatrixInverse`, drawn as they are needed. n: rows; c: conditioning of the matrices
    trained on; num_samples: matrices in one epoch; val_samples: how many to validate on; batch_size: per step, of all
    processes together; workers: loader processes."""

    kind: str = "matrices"
    n: int = 20
    c: float = 0.5
    seed: int = 0
    num_samples: int = 200_000
    val_samples: int = 500
    batch_size: int = 64
    workers: int = 0


@dataclass
class ProcessConfig:
    """The linear process: a = γλ + λ₀ (γ in 1/Å²), noise colour, smallest and largest τ."""

    gamma: float = 1.33
    lambda0: float = 0.0
    noise: str = "white"
    tau_min: float = 2e-4
    tau_max: float = 40.0


@dataclass
class ConformerConfig:
    """Arguments of `ConformerNet`; conditions: properties of `data.properties` to condition on; levels: of theory to tell
    apart, the first of them being what is sampled where none is asked for."""

    kind: str = "conformer"
    width: int = 192
    depths: list[int] = field(default_factory=lambda: [3, 3])
    heads: int = 8
    pair_width: int = 64
    expansion: int = 3
    conditions: list[str] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)


@dataclass
class HydrogenConfig:
    """Arguments of `HydrogenNet`, the second of two stages (data.hydrogens: second); levels: as in `ConformerConfig`."""

    kind: str = "hydrogen"
    width: int = 96
    depths: list[int] = field(default_factory=lambda: [3, 2])
    levels: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)


@dataclass
class GraphConfig:
    """Arguments of `GraphNet` (kind graph; in an `EnergyNet`: energy), `EpsNet` (eps) or `ScoreNet` (score);
    global_attention: between all nodes, for small graphs; conditions: quantities of the data set to condition on."""

    kind: str = "graph"
    width: int = 64
    depth: int = 4
    heads: int = 4
    expansion: int = 2
    global_attention: bool = False
    conditions: list[str] = field(default_factory=list)


@dataclass
class MLPConfig:
    """Arguments of `MLPNet`, the baseline that knows no graph."""

    kind: str = "mlp"
    width: int = 256
    depth: int = 4
    conditions: list[str] = field(default_factory=list)


@dataclass
class MatrixConfig:
    """Arguments of the `MatrixNet` in an `EnergyNet`."""

    kind: str = "matrix_energy"
    depth: int = 5
    channels: int = 8
    node_channels: int = 4
    residual: bool = False
    conditions: list[str] = field(default_factory=list)


@dataclass
class MatrixMLPConfig:
    """Arguments of the `MatrixMLP` in an `EnergyNet`."""

    kind: str = "matrix_mlp_energy"
    width: int = 512
    depth: int = 3
    conditions: list[str] = field(default_factory=list)


@dataclass
class OptimizerConfig:
    """name: muon (matrices of the blocks by Muon, the rest by AdamW) or adamw; lr: of AdamW; muon_lr: of Muon; warmup: steps
    of linear warm-up, then cosine to 0 at the end; clip: gradient norm; ema: decay of the weight average, ramped up."""

    name: str = "muon"
    lr: float = 1e-3
    muon_lr: float = 0.01
    weight_decay: float = 0.01
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.999


@dataclass
class TrainConfig:
    """The end is whichever of max_steps and max_minutes (training time, resumed pieces added up) comes first.

    time_sampling: "lognormal", log τ of a sample ~ N(log_tau_mean, log_tau_std²), clipped to the process; "uniform" in
    log τ; "importance", by the loss seen at each noise level so far. objectives, time_weight: see `loss.denoising_loss`;
    without objectives, that of what the network predicts. regularizers: weights of terms (see `terms.bind`) on the
    estimate; "energy" and "alignment" compare it with the truth. stage_weight: weight of intermediate estimates. log_floor:
    if > 0, minimise the mean of log(loss + log_floor), for losses that span decades. exact_targets: what is averaged out of
    the target in closed form (see `posterior`), some of "rotations", "mirror" (images, of molecules without a stereocentre),
    "labels" (of equivalent atoms) and "ensemble" (all conformers of the molecule at its level in the store); "auto" alone:
    the first three for molecules, rotations alone with model.conditions, nothing with log_floor or other data; [] for the
    drawn signal as it is. miner, miner_weight, miner_options:
    negatives for energies (`mining.MINERS`), the weight of their loss, their arguments. condition_dropout: how often a
    condition, or the level of theory, is withheld. init_from: weights to begin with (a file or a run's folder; "shipped":
    the package's own), of the same process and model but for further levels. threads: CPU threads (0: torch's choice).
    compile: torch.compile the network (a minute or two once, then faster steps). checkpoint_minutes: how often the resume
    state is written. val_every: steps between validations. devices, nodes, accelerator, strategy: as Lightning's Trainer."""

    seed: int = 0
    max_steps: int = 1_000_000
    max_minutes: float = 0.0
    time_sampling: str = "lognormal"
    log_tau_mean: float = -1.0
    log_tau_std: float = 2.0
    objectives: dict[str, float] = field(default_factory=dict)
    time_weight: str = "none"
    regularizers: dict[str, float] = field(default_factory=dict)
    stage_weight: float = 0.25
    log_floor: float = 0.0
    exact_targets: list[str] = field(default_factory=lambda: ["auto"])
    miner: str = "none"
    miner_weight: float = 0.01
    miner_options: dict[str, float] = field(default_factory=dict)
    condition_dropout: float = 0.15
    init_from: str = ""
    threads: int = 0
    bf16: bool = True
    compile: bool = False
    checkpoint_minutes: float = 5.0
    val_every: int = 500
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"


DATA: dict[str, Any] = {"molecules": MoleculesConfig, "fields": FieldsConfig, "matrices": MatricesConfig}
MODELS: dict[str, Any] = {
    "conformer": ConformerConfig,
    "hydrogen": HydrogenConfig,
    "graph": GraphConfig,
    "eps": GraphConfig,
    "score": GraphConfig,
    "mlp": MLPConfig,
    "energy": GraphConfig,
    "matrix_energy": MatrixConfig,
    "matrix_mlp_energy": MatrixMLPConfig,
}
FITTING = {  # models of each kind of data
    "molecules": ("conformer", "hydrogen"),
    "fields": ("graph", "eps", "score", "mlp", "energy"),
    "matrices": ("matrix_energy", "matrix_mlp_energy"),
}
HYDROGENS = ("first", "second")
TIME_SAMPLING = ("lognormal", "uniform", "importance")
EXACT_TARGETS = ("rotations", "mirror", "labels", "ensemble")


@dataclass
class Config:
    """One recipe. data and model are of the class that their `kind` names in `DATA` and `MODELS`."""

    data: Any = field(default_factory=MoleculesConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    model: Any = field(default_factory=ConformerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def exact_targets(config: Config) -> tuple[str, ...]:
    """What the targets of this recipe average over, "auto" resolved."""
    if config.train.exact_targets != ["auto"]:
        return tuple(config.train.exact_targets)
    if config.model.kind != "conformer" or config.train.log_floor:
        return ()
    return ("rotations",) if config.model.conditions else ("rotations", "mirror", "labels")


def _check_exact_targets(config: Config) -> None:
    train, asked = config.train, exact_targets(config)
    where = f"train.exact_targets: {', '.join(asked)}:"
    if unknown := sorted(set(asked) - set(EXACT_TARGETS)):
        raise ConfigError(f'{where} there are {", ".join(EXACT_TARGETS)}, or "auto" alone, not {unknown[0]!r}')
    if asked and config.data.kind != "molecules":
        raise ConfigError(f"{where} of {config.data.kind} only the drawn signal is known; leave it [] or auto")
    if asked and train.log_floor:
        raise ConfigError(f"{where} the loss must be quadratic in the target; set train.log_floor to 0")
    if asked and "rotations" not in asked:
        raise ConfigError(f"{where} conformers are shown in random orientation, so name rotations as well")
    if set(asked) - {"rotations"} and config.model.conditions:
        raise ConfigError(
            f"{where} what the network is told ({', '.join(config.model.conditions)}) tells one conformer from another; "
            "name rotations alone"
        )


def _kind_of(values: Any, kinds: dict[str, Any], default: str, where: str) -> Any:
    """The dataclass of a section that comes in kinds."""
    kind = values.get("kind", default) if isinstance(values, dict) else default
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{where}.kind: expected one of {', '.join(kinds)}, got {kind!r}")
    return kinds[kind]


def _convert(value: Any, kind: Any, where: str) -> Any:
    if where == "data":
        kind = _kind_of(value, DATA, "molecules", where)
    if where == "model":
        kind = _kind_of(value, MODELS, "conformer", where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'the recipe'}: expected a mapping, got {value!r}")
        fields = {f.name: f.type for f in dataclasses.fields(kind)}
        unknown = sorted(str(key) for key in value if key not in fields)
        if unknown:
            raise ConfigError(f"{where + '.' if where else ''}{unknown[0]}: no such key; there are {', '.join(fields)}")
        return kind(**{k: _convert(v, fields[k], f"{where}.{k}".lstrip(".")) for k, v in value.items()})  # type: ignore[operator]
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): _convert(v, get_args(kind)[1], f"{where}.{k}") for k, v in value.items()}
    if kind is Any:
        return value
    if get_origin(kind) is list:
        items = value if isinstance(value, list) else [value]
        return [_convert(v, get_args(kind)[0], where) for v in items]
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            value = float(value)  # YAML reads 1e-3 as a string
    if (isinstance(value, float) and not math.isfinite(value)) or (type(value) is int and abs(value) >= 2**63):
        raise ConfigError(f"{where}: expected a finite number that is not beyond all size, got {value:g}")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _check(config: Config) -> Config:
    data, model, optimizer, train = config.data, config.model, config.optimizer, config.train
    if model.kind not in FITTING[data.kind]:
        raise ConfigError(f"model.kind: {data.kind} take one of {', '.join(FITTING[data.kind])}, got {model.kind!r}")
    positive = {
        "optimizer.lr": optimizer.lr,
        "optimizer.muon_lr": optimizer.muon_lr,
        "optimizer.clip": optimizer.clip,
        "train.log_tau_std": train.log_tau_std,
        "train.devices": train.devices,
        "train.nodes": train.nodes,
        "data.batch_size": data.batch_size,
        "train.max_steps": train.max_steps,
        "train.checkpoint_minutes": train.checkpoint_minutes,
        "train.val_every": train.val_every,
    }
    at_least_0 = {
        "data.workers": data.workers,
        "optimizer.weight_decay": optimizer.weight_decay,
        "optimizer.warmup": optimizer.warmup,
        "train.max_minutes": train.max_minutes,
        "train.seed": train.seed,
        "train.log_floor": train.log_floor,
        "train.miner_weight": train.miner_weight,
        "train.threads": train.threads,
    }
    if data.kind == "molecules":
        if data.repeat and len(data.repeat) != len(data.store):
            raise ConfigError(f"data.repeat has {len(data.repeat)} entries for {len(data.store)} stores")
        if not 0 < data.val_fraction < 1:
            raise ConfigError(f"data.val_fraction must lie in (0, 1), got {data.val_fraction}")
        if data.hydrogens not in HYDROGENS:
            raise ConfigError(f"data.hydrogens must be one of {', '.join(HYDROGENS)}, got {data.hydrogens!r}")
        if model.kind == "hydrogen" and (data.hydrogens != "second" or model.conditions or train.exact_targets != ["auto"]):
            raise ConfigError(
                "model.kind: hydrogen is the second stage; set data.hydrogens to second, and no model.conditions and "
                "train.exact_targets"
            )
        positive["data.max_pairs"] = data.max_pairs
        unknown = sorted(set(model.conditions) - set(PROPERTIES))
        if unknown:
            raise ConfigError(f"model.conditions: no property {unknown[0]!r}; there are {', '.join(PROPERTIES)}")
    else:
        if model.conditions and data.kind == "matrices":
            raise ConfigError("model.conditions: matrices have none")
        positive |= {"data.num_samples": data.num_samples, "data.val_samples": data.val_samples}
        at_least_0["data.seed"] = data.seed
    for name, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{name} must be > 0, got {value}")
    for name, value in at_least_0.items():
        if value < 0:
            raise ConfigError(f"{name} must be >= 0, got {value}")
    if not 0 <= train.condition_dropout < 1:
        raise ConfigError(f"train.condition_dropout must lie in [0, 1), got {train.condition_dropout}")
    if optimizer.name not in ("muon", "adamw"):
        raise ConfigError(f"optimizer.name must be muon or adamw, got {optimizer.name!r}")
    if not 0 <= optimizer.ema < 1:
        raise ConfigError(f"optimizer.ema must lie in [0, 1), got {optimizer.ema}")
    if train.time_sampling not in TIME_SAMPLING:
        raise ConfigError(f"train.time_sampling must be one of {', '.join(TIME_SAMPLING)}, got {train.time_sampling!r}")
    if train.time_weight not in TIME_WEIGHTS:
        raise ConfigError(f"train.time_weight must be one of {', '.join(TIME_WEIGHTS)}, got {train.time_weight!r}")
    if set(train.objectives) - set(OBJECTIVES) or min(train.objectives.values(), default=1) < 0:
        raise ConfigError(f"train.objectives: weights >= 0 of {', '.join(OBJECTIVES)}, got {train.objectives}")
    if train.miner not in MINERS:
        raise ConfigError(f"train.miner must be one of {', '.join(MINERS)}, got {train.miner!r}")
    if train.miner != "none" and not model.kind.endswith("energy"):
        raise ConfigError(f"train.miner: negatives are for energies; {model.kind} is none")
    try:
        MINERS[train.miner](**train.miner_options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"train.miner_options: {error}") from error
    _check_exact_targets(config)
    terms = (*GRAPH_TERMS, *TARGET_TERMS, *(MOLECULE_TERMS if data.kind == "molecules" else ()))
    if set(train.regularizers) - set(terms):
        raise ConfigError(f"train.regularizers: {data.kind} have {', '.join(terms)}, got {train.regularizers}")
    return config


def from_dict(values: dict[str, Any]) -> Config:
    """A checked `Config` from nested dictionaries; a model without a kind is the first that fits the data."""
    data, model = values.get("data", {}), values.get("model", {})
    if isinstance(data, dict) and isinstance(model, dict) and data.get("kind") in list(FITTING):
        values = values | {"model": {"kind": FITTING[data["kind"]][0]} | model}
    return _check(_convert(values, Config, ""))


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A recipe with each `section.key=value` put in place, the value read as YAML; changes `values`.

    Raises:
        ConfigError: an override of another form.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot and name):
            raise ConfigError(f"override {override!r}: expected section.key=value")
        block = values.setdefault(section, {})
        if not isinstance(block, dict):
            raise ConfigError(f"{section}: expected a mapping, got {block!r}")
        try:
            block[name] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
            raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
    return values


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML recipe; every override is `section.key=value`, the value in YAML.

    Raises:
        ConfigError: naming the file, key or value that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:  # also dates that are none, keys that are lists
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping at the top")
    try:
        return from_dict(apply_overrides(values, overrides or []))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
