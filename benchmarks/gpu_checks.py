"""Does the device compute what the CPU does: losses and gradients, bf16, compiled, mined, resumed, distributed."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from gpu_setting import Setting, batch_of, loss_of, module_of
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pyg_diffusion.mining import miners_of
from pyg_diffusion.nn import NETWORKS
from pyg_diffusion.tasks import TASKS
from pyg_diffusion.train import DenoiserModule, RecipeError, TrainResult, train

LOSS, GRADIENT = 1e-4, 1e-2  # largest relative differences in float32: gradients add up far more numbers
BF16 = 0.1  # of the loss; matrix products keep three digits
WEIGHTS = 1e-3  # float16 on disk, and sums in another order on a card


def gradient_of(module: DenoiserModule, batch: Any, device: str) -> tuple[float, Tensor]:
    """(loss, gradient of all parameters in one vector) on a device."""
    module.to(device).zero_grad()
    loss = loss_of(module, batch, device)
    loss.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.denoiser.net.parameters()]
    return float(loss.detach()), parameters_to_vector(parts).detach().double().cpu()


def apart(one: Tensor, other: Tensor) -> float:
    """‖one - other‖ / ‖other‖."""
    return float((one - other).norm() / other.norm().clamp_min(1e-30))


def step(setting: Setting) -> Iterator[dict[str, Any]]:
    """A training step of every task and network in float32 beside the CPU's."""
    torch.set_float32_matmul_precision("highest")
    for task, network in setting.networks():
        module = module_of(setting.recipe(task, network))
        batch = batch_of(module, 8)
        loss, gradient = gradient_of(module, batch, "cpu")
        there, other = gradient_of(module, batch, setting.device)
        found = {"loss": abs(there - loss) / abs(loss), "gradient": apart(other, gradient)}
        ok = found["loss"] <= LOSS and found["gradient"] <= GRADIENT and float(gradient.norm()) > 0
        yield {"task": task, "network": network, "loss": loss, "relative_difference": found, "ok": ok}


def bf16(setting: Setting) -> Iterator[dict[str, Any]]:
    """The same with matrix products in bf16, beside float32 on the device."""
    for task, network in setting.networks():
        module = module_of(setting.recipe(task, network))
        batch = batch_of(module, 8)
        loss, gradient = gradient_of(module, batch, setting.device)
        module.denoiser.autocast = True
        there, other = gradient_of(module, batch, setting.device)
        found = {"loss": abs(there - loss) / abs(loss), "gradient": apart(other, gradient)}
        yield {"task": task, "network": network, "relative_difference": found, "ok": found["loss"] <= BF16}


def compiled(setting: Setting) -> Iterator[dict[str, Any]]:
    """The same compiled, beside the eager one on the device; networks with nothing to compile say so."""
    chosen = [("molecules", "conformer"), ("fields", "graph")] if setting.rehearse else list(setting.networks())
    for task, network in chosen:
        module = module_of(setting.recipe(task, network))
        batch = batch_of(module, 8)
        loss, gradient = gradient_of(module, batch, setting.device)
        try:
            module.denoiser.net.compile()
        except ValueError as error:
            yield {"task": task, "network": network, "said": str(error), "ok": True}
            continue
        there, other = gradient_of(module, batch, setting.device)
        found = {"loss": abs(there - loss) / abs(loss), "gradient": apart(other, gradient)}
        torch.compiler.reset()
        ok = found["loss"] <= 10 * LOSS and found["gradient"] <= GRADIENT
        yield {"task": task, "network": network, "relative_difference": found, "ok": ok}


def miners(setting: Setting) -> Iterator[dict[str, Any]]:
    """A short training of every energy with every miner."""
    for task, network in setting.networks():
        energy = NETWORKS[network].energy
        for miner in [name for name in miners_of(TASKS[task].has) if name != "none"] if energy else []:
            try:
                recipe = setting.recipe(task, network, miner=miner, log_floor=0.01 if task == "matrices" else 0.0)
                result = train(recipe, setting.folder / f"mined_{task}_{network}_{miner}", progress=False)
            except RecipeError as error:  # it is for other tasks, or reads what the store has not
                yield {"task": task, "network": network, "miner": miner, "said": str(error), "ok": True}
                continue
            ok = result.steps == 8 and torch.isfinite(torch.tensor(result.val_loss)).item()
            yield {"task": task, "network": network, "miner": miner, "val_loss": result.val_loss, "ok": ok}


def _interrupted(at: int, work: Callable[[], TrainResult]) -> TrainResult:
    """A training that gets Ctrl-C at a step."""
    whole = DenoiserModule.training_step

    def breaks(self: DenoiserModule, batch: Any, index: int) -> Tensor:
        if self.global_step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, batch, index)

    DenoiserModule.training_step = breaks  # type: ignore[method-assign]
    try:
        return work()
    finally:
        DenoiserModule.training_step = whole  # type: ignore[method-assign]


def _difference(one: TrainResult, other: TrainResult) -> float:
    first, second = load_file(one.weights), load_file(other.weights)
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first if first[name].numel())


def resume(setting: Setting) -> Iterator[dict[str, Any]]:
    """A run of every task that is interrupted and resumed, beside the one that was not."""
    for task, network in (("molecules", "conformer"), ("fields", "graph"), ("matrices", "matrix_energy")):
        recipe, folder = setting.recipe(task, network), setting.folder / f"resume_{task}"
        whole = train(recipe, folder / "whole", progress=False)
        broken = _interrupted(4, lambda recipe=recipe, folder=folder: train(recipe, folder / "parts", progress=False))
        again = train(recipe, folder / "parts", resume=True, progress=False)
        difference = _difference(whole, again)
        ok = broken.interrupted and again.steps == whole.steps and difference <= (WEIGHTS if setting.cuda else 0.0)
        yield {"task": task, "broken_at": broken.steps, "largest_difference": difference, "ok": ok}


def ddp(setting: Setting) -> Iterator[dict[str, Any]]:
    """DDP of one process, over NCCL (gloo on the CPU), beside plain training."""
    recipe = setting.recipe("molecules", "conformer")
    plain = train(recipe, setting.folder / "ddp_plain", progress=False)
    spread = train(setting.recipe("molecules", "conformer", strategy="ddp"), setting.folder / "ddp", progress=False)
    backend = torch.distributed.get_backend() if torch.distributed.is_initialized() else "none"
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    difference = _difference(plain, spread)
    ok = difference <= WEIGHTS and backend == ("nccl" if setting.cuda else "gloo")
    yield {"backend": backend, "largest_difference": difference, "ok": ok}
