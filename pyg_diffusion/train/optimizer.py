"""Muon for the matrices of attention and feed-forward layers, AdamW for everything else, as one optimizer."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

from ..network import Network


def orthogonalize(update: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: quintic Newton-Schulz, batched, `[..., m, n]`.

    Singular values end between about .7 and 1.2 (Jordan et al. 2024, coefficients 3.4445, -4.7750, 2.0315). bf16 suffices.
    """
    x = update.bfloat16()
    wide = x.size(-2) <= x.size(-1)
    x = x if wide else x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x if wide else x.mT).to(update.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) on `matrices`, AdamW (Loshchilov and Hutter 2019) on `others`.

    Matrices of equal shape are orthogonalized together, so a step is a handful of batched products. Its update has the
    scale lr √max(1, rows/columns).
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        muon_lr: float,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
    ):
        muon = {"params": list(matrices), "lr": muon_lr, "muon": True}
        adam = {"params": list(others), "lr": lr, "muon": False}
        groups = [g for g in (muon, adam) if g["params"]]
        super().__init__(groups, {"weight_decay": weight_decay, "momentum": momentum, "betas": betas})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            (self._muon if group["muon"] else self._adam)(params, group)
        return loss

    def _buffers(self, params: list[Tensor], name: str) -> list[Tensor]:
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in params]

    def _muon(self, params: list[Tensor], group: dict) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        momentum = self._buffers(params, "momentum")
        torch._foreach_lerp_(momentum, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, momentum, group["momentum"])  # Nesterov
        shapes: dict[torch.Size, list[int]] = defaultdict(list)
        for k, p in enumerate(params):
            shapes[p.shape].append(k)
        for shape, members in shapes.items():
            scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            step = orthogonalize(torch.stack([updates[k] for k in members]))
            torch._foreach_add_([params[k] for k in members], list(step.unbind(0)), alpha=-scale)

    def _adam(self, params: list[Tensor], group: dict) -> None:
        beta1, beta2 = group["betas"]
        count = group["count"] = group.get("count", 0) + 1
        grads = [p.grad for p in params if p.grad is not None]
        first, second = self._buffers(params, "first"), self._buffers(params, "second")
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, (1 - beta2**count) ** 0.5)
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(params, first, root, value=-group["lr"] / (1 - beta1**count))


def split_parameters(net: nn.Module | Network) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices inside the attention blocks and their modulation, everything else)."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        inner = parameter.dim() == 2 and ("blocks" in name.split(".") or name.endswith("modulation.weight"))
        (matrices if inner else others).append(parameter)
    return matrices, others
