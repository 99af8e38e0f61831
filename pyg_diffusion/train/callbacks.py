"""What runs beside the training loop: weight averaging, checkpoints, the end of the run."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch_geometric.data import Batch

from ..weights_io import WeightsError, load_pretrained
from .module import DenoiserModule

Export = Callable[[L.Trainer, DenoiserModule, int], None]


def ramped_ema(decay: float):
    """θ̄ ← d θ̄ + (1-d) θ with d = min(decay, (1+n)/(20+n)), so that short runs forget their start."""

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (20 + n)))

    return update


class WeightAverage(WeightAveraging):
    """Lightning's weight averaging with the ramped decay; validation and exported weights are the average."""

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=ramped_ema(decay))

    @property
    def state_key(self) -> str:
        """As in runs that began with Lightning's own class."""
        return WeightAveraging.__qualname__

    @contextmanager
    def in_place(self, module: L.LightningModule) -> Iterator[None]:
        """The module with the average for weights; where there is none (training has ended), it has it already."""
        if self._average_model is None:
            yield
            return
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


class BestWeights(L.Callback):
    """Exports the averaged weights at every validation whose loss is the smallest so far, and counts those that are not.

    Args:
        path: the file of these weights; what it holds already of this run stays until it is beaten.
        average: whose weights are exported; must stand before this in the list of callbacks.
        patience: so many validations in a row without a smaller loss end the run; 0: none do.
        export: writes the module's weights, as of a step.
        start: the step that the run goes on from.

    Attributes:
        loss: the smallest validation loss; infinite before there is one.
        stale: validations since.
        written: the validation loss of what the file holds; after a kill that may be from beyond where the run goes on.
    """

    def __init__(self, path: Path, average: WeightAverage, patience: int, export: Export, start: int) -> None:
        self.average, self.patience, self.export, self.start = average, patience, export, start
        self.loss, self.stale, self.written = math.inf, 0, _loss_of(path)

    @property
    def exhausted(self) -> bool:
        """Whether patience is at its end."""
        return 0 < self.patience <= self.stale

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, DenoiserModule)
        loss = float(trainer.callback_metrics["val/loss"])  # of all processes
        better = loss < self.loss  # NaN is not
        self.loss, self.stale = (loss, 0) if better else (self.loss, self.stale + 1)
        if loss < self.written:
            self.written = loss
            if trainer.is_global_zero:
                with self.average.in_place(module):
                    self.export(trainer, module, max(self.start, trainer.global_step))

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "stale": self.stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.stale = float(state_dict["loss"]), int(state_dict["stale"])


def stale_in(state: dict[str, Any]) -> int:
    """Validations without an improvement, in a resume state; 0 in those of before 0.7."""
    return int(state.get("callbacks", {}).get(BestWeights.__name__, {}).get("stale", 0))


def _loss_of(path: Path) -> float:
    """The validation loss of weights; infinite where there are none that load."""
    try:
        _, card = load_pretrained(path)
    except WeightsError:
        return math.inf
    loss = card.metrics.get("val/loss")
    return loss if isinstance(loss, float) else math.inf


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

    Args:
        last: where the resume state is saved.
        best: whose patience ends the run as well, after the step that follows the validation.
    """

    def __init__(self, last: Path, best: BestWeights) -> None:
        self.last, self.best, self.interrupted = last, best, False
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
        over = module.progress() >= 1 or self.best.exhausted
        if trainer.strategy.reduce_boolean_decision(self.interrupted or over, all=False):
            trainer.should_stop = True
            trainer.save_checkpoint(self.last)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, module)
