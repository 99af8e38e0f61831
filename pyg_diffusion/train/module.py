"""The LightningModule: one loss, one optimizer, one schedule."""

import math
from copy import copy
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch_geometric.data import Batch

from ..denoise import Denoiser
from ..loss import denoising_losses
from ..mining import MINERS
from ..sde import make_schedule
from ..terms import bind_each
from .datamodule import Draws, SignalDataModule
from .optimizer import MuonAdamW, split_parameters
from .recipe import Recipe


class NoiseLevels:
    """Noise levels log τ to train at, and the weight of each that makes up for how often it comes.

    "importance" takes a level in proportion to √E[loss²] as seen there so far, which has the least variance (Nichol and
    Dhariwal 2021); levels are uniform in log τ until each of the bins has been seen `least` times.

    Args:
        moments: E[loss²] `[bins]`, then how often each bin was seen; kept by the caller, so that it is saved with a run.
    """

    bins, least, decay, floor = 20, 10, 0.9, 0.05

    def __init__(self, recipe: Recipe, moments: Tensor):
        train, process = recipe.train, recipe.process
        self.kind, self.mean, self.std = train.time_sampling, train.log_tau_mean, train.log_tau_std
        self.low, self.high = math.log(process.tau_min), math.log(process.tau_max)
        self.schedule = make_schedule(process.schedule, process.tau_min, process.tau_max)
        self.moments = moments

    def draw(self, draws: Draws, learned: bool = True) -> tuple[Tensor, Tensor]:
        """(log τ, weight), `[num_graphs, 1]` each; `learned` is False for validation, which stays the same."""
        if self.kind == "lognormal":
            log_tau = self.mean + self.std * draws.graph_normal(1)
            return log_tau.clamp(self.low, self.high), torch.ones_like(log_tau)
        u = draws.graph_uniform(1)
        weight = torch.ones_like(u)
        if self.kind == "schedule":
            return self.schedule.tau(u).log(), weight
        moment, seen = self.moments
        if self.kind == "importance" and learned and bool((seen >= self.least).all()):
            share = moment.sqrt() / moment.sqrt().sum().clamp_min(1e-30)
            share = (1 - self.floor) * share + self.floor / self.bins
            edges = share.cumsum(0)
            k = torch.searchsorted(edges, u).clamp_max(self.bins - 1)
            u = (k + ((u - edges[k] + share[k]) / share[k]).clamp(0, 1)) / self.bins
            weight = 1 / (share[k] * self.bins)
        return self.low + (self.high - self.low) * u, weight

    def learn(self, log_tau: Tensor, losses: Tensor) -> None:
        """Take in losses `[n]` at log τ `[n]`."""
        if self.kind != "importance":
            return
        moment, seen = self.moments
        k = ((log_tau - self.low) / (self.high - self.low) * self.bins).long().clamp(0, self.bins - 1)
        count = torch.bincount(k, minlength=self.bins)
        mean = torch.zeros_like(moment).index_add(0, k, losses.detach().float().square()) / count.clamp_min(1)
        keep = torch.where(seen == 0, 0.0, torch.tensor(self.decay, device=k.device) ** count)
        moment.copy_(torch.where(count > 0, keep * moment + (1 - keep) * mean, moment))
        seen.add_(count)


