"""One training run: from a recipe to a folder with weights, card, logs and resume state."""

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..files import replacing
from ..spectral import PowerSpectrum
from ..weights_io import (
    Card,
    build_denoiser,
    continue_from,
    load_pretrained,
    save_pretrained,
    union_of_domains,
)
from .callbacks import RunControl, checkpoints, weight_average
from .checkpoint import LAST, PREVIOUS, AtomicCheckpointIO, resume_state
from .config import Config, ConfigError, exact_targets, load_config
from .conformers import ConformerDataModule
from .datamodule import SignalDataModule
from .fields import FieldDataModule
from .hydrogens import HydrogenDataModule, HydrogenModule
from .matrices import MatrixDataModule
from .module import DenoiserModule

WEIGHTS = "weights.safetensors"
DATA_MODULES: dict[str, Callable[..., SignalDataModule]] = {
    "molecules": ConformerDataModule,
    "fields": FieldDataModule,
    "matrices": MatrixDataModule,
}


@dataclass
class TrainResult:
    """Where a run ended: its weights file, whether it was interrupted, steps, minutes, last validation loss; and whether
    this is the process that speaks for all."""

    weights: Path
    interrupted: bool
    steps: int
    minutes: float
    val_loss: float
    main: bool = True


@dataclass
class _Resumed:
    """What a run goes on from: file and the step it was saved at; and its state where the run only lacks the export, having
    been killed between that and its last save."""

    path: Path
    step: int
    ended: dict[str, Any] | None


def _check_resume(config: Config, run_dir: Path) -> _Resumed:
    """Where a run is resumed; refused where it began with another recipe, or has ended."""
    path, state, remark = resume_state(run_dir)
    before = load_config(run_dir / "config.yaml").to_dict()
    now = config.to_dict()
    for recipe in (before, now):  # these may change from one machine to the next
        data = recipe["data"]
        if data["kind"] == "molecules":
            data["store"] = [Path(p).name for p in data["store"]]
            data["val_store"] = Path(data["val_store"]).name
        data.pop("root", None)
        del data["workers"]
    for section in ("model", "process", "data"):
        if before[section] != now[section]:
            raise ConfigError(f"{run_dir} began with another {section}: {before[section]}; resume with the same")
    for section, key in (("optimizer", "name"), ("train", "seed")):
        if before[section][key] != now[section][key]:
            raise ConfigError(f"{run_dir} began with {section}.{key}={before[section][key]}; resume with the same")
    if remark:
        print(remark, file=sys.stderr)
    step, minutes = int(state["global_step"]), float(state["minutes"])
    ended = step >= config.train.max_steps or 0 < config.train.max_minutes <= minutes
    weights = run_dir / WEIGHTS
    exported = weights.exists() and weights.stat().st_mtime >= path.stat().st_mtime
    if ended and exported:
        raise ConfigError(
            f"{run_dir} has ended ({step} steps, {minutes:.1f} min); raise train.max_steps or train.max_minutes to go on"
        )
    return _Resumed(path, step, state if ended else None)


def _trainer(
    config: Config, run_dir: Path, piece: str, callbacks: list[L.Callback], files: AtomicCheckpointIO, progress: bool
) -> L.Trainer:
    """Lightning's trainer for one piece of a run; `piece` names its logs, `files` keeps its resume state."""
    options = config.train
    plugins: list[Any] = [files]
    if SLURMEnvironment.detect():
        # Its own requeueing would leave checkpoints where the next run picks them up; slurm/train.sbatch requeues.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    warnings.filterwarnings("ignore", ".*srun. command is available.*")  # one may well train on a login node
    try:
        return L.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy=options.strategy,
            max_epochs=1,
            max_steps=options.max_steps,
            val_check_interval=options.val_every,
            check_val_every_n_epoch=None,
            gradient_clip_val=config.optimizer.clip,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=20,
            callbacks=callbacks,
            logger=[
                CSVLogger(run_dir, name="logs", version=piece),
                TensorBoardLogger(run_dir, name="tensorboard", version=piece),
            ],
            enable_progress_bar=progress,
            default_root_dir=run_dir,
            plugins=plugins,
            enable_model_summary=False,
            inference_mode=False,  # energies take gradients to predict, in validation as well
        )
    except MisconfigurationException as error:  # no such accelerator, too many devices, ...
        raise ConfigError(f"train: {error}") from error


