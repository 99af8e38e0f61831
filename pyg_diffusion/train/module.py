"""The LightningModule: one loss, one optimizer, one schedule."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import to_dense_batch

from ..data import laplacian_operator
from ..data.properties import properties
from ..denoise import Denoiser
from ..loss import denoising_loss
from ..nn import ConformerNet
from ..sde import GeometricTime, LinearSDE
from ..spectral import DenseOperator, PowerSpectrum
from .config import Config
from .optimizer import MuonAdamW, split_parameters


def build_denoiser(config: Config, spectrum: PowerSpectrum) -> Denoiser:
    """The denoiser a recipe describes, untrained."""
    process, model = config.process, config.model
    schedule = GeometricTime(process.tau_min, process.tau_max)
    sde = LinearSDE(schedule, process.gamma, process.lambda0, process.noise)  # type: ignore[arg-type]
    sizes = model.width, tuple(model.depths), model.heads, model.pair_width, model.expansion
    net = ConformerNet(*sizes, tuple(model.conditions))
    return Denoiser(net, sde, spectrum, centered=True, autocast=config.train.bf16)


def random_rotations(n: int, generator: torch.Generator) -> Tensor:
    """Haar-random proper rotations from unit quaternions, `[n, 3, 3]`."""
    q = torch.randn(n, 4, generator=generator, device=generator.device)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).view(n, 3, 3)


class DenoiserModule(L.LightningModule):
    """Trains a `Denoiser` on conformers in random orientation and handedness.

    A reflected molecule is the other enantiomer, of equal energy: half of the samples are reflected, with the wanted order
    of every stereocentre reversed.

    All randomness of a step comes from (seed, step, rank), so a resumed run continues as the uninterrupted one would have,
    as far as its schedule goes by steps and not by the clock.
    """

    def __init__(self, config: Config, spectrum: PowerSpectrum, conditions: tuple[Tensor, Tensor] | None = None):
        super().__init__()
        self.config = config
        self.denoiser = build_denoiser(config, spectrum)
        if conditions is not None:
            net: Any = self.denoiser.net
            net.condition_mean.copy_(conditions[0])
            net.condition_std.copy_(conditions[1])
        self.minutes = 0.0  # training time, resumed pieces included; `RunControl` counts it

    def progress(self) -> float:
        """Share of the run that is done, by steps or by minutes, whichever is further."""
        train = self.config.train
        by_time = self.minutes / train.max_minutes if train.max_minutes > 0 else 0.0
        return min(1.0, max(self.global_step / train.max_steps, by_time))

    def _losses(self, batch: Batch, generator: torch.Generator, stage_weight: float) -> tuple[Tensor, Tensor]:
        """(loss, log τ), one of each per graph."""
        train, process = self.config.train, self.config.process
        operator = laplacian_operator(batch, DenseOperator.from_laplacian)
        n, device = operator.num_graphs, batch.pos.device
        turn = random_rotations(n, generator)
        mirror = torch.rand(n, generator=generator, device=device) < 0.5
        turn = torch.where(mirror[:, None, None], -turn, turn)
        pos = torch.einsum("ni,nij->nj", batch.pos, turn[batch.batch])
        reflected = mirror[batch.batch[batch.tetra_index[0]]]
        swapped = batch.tetra_index[[0, 2, 1, 3, 4]]
        context = batch.clone()
        context.tetra_index = torch.where(reflected, swapped, batch.tetra_index)
        if self.config.model.conditions:
            values = properties(self.config.model.conditions, *to_dense_batch(pos, batch.batch))
            withheld = torch.rand(values.shape, generator=generator, device=device) < train.condition_dropout
            context.condition = torch.where(withheld, torch.nan, values)

        log_tau = train.log_tau_mean + train.log_tau_std * torch.randn(n, 1, generator=generator, device=device)
        log_tau = log_tau.clamp(math.log(process.tau_min), math.log(process.tau_max))
        t = self.denoiser.sde.schedule.t(log_tau.exp())
        noise = torch.randn(pos.shape, generator=generator, device=device)
        return denoising_loss(self.denoiser, operator, pos, noise, t, context, stage_weight), log_tau.squeeze(1)

    def _generator(self, *key: int) -> torch.Generator:
        seed = 0
        for part in (self.config.train.seed, *key):
            seed = (seed * 1_000_003 + part + 1) % (1 << 62)
        return torch.Generator(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = self._generator(self.global_step, self.global_rank)
        loss = self._losses(batch, generator, self.config.train.stage_weight)[0].mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=batch.num_graphs)
        return loss

    def on_validation_start(self) -> None:
        self._val: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        losses, log_tau = self._losses(batch, self._generator(-1, batch_idx), 0.0)
        self.log("val/loss", losses.mean(), prog_bar=True, batch_size=batch.num_graphs, sync_dist=True)
        self._val.append((losses, log_tau))

    def on_validation_epoch_end(self) -> None:
        """The loss by noise level, in four ranges of τ: where the model is good and where it is not."""
        losses, log_tau = (torch.cat(v) for v in zip(*self._val, strict=True))
        for low, high in ((-9.0, -3.0), (-3.0, -1.0), (-1.0, 1.0), (1.0, 9.0)):
            mine = (log_tau >= low) & (log_tau < high)
            if bool(mine.any()):
                self.log(f"val/loss_log_tau_{low:g}_{high:g}", losses[mine].mean())

    def configure_optimizers(self) -> Any:
        options, net = self.config.optimizer, self.denoiser.net
        if options.name == "muon":
            matrices, others = split_parameters(net)
        else:
            matrices, others = [], list(net.parameters())
        optimizer = MuonAdamW(matrices, others, options.muon_lr, options.lr, options.weight_decay)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, options.warmup))
            return warm * max(1e-3, 0.5 * (1 + math.cos(math.pi * self.progress())))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["minutes"] = self.minutes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.minutes = checkpoint["minutes"]
