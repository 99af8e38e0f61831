"""One training run: from a recipe to a folder with weights, card, logs and resume state."""

import logging
import sys
import warnings
from dataclasses import dataclass
from functools import partial
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

from ..denoise import Denoiser
from ..files import replacing
from ..spectral import PowerSpectrum
from ..weights_io import Card, build_denoiser, continue_from, load_pretrained, save_pretrained, union_of_domains
from ..weights_path import BEST
from ..weights_path import LAST as WEIGHTS
from .callbacks import BestWeights, RunControl, WeightAverage, checkpoints, stale_in
from .checkpoint import LAST, PREVIOUS, AtomicCheckpointIO, resume_state
from .datamodule import SignalDataModule
from .module import DenoiserModule
from .recipe import Recipe, RecipeError, read_yaml, recipe_from

RECIPE = "config.yaml"
FREE = ("levels", "schedule", "knots")  # what may differ from the weights that a run begins with: networks know τ, not t
HARMLESS = (
    ".*does not have many workers.*",
    ".*exists and is not empty.*",
    ".*LeafSpec.*",
    ".*sync_dist=True.*",  # rank 0's share of the loss by noise level is enough
    ".*all_gather is deprecated.*",
)


@dataclass
class TrainResult:
    """Where a run ended: its weights file, whether it was interrupted, steps, minutes, last validation loss; the smallest,
    of the best weights beside; and whether this is the process that speaks for all."""

    weights: Path
    interrupted: bool
    steps: int
    minutes: float
    val_loss: float
    best_loss: float
    main: bool = True


@dataclass
class _Resumed:
    """What a run goes on from: file and the step it was saved at; and its state where the run only lacks the export, having
    been killed between that and its last save."""

    path: Path
    step: int
    ended: dict[str, Any] | None


def _check_resume(recipe: Recipe, run_dir: Path) -> _Resumed:
    """Where a run is resumed; refused where it began with another recipe, or has ended."""
    path, state, remark = resume_state(run_dir)
    values, task = read_yaml(run_dir / RECIPE), recipe.task
    kind = values.get("data", {}).get("kind", recipe.data.kind)
    if kind != recipe.data.kind:
        raise RecipeError(f"{run_dir} began with another data.kind: {kind}; resume with the same")
    try:
        before = recipe_from(values, {task.name: task})
    except RecipeError as error:
        raise RecipeError(f"{run_dir / RECIPE}: {error}") from error
    for name, began, now in (
        ("model", before.model.model_dump(), recipe.model.model_dump()),
        ("process", before.process.model_dump(), recipe.process.model_dump()),
        ("data", before.data.essence(), recipe.data.essence()),
    ):
        if began != now:
            raise RecipeError(f"{run_dir} began with another {name}: {began}; resume with the same")
    for name, one, other in (
        ("optimizer.name", before.optimizer.name, recipe.optimizer.name),
        ("train.seed", before.train.seed, recipe.train.seed),
    ):
        if one != other:
            raise RecipeError(f"{run_dir} began with {name}={one}; resume with the same")
    if remark:
        print(remark, file=sys.stderr)
    step, minutes = int(state["global_step"]), float(state["minutes"])
    ended = step >= recipe.train.max_steps or 0 < recipe.train.max_minutes <= minutes
    ended = ended or 0 < recipe.train.patience <= stale_in(state)
    weights = run_dir / WEIGHTS
    exported = weights.exists() and weights.stat().st_mtime >= path.stat().st_mtime
    if ended and exported:
        raise RecipeError(
            f"{run_dir} has ended ({step} steps, {minutes:.1f} min); "
            "raise train.max_steps, train.max_minutes or train.patience to go on"
        )
    return _Resumed(path, step, state if ended else None)


def _trainer(
    recipe: Recipe, run_dir: Path, piece: str, callbacks: list[L.Callback], files: AtomicCheckpointIO, progress: bool
) -> L.Trainer:
    """Lightning's trainer for one piece of a run; `piece` names its logs, `files` keeps its resume state."""
    options = recipe.train
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
            gradient_clip_val=recipe.optimizer.clip,
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
        raise RecipeError(f"train: {error}") from error