class DenoiserModule(L.LightningModule):
    """Trains a `Denoiser` on what its `SignalDataModule` presents of a batch.

    All randomness of a step comes from (seed, step), so a resumed run continues as the uninterrupted one would have, as far
    as its schedule goes by steps and not by the clock, and processes that share a batch compute what one alone would have.
    """

    def __init__(self, recipe: Recipe, denoiser: Denoiser, data: SignalDataModule):
        super().__init__()
        self.recipe, self.denoiser, self.data, self.exact = recipe, denoiser, data, recipe.exact_targets
        if recipe.model.conditions:
            denoiser.net.set_conditions(*data.conditions(recipe.model.conditions))
        self.time_moments: Tensor
        self.register_buffer("time_moments", torch.zeros(2, NoiseLevels.bins))
        self.minutes = 0.0  # training time, resumed pieces included; `RunControl` counts it

    def progress(self) -> float:
        """Share of the run that is done, by steps or by minutes, whichever is further."""
        train = self.recipe.train
        by_time = self.minutes / train.max_minutes if train.max_minutes > 0 else 0.0
        return min(1.0, max(self.global_step / train.max_steps, by_time))

    def _losses(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(what is minimised, the loss against the drawn S_0, log τ, weight), one of each per graph."""
        train = self.recipe.train
        operator, x_0, context = self.data.present(batch, draws)
        if "condition" in context:
            withheld = self.data.withheld(draws, context.condition.size(1), train.condition_dropout)
            context.condition = torch.where(withheld, torch.nan, context.condition)
        if self.denoiser.net.levels:
            withheld = draws.graph_uniform(1)[:, 0] < train.condition_dropout
            context.level = ["" if w else name for w, name in zip(withheld.tolist(), context.level, strict=True)]
        log_tau, weight = NoiseLevels(self.recipe, self.time_moments).draw(draws, training)
        t = self.denoiser.sde.schedule.t(log_tau.exp())
        noise = draws.node_normal(x_0.size(1))
        penalties = {}
        if train.regularizers and training:
            seen = copy(batch).update(context)  # the batch, in the orientation that it is shown in
            penalties = bind_each(train.regularizers, operator, seen, x_0)
        losses, sampled, terms = denoising_losses(
            self.denoiser,
            operator,
            x_0,
            noise,
            t,
            context,
            train.stage_weight if training else 0.0,
            train.objectives or {self.denoiser.predicts: 1.0},
            train.time_weight,
            penalties,
            self.data.candidates(operator, x_0, context),
        )
        if training and train.log_floor:
            losses = (losses + train.log_floor).log()
        if training and train.miner != "none":
            miner = MINERS[train.miner](**train.miner_options)
            own = draws.generator  # processes that share a batch must not start from the same negatives
            if self.trainer.world_size > 1:
                own = self._draws(batch, self.global_step, 1 + self.global_rank).generator
            mined = miner(self.denoiser, operator, x_0, noise, t, context, own)
            negatives = train.miner_weight * (mined.loss.log1p() if train.log_floor else mined.loss)
            losses, terms["miner"] = losses + negatives, negatives.detach()
            for name, value in mined.log().items():
                self.log(f"mining/{name}", value, batch_size=batch.num_graphs)
        if training and len(terms) > 1:
            share = weight.squeeze(1) * self.trainer.world_size / draws.total[0]  # as `training_step` weighs the losses
            for name, term in terms.items():
                self.log(f"train/term_{name}", (share * term).sum(), batch_size=batch.num_graphs, sync_dist=True)
        return losses, sampled, log_tau.squeeze(1), weight.squeeze(1)

    def _draws(self, batch: Batch, *key: int, shared: bool = False) -> Draws:
        """Draws from (seed, key); with `shared` for this process's part of a batch."""
        seed = 0
        for part in (self.recipe.train.seed, *key):
            seed = (seed * 1_000_003 + part + 1) % (1 << 62)
        generator = torch.Generator(self.device).manual_seed(seed)
        counts = batch.num_graphs, int(batch.num_nodes or 0)
        if not shared or self.trainer.world_size == 1:
            return Draws(generator, *counts)
        every = self.all_gather(torch.tensor(counts, device=self.device))
        assert isinstance(every, Tensor)
        before, total = every[: self.global_rank].sum(0).tolist(), every.sum(0).tolist()
        return Draws(generator, *counts, (before[0], before[1]), (total[0], total[1]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        draws = self._draws(batch, self.global_step, shared=True)
        losses, sampled, log_tau, weight = self._losses(batch, draws, True)
        seen = [log_tau, losses.detach()]
        if self.trainer.world_size > 1 and self.recipe.train.time_sampling == "importance":
            seen = [torch.cat(_gather_ragged(v)) for v in seen]
        NoiseLevels(self.recipe, self.time_moments).learn(*seen)
        # DDP averages over processes; parts of unlike size must not count alike.
        share = self.trainer.world_size / draws.total[0]
        loss = (weight * losses).sum() * share
        if self.exact:
            self.log("train/loss_exact", loss, batch_size=batch.num_graphs, sync_dist=True)
        shown = (weight * sampled).sum() * share if self.exact else loss
        self.log("train/loss", shown, prog_bar=True, batch_size=batch.num_graphs, sync_dist=True)
        return loss

    def on_validation_start(self) -> None:
        self._val: list[tuple[Tensor, Tensor, Tensor]] = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        losses, sampled, log_tau, _ = self._losses(batch, self._draws(batch, -1, batch_idx), False)
        self.log("val/loss", sampled.mean(), prog_bar=True, batch_size=batch.num_graphs, sync_dist=True)
        if self.exact:
            self.log("val/loss_exact", losses.mean(), batch_size=batch.num_graphs, sync_dist=True)
        self._val.append((losses, sampled, log_tau))

    def on_validation_epoch_end(self) -> None:
        """The loss by noise level, in four ranges of τ: where the model is good and where it is not.

        `val/loss` is against the drawn S_0, whatever was minimised, so that runs compare; `val/loss_exact` is against
        E[S_0 | S_t], less the noise that no network could predict.
        """
        losses, sampled, log_tau = (torch.cat(v) for v in zip(*self._val, strict=True))
        shown = {"loss": sampled, "loss_exact": losses} if self.exact else {"loss": sampled}
        for low, high in ((-9.0, -3.0), (-3.0, -1.0), (-1.0, 1.0), (1.0, 9.0)):
            mine = (log_tau >= low) & (log_tau < high)
            if bool(mine.any()):
                for name, values in shown.items():
                    self.log(f"val/{name}_log_tau_{low:g}_{high:g}", values[mine].mean())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        options, net = self.recipe.optimizer, self.denoiser.net
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


def _gather_ragged(values: Tensor) -> list[Tensor]:
    """Vectors of unlike length from every process, in order of rank."""
    parts = [values] * torch.distributed.get_world_size()  # which are put in the place of these
    torch.distributed.all_gather_object(parts, values.cpu())
    return [part.to(values.device) for part in parts]
