"""The training recipe as dataclasses, read from YAML with `section.key=value` overrides; what is wrong in it is an error."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from ..data.properties import PROPERTIES


class ConfigError(ValueError):
    """A recipe that cannot be used, and why."""


@dataclass
class DataConfig:
    """store: paths of prepared stores; repeat: passes over each store in one epoch; val_store: held-out store, or
    `val_fraction` of the molecules (at least 1) is held out; batch_size: conformers per step; max_pairs: a batch holds no
    more than this many padded atom pairs; workers: loader processes (0: in the main process)."""

    store: list[str] = field(default_factory=list)
    repeat: list[int] = field(default_factory=list)
    val_store: str = ""
    val_fraction: float = 0.02
    batch_size: int = 128
    max_pairs: int = 80_000
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
class ModelConfig:
    """Arguments of `ConformerNet`; conditions: properties of `data.properties` to condition on."""

    width: int = 192
    depths: list[int] = field(default_factory=lambda: [3, 3])
    heads: int = 8
    pair_width: int = 64
    expansion: int = 3
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

    log τ of a sample ~ N(log_tau_mean, log_tau_std²), clipped to the process; stage_weight: weight of intermediate
    estimates; condition_dropout: how often a condition is withheld, for guidance; threads: CPU threads (0: torch's choice);
    compile: torch.compile the network (a minute or two once, then faster steps); checkpoint_minutes: how often the resume
    state is written; val_every: steps between validations; devices, nodes, accelerator, strategy: as Lightning's Trainer."""

    seed: int = 0
    max_steps: int = 1_000_000
    max_minutes: float = 0.0
    log_tau_mean: float = -1.0
    log_tau_std: float = 2.0
    stage_weight: float = 0.25
    condition_dropout: float = 0.15
    threads: int = 0
    bf16: bool = True
    compile: bool = False
    checkpoint_minutes: float = 5.0
    val_every: int = 500
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"


@dataclass
class Config:
    """One recipe."""

    data: DataConfig = field(default_factory=DataConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _convert(value: Any, kind: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'the recipe'}: expected a mapping, got {value!r}")
        fields = {f.name: f.type for f in dataclasses.fields(kind)}
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise ConfigError(f"{where + '.' if where else ''}{unknown[0]}: no such key; there are {', '.join(fields)}")
        return kind(**{k: _convert(v, fields[k], f"{where}.{k}".lstrip(".")) for k, v in value.items()})  # type: ignore[operator]
    if get_origin(kind) is list:
        items = value if isinstance(value, list) else [value]
        return [_convert(v, get_args(kind)[0], where) for v in items]
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as a string
        except ValueError:
            pass
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _check(config: Config) -> Config:
    data, train = config.data, config.train
    if data.repeat and len(data.repeat) != len(data.store):
        raise ConfigError(f"data.repeat has {len(data.repeat)} entries for {len(data.store)} stores")
    optimizer = config.optimizer
    positive = {
        "optimizer.lr": optimizer.lr,
        "optimizer.muon_lr": optimizer.muon_lr,
        "optimizer.clip": optimizer.clip,
        "train.log_tau_std": train.log_tau_std,
        "train.devices": train.devices,
        "train.nodes": train.nodes,
        "data.batch_size": data.batch_size,
        "data.max_pairs": data.max_pairs,
        "train.max_steps": train.max_steps,
        "train.checkpoint_minutes": train.checkpoint_minutes,
        "train.val_every": train.val_every,
    }
    for name, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{name} must be > 0, got {value}")
    unknown = sorted(set(config.model.conditions) - set(PROPERTIES))
    if unknown:
        raise ConfigError(f"model.conditions: no property {unknown[0]!r}; there are {', '.join(PROPERTIES)}")
    if not 0 <= train.condition_dropout < 1:
        raise ConfigError(f"train.condition_dropout must lie in [0, 1), got {train.condition_dropout}")
    if config.optimizer.name not in ("muon", "adamw"):
        raise ConfigError(f"optimizer.name must be muon or adamw, got {config.optimizer.name!r}")
    if not 0 <= optimizer.ema < 1:
        raise ConfigError(f"optimizer.ema must lie in [0, 1), got {optimizer.ema}")
    at_least_0 = {
        "data.workers": data.workers,
        "optimizer.weight_decay": optimizer.weight_decay,
        "optimizer.warmup": optimizer.warmup,
        "train.max_minutes": train.max_minutes,
        "train.seed": train.seed,
        "train.threads": train.threads,
    }
    for name, value in at_least_0.items():
        if value < 0:
            raise ConfigError(f"{name} must be >= 0, got {value}")
    if not 0 < data.val_fraction < 1:
        raise ConfigError(f"data.val_fraction must lie in (0, 1), got {data.val_fraction}")
    return config


def from_dict(values: dict[str, Any]) -> Config:
    """A checked `Config` from nested dictionaries."""
    return _check(_convert(values, Config, ""))


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML recipe; every override is `section.key=value`, the value in YAML.

    Raises:
        ConfigError: naming the file, key or value that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping at the top")
    for override in overrides or []:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot and name):
            raise ConfigError(f"override {override!r}: expected section.key=value")
        block = values.setdefault(section, {})
        if not isinstance(block, dict):
            raise ConfigError(f"{section}: expected a mapping, got {block!r}")
        try:
            block[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
    try:
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