def _begin(recipe: Recipe, run_dir: Path) -> None:
    """The run's folder, with the recipe in it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / BEST).unlink(missing_ok=True)  # of a run that was killed before it could be resumed
        with replacing(run_dir / RECIPE) as temporary:
            temporary.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    except OSError as error:
        raise RecipeError(f"{run_dir}: cannot be written: {error.strerror or error}") from error


def _model(recipe: Recipe, data: SignalDataModule, source: tuple[Denoiser, Card] | None) -> tuple[Denoiser, Card]:
    """The denoiser to train, untrained or with the weights of another, and its card."""
    values = recipe.to_dict()
    card = Card(
        process=recipe.process.facts(),
        model=values["model"] | data.model_facts(),
        bf16=recipe.train.bf16,
        centered=data.centered,
        **data.card_facts(),
    )
    if source is None:
        denoiser = build_denoiser(card, data.spectrum())
        denoiser.coarse = data.coarse
        return denoiser, card
    before, theirs = source
    for name, have, want in (("process", theirs.process, card.process), ("model", theirs.model, card.model)):
        known = dict(want)
        wrong = {k: v for k, v in have.items() if k not in FREE and v != known.get(k)}
        if wrong:
            raise RecipeError(f"{recipe.train.init_from} has another {name}: {wrong}; begin with the same")
    card.elements = sorted({*card.elements, *theirs.elements})
    card.domain, card.hydrogens = union_of_domains(card.domain, theirs.domain), theirs.hydrogens
    assert isinstance(before.spectrum, PowerSpectrum)
    denoiser = build_denoiser(card, before.spectrum).train()
    try:
        continue_from(denoiser, before)
    except ValueError as error:
        raise RecipeError(f"{recipe.train.init_from}: {error}") from error
    denoiser.second = before.second.train() if before.second is not None else None
    denoiser.coarse = data.coarse
    return denoiser, card


def _export(path: Path, card: Card, trainer: L.Trainer, module: DenoiserModule, step: int) -> None:
    """Write the module's weights, with a card of the last validation, as of a step."""
    data, metrics = module.data, trainer.callback_metrics
    training = {
        "sources": data.sources,
        "signals": len(data.sizes(data.train)),
        "steps": step,
        "minutes": round(module.minutes, 1),
        "recipe": module.recipe.to_dict(),
    }
    found = {k: float(v) for k, v in metrics.items() if k.startswith("val/")}
    save_pretrained(path, module.denoiser, card.model_copy(update={"metrics": found, "training": training}))


def _fit(trainer: L.Trainer, module: DenoiserModule, resumed: _Resumed | None) -> None:
    """Train to the end, or put in place what was trained already; and validate, if that was not the last thing done."""
    with warnings.catch_warnings():
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", harmless)
        try:
            if resumed is not None and resumed.ended is not None:
                module.load_state_dict(resumed.ended["state_dict"])
                module.minutes = float(resumed.ended["minutes"])
            else:
                path = None if resumed is None else str(resumed.path)
                trainer.fit(module, module.data, ckpt_path=path, weights_only=True)
        except SIGTERMException as error:  # before training began: a `SystemExit`, which would pass for success
            raise KeyboardInterrupt from error
    # The average sits in the module once fit has ended, and in the saved state.
    if "val/loss" not in trainer.callback_metrics:  # the run was shorter than val_every
        trainer.validate(module, module.data, verbose=False)


def train(recipe: Recipe, run_dir: str | Path, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train, resuming from `run_dir/last.ckpt` if asked to, or from the state saved before it where that is damaged.

    Raises:
        RecipeError: the folder already holds a run and `resume` is False.
        CheckpointError: `resume` is True, and there is no state to go on from, or none that can be read.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    run_dir, options, task = Path(run_dir), recipe.train, recipe.task
    last = run_dir / LAST
    if not resume and (last.exists() or (run_dir / PREVIOUS).exists()):
        raise RecipeError(f"{run_dir} already holds a run; give --resume to continue it, or another folder")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; no effect on the CPU's float32

    resumed = _check_resume(recipe, run_dir) if resume else None
    data = task.datamodule(recipe)
    if recipe.levels and (unknown := sorted(data.levels() - set(recipe.levels))):
        raise RecipeError(f"model.levels does not name {', '.join(unknown)}, which the stores hold")
    source = load_pretrained(options.init_from) if options.init_from else None
    if not resume:
        _begin(recipe, run_dir)
    L.seed_everything(options.seed, verbose=False)
    denoiser, card = _model(recipe, data, source)
    module = task.module(recipe)(recipe, denoiser, data)
    if options.compile:
        denoiser.net.compile()
    average, start = WeightAverage(recipe.optimizer.ema), 0 if resumed is None else resumed.step
    best = BestWeights(run_dir / BEST, average, options.patience, partial(_export, run_dir / BEST, card), start)
    control = RunControl(last, best)
    callbacks = [average, checkpoints(run_dir, options.checkpoint_minutes), LearningRateMonitor("step"), best, control]
    callbacks += [TQDMProgressBar(refresh_rate=10)] if progress else []
    files = AtomicCheckpointIO(whole=resumed is None or resumed.path == last)
    trainer = _trainer(recipe, run_dir, f"from_step_{start:07d}", callbacks, files, progress)
    _fit(trainer, module, resumed)

    steps, weights = max(start, trainer.global_step), run_dir / WEIGHTS
    if trainer.is_global_zero:
        _export(weights, card, trainer, module, steps)
    val_loss = float(trainer.callback_metrics.get("val/loss", float("nan")))
    minutes = module.minutes
    return TrainResult(weights, control.interrupted, steps, minutes, val_loss, best.written, trainer.is_global_zero)
