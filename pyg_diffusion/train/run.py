"""One training run: from a recipe to a folder with weights, card, logs and resume state."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ..pretrained import Card, save_pretrained
from .callbacks import RunControl, checkpoints, weight_average
from .config import Config, ConfigError, load_config
from .datamodule import ConformerDataModule
from .module import DenoiserModule


@dataclass
class TrainResult:
    """Where a run ended: its weights file, whether it was interrupted, steps, minutes, last validation loss."""

    weights: Path
    interrupted: bool
    steps: int
    minutes: float
    val_loss: float


def _check_same(config: Config, path: Path) -> None:
    """Refuse to continue a run with another network or process than it began with."""
    before = load_config(path).to_dict() if path.exists() else {}
    for section in ("model", "process"):
        if section in before and before[section] != config.to_dict()[section]:
            raise ConfigError(f"{path}: the run began with another {section}: {before[section]}; resume with the same")


def train(config: Config, run_dir: str | Path, resume: bool = False, progress: bool = True) -> TrainResult:
    """Train, resuming from `run_dir/last.ckpt` if asked to.

    Raises:
        ConfigError: the folder already holds a run and `resume` is False, or holds none and it is True.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    run_dir = Path(run_dir)
    last = run_dir / "last.ckpt"
    if last.exists() and not resume:
        raise ConfigError(f"{run_dir} already holds a run; give --resume to continue it, or another folder")
    if resume and not last.exists():
        raise ConfigError(f"{last}: no such file, so there is nothing to resume")
    options = config.train
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # TF32 on CUDA; no effect on the CPU's float32

    if resume:
        _check_same(config, run_dir / "config.yaml")
    data = ConformerDataModule(config.data, options.seed)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    except OSError as error:
        raise ConfigError(f"{run_dir}: cannot be written: {error.strerror or error}") from error
    L.seed_everything(options.seed, verbose=False)
    module = DenoiserModule(config, data.spectrum())
    if options.compile:
        module.denoiser.net.trunk_compile()  # type: ignore[operator]
    start = int(torch.load(last, weights_only=True, map_location="cpu")["global_step"]) if resume else 0
    control = RunControl(last)
    callbacks = [
        weight_average(config.optimizer.ema),
        checkpoints(run_dir, options.checkpoint_minutes),
        LearningRateMonitor("step"),
        control,
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    piece = f"from_step_{start:07d}"
    trainer = L.Trainer(
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
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        trainer.fit(module, data, ckpt_path=str(last) if resume else None, weights_only=True)

    # The average sits in the module once fit has ended.
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    card = Card(
        process=config.to_dict()["process"],
        model=config.to_dict()["model"],
        bf16=options.bf16,
        elements=data.elements(),
        training={
            "stores": [Path(p).name for p in config.data.store],
            "conformers": len(data.train),
            "steps": trainer.global_step,
            "minutes": round(module.minutes, 1),
            "recipe": config.to_dict(),
        },
        metrics=metrics,
    )
    weights = run_dir / "weights.safetensors"
    if trainer.is_global_zero:
        save_pretrained(weights, module.denoiser, card)
    return TrainResult(
        weights, control.interrupted, trainer.global_step, module.minutes, metrics.get("val/loss", float("nan"))
    )
