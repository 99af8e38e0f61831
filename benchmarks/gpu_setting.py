"""What the parts of `gpu.py` share, and `docs/crossing.py`: small recipes of every task and network, modules on a device,
time and memory."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_diffusion.nn import NETWORKS
from pyg_diffusion.tasks import TASKS, recipe_from
from pyg_diffusion.train import DenoiserModule, Recipe
from pyg_diffusion.train.datamodule import Draws
from pyg_diffusion.train.optimizer import MuonAdamW, split_parameters
from pyg_diffusion.train.recipe import networks_of
from pyg_diffusion.weights_io import Card, build_denoiser

SMALL = {"width": 16, "depths": [1, 1], "depth": 2, "heads": 2, "pair_width": 8, "channels": 4, "node_channels": 4}
PROCESS: dict[str, dict[str, Any]] = {
    "molecules": {},
    "fields": {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-5, "tau_max": 8.0},
    "matrices": {"gamma": 0.0, "lambda0": 1.0, "noise": "matched", "tau_min": 1e-6, "tau_max": 3.0},
    "signals": {"gamma": 0.5, "lambda0": 0.5, "noise": "matched", "tau_min": 1e-5, "tau_max": 8.0},
}
VARIANCE_EXPLODING = {"gamma": 0.0, "lambda0": 0.0}  # where an ε of molecules is predicted
PLAIN: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Setting:
    """What to run on.

    Attributes:
        device: "cuda", or "cpu" in a rehearsal.
        store: of molecules.
        folder: for runs.
        rehearse: everything small.
    """

    device: str
    store: Path
    folder: Path
    rehearse: bool

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def data(self, task: str) -> dict[str, Any]:
        """The recipe's data section."""
        few = self.rehearse
        return {
            "molecules": {"store": [str(self.store)], "batch_size": 4 if few else 128, "val_fraction": 0.2},
            "fields": {
                "root": str(self.folder / "fields"),
                "shape": [6, 6] if few else [32, 32],
                "num_samples": 16,
                "val_samples": 4,
                "batch_size": 4 if few else 8,
            },
            "signals": {
                "dataset": "pyg_diffusion.datasets:GraphFields",
                "arguments": {
                    "root": str(self.folder / "signals"),
                    "num_nodes": 20 if few else 2000,
                    "num_samples": 24 if few else 64,
                },
                "batch_size": 4 if few else 8,
            },
            "matrices": {"n": 4 if few else 20, "num_samples": 256, "val_samples": 8, "batch_size": 8 if few else 64},
        }[task]

    def recipe(
        self,
        task: str,
        network: str,
        data: dict[str, Any] | None = None,
        process: dict[str, Any] | None = None,
        sample: dict[str, Any] | None = None,
        **train: Any,
    ) -> Recipe:
        """A recipe of a task's data for a network: of its own size, or small in a rehearsal."""
        known = NETWORKS[network].options(network).model_fields
        model = {name: value for name, value in SMALL.items() if name in known} if self.rehearse else {}
        second = {"hydrogens": "second"} if network == "hydrogen" else {}
        predicts = "eps" if NETWORKS[network].energy else NETWORKS[network].network.predicts
        exploding = task == "molecules" and predicts != "F"
        return recipe_from(
            {
                "data": {"kind": task, **self.data(task), **second, **(data or {})},
                "process": (VARIANCE_EXPLODING if exploding else PROCESS[task]) | (process or {}),
                "model": {"kind": network, **model},
                "optimizer": {"warmup": 2},
                "sample": sample or {},
                "train": {
                    "max_steps": 8,
                    "val_every": 8,
                    "accelerator": "gpu" if self.cuda else "cpu",
                    "time_sampling": "uniform",
                    "bf16": False,
                    **train,
                },
            }
        )

    def networks(self) -> Iterator[tuple[str, str]]:
        """(task, network) of all that train."""
        yield from ((task, network) for task in PROCESS for network in networks_of(TASKS[task]))


class SameDraws(Draws):
    """Numbers drawn on the CPU, whatever the device, so that devices compare."""

    def __init__(self, batch: Batch, device: str):
        super().__init__(torch.Generator().manual_seed(0), batch.num_graphs, int(batch.num_nodes or 0))
        self.device = device

    def _cut(self, draw: Callable[..., Tensor], level: int, count: int, width: int) -> Tensor:
        return super()._cut(draw, level, count, width).to(self.device)


def module_of(recipe: Recipe) -> DenoiserModule:
    """The untrained module of a recipe, the same each time, on the CPU; what it would log goes nowhere."""
    L.seed_everything(0, verbose=False)
    data = recipe.task.datamodule(recipe)
    card = Card(
        process=recipe.process.facts(),
        model=recipe.to_dict()["model"] | data.model_facts(),
        bf16=recipe.train.bf16,
        centered=data.centered,
        **data.card_facts(),
    )
    module = recipe.task.module(recipe)(recipe, build_denoiser(card, data.spectrum()), data)
    module._trainer = L.Trainer(accelerator="cpu", devices=1, **PLAIN)
    module.log = lambda *what, **how: None  # type: ignore[method-assign]
    return module


def batch_of(module: DenoiserModule, count: int | None = None) -> Batch:
    """The first items to train on, as many as the recipe has in a batch."""
    items = module.data.train
    return Batch.from_data_list([items[k] for k in range(min(count or module.recipe.data.batch_size, len(items)))])


def loss_of(module: DenoiserModule, batch: Batch, device: str) -> Tensor:
    """The loss of a training step on a device, with numbers from the CPU."""
    losses, _, _, weight = module._losses(batch.clone().to(device), SameDraws(batch, device), True)
    return (weight * losses).mean()


def optimizer_of(module: DenoiserModule) -> MuonAdamW:
    """That of the recipe."""
    options, net = module.recipe.optimizer, module.denoiser.net
    matrices, others = split_parameters(net) if options.name == "muon" else ([], list(net.parameters()))
    return MuonAdamW(matrices, others, options.muon_lr, options.lr, options.weight_decay)


def settle(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(device: str, work: Callable[[], object], times: int) -> float:
    """Of one call, the mean over several after one to warm up."""
    work()
    settle(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    settle(device)
    return (time.perf_counter() - start) / times


def peak_mb(device: str, work: Callable[[], object]) -> float:
    """The largest memory in MiB during a call: of the card what torch took, of the CPU that of the whole process."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        settle(device)
        return torch.cuda.max_memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    work()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