def train(config: Config, run_dir: str | Path, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train, resuming from `run_dir/last.ckpt` if asked to, or from the state saved before it where that is damaged.

    Raises:
        ConfigError: the folder already holds a run and `resume` is False.
        CheckpointError: `resume` is True, and there is no state to go on from, or none that can be read.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    run_dir = Path(run_dir)
    last = run_dir / LAST
    if not resume and (last.exists() or (run_dir / PREVIOUS).exists()):
        raise ConfigError(f"{run_dir} already holds a run; give --resume to continue it, or another folder")
    options = config.train
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; no effect on the CPU's float32

    resumed = _check_resume(config, run_dir) if resume else None
    start, ended = (resumed.step, resumed.ended) if resumed else (0, None)
    recipe = config.to_dict()
    conditioned = config.model.conditions
    exact = {"exact": exact_targets(config)} if config.data.kind == "molecules" else {}
    given = config.model.kind == "hydrogen"  # all other atoms
    data_module = HydrogenDataModule if given else DATA_MODULES[config.data.kind]
    data = data_module(config.data, options.seed, conditioned, **exact)
    told_apart = set(getattr(config.model, "levels", ()))
    if told_apart and (unknown := sorted(data.levels() - told_apart)):
        raise ConfigError(f"model.levels does not name {', '.join(unknown)}, which the stores hold")
    source, theirs = load_pretrained(options.init_from) if options.init_from else (None, None)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if not resume:
            with replacing(run_dir / "config.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(recipe, sort_keys=False))
    except OSError as error:
        raise ConfigError(f"{run_dir}: cannot be written: {error.strerror or error}") from error
    L.seed_everything(options.seed, verbose=False)
    card = Card(
        process=recipe["process"],
        model=recipe["model"] | data.model_facts(),
        bf16=options.bf16,
        centered=data.centered,
        **data.card_facts(),
    )
    if source is None or theirs is None:
        denoiser = build_denoiser(card, data.spectrum())
    else:
        for name, have, want in (("process", theirs.process, card.process), ("model", theirs.model, card.model)):
            wrong = {k: v for k, v in have.items() if k != "levels" and v != want.get(k)}
            if wrong:
                raise ConfigError(f"{options.init_from} has another {name}: {wrong}; begin with the same")
        card.elements = sorted({*card.elements, *theirs.elements})
        card.domain, card.hydrogens = union_of_domains(card.domain, theirs.domain), theirs.hydrogens
        assert isinstance(source.spectrum, PowerSpectrum)
        denoiser = build_denoiser(card, source.spectrum).train()
        try:
            continue_from(denoiser, source)
            denoiser.second = source.second.train() if source.second is not None else None
        except ValueError as error:
            raise ConfigError(f"{options.init_from}: {error}") from error
    module = (HydrogenModule if given else DenoiserModule)(
        config, denoiser, data.conditions(conditioned) if conditioned else None
    )
    if options.compile:
        denoiser.net.compile()
    control = RunControl(last)
    callbacks: list[L.Callback] = [
        weight_average(config.optimizer.ema),
        checkpoints(run_dir, options.checkpoint_minutes),
        LearningRateMonitor("step"),
        control,
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    files = AtomicCheckpointIO(whole=resumed is None or resumed.path == last)
    trainer = _trainer(config, run_dir, f"from_step_{start:07d}", callbacks, files, progress)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # rank 0's share of the loss by noise level is enough
        warnings.filterwarnings("ignore", ".*all_gather is deprecated.*")
        try:
            if ended is not None:
                module.load_state_dict(ended["state_dict"])
                module.minutes = float(ended["minutes"])
            else:
                trainer.fit(module, data, ckpt_path=str(resumed.path) if resumed else None, weights_only=True)
        except SIGTERMException as error:  # before training began: a `SystemExit`, which would pass for success
            raise KeyboardInterrupt from error

    # The average sits in the module once fit has ended, and in the saved state.
    if "val/loss" not in trainer.callback_metrics:  # the run was shorter than val_every
        trainer.validate(module, data, verbose=False)
    steps = start if ended is not None else trainer.global_step
    card.metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    sources = [Path(p).name for p in getattr(config.data, "store", [])] or [config.data.kind]
    card.training = {
        "sources": sources,
        "signals": len(data.train),  # type: ignore[arg-type]
        "steps": steps,
        "minutes": round(module.minutes, 1),
        "recipe": recipe,
    }
    weights = run_dir / WEIGHTS
    if trainer.is_global_zero:
        save_pretrained(weights, module.denoiser, card)
    val_loss = card.metrics.get("val/loss", float("nan"))
    return TrainResult(weights, control.interrupted, steps, module.minutes, val_loss, trainer.is_global_zero)
