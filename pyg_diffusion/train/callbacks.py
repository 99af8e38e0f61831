"""What runs beside the training loop: weight averaging, checkpoints, the end of the run."""

import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch_geometric.data import Batch

from .module import DenoiserModule


def ramped_ema(decay: float):
    """θ̄ ← d θ̄ + (1-d) θ with d = min(decay, (1+n)/(20+n)), so that short runs forget their start."""

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (20 + n)))

    return update


def weight_average(decay: float) -> WeightAveraging:
    """Lightning's weight averaging with the ramped decay; validation and exported weights are the average."""
    return WeightAveraging(use_buffers=False, multi_avg_fn=ramped_ema(decay))


def checkpoints(run_dir: Path, minutes: float) -> ModelCheckpoint:
    """`last.ckpt` in the run's folder, replaced every few minutes and at the end."""
    return ModelCheckpoint(
        dirpath=run_dir,
        filename="last",
        train_time_interval=timedelta(minutes=minutes),
        save_top_k=1,
        enable_version_counter=False,
    )


class RunControl(L.Callback):
    """Counts training time; ends the run at its end, or after the step at hand on Ctrl-C (or SIGTERM); saves before ending.

    Saved here, because once training has ended the module holds averaged weights, from which no run can be continued. A
    second Ctrl-C aborts. Must stand behind the weight averaging in the list of callbacks.
    """

    def __init__(self, last: Path) -> None:
        self.last, self.interrupted = last, False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | signal.Handlers | None] = {}
        self._clock = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            print("\ninterrupted: finishing this step and saving; press Ctrl-C again to abort", file=sys.stderr)

        self._clock = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, stop)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(module, DenoiserModule)
        now = time.monotonic()
        module.minutes += (now - self._clock) / 60
        self._clock = now
        # Under DDP every process has a clock of its own, but the schedule and the end must be the same for all.
        module.minutes = float(trainer.strategy.reduce(torch.tensor(module.minutes, device=module.device), reduce_op="max"))
        if trainer.strategy.reduce_boolean_decision(self.interrupted or module.progress() >= 1, all=False):
            trainer.should_stop = True
            trainer.save_checkpoint(self.last)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, module)
