"""What a user would take for grids: the U-Net of diffusers under its own DDPM scheduler (`pip install diffusers`)."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = {8: 2, 16: 2}  # halvings and one, by side; 3 for larger grids
TRAINING_STEPS = 1000  # of the scheduler
STEPS = 100  # of a draw
RATE, BATCH, WARMUP, EMA = 1e-3, 32, 100, 0.999


def _built(side: int, channels: int, width: int, classes: int) -> nn.Module:
    from diffusers import UNet2DModel

    levels = LEVELS.get(side, 3)
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=tuple(width * 2**k for k in range(levels)),
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=classes or None,
    )


def count(net: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def sized(side: int, channels: int, parameters: int, classes: int = 0) -> nn.Module:
    """The U-Net whose size is the nearest to so many parameters."""
    widths = range(4, 68, 4)
    with torch.device("meta"):
        sizes = {width: count(_built(side, channels, width, classes)) for width in widths}
    width = min(widths, key=lambda w: abs(math.log(sizes[w] / parameters)))
    torch.manual_seed(0)
    return _built(side, channels, width, classes)


class UNet:
    """Trained on signals `[S, side², C]` for so many minutes, to predict ε, with the average of its weights.

    Args:
        labels: class of each, 0, 1, ...; None for none.
    """

    def __init__(self, x: Tensor, parameters: int, minutes: float, labels: Tensor | None = None, most: int | None = None):
        from diffusers import DDPMScheduler

        self.side, self.channels = math.isqrt(x.size(1)), x.size(2)
        self.mean, self.std = x.mean(), x.std()
        self.scheduler = DDPMScheduler(TRAINING_STEPS, clip_sample=False)
        self.net = sized(self.side, self.channels, parameters, 0 if labels is None else int(labels.max()) + 1)
        images = ((x - self.mean) / self.std).transpose(1, 2).reshape(len(x), self.channels, self.side, self.side)
        self.steps, start = 0, time.monotonic()
        average = [p.detach().clone() for p in self.net.parameters()]
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=RATE)
        rng, draws = np.random.default_rng(0), torch.Generator().manual_seed(0)
        while (done := (time.monotonic() - start) / (60 * minutes)) < 1 and self.steps != most:
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (self.steps + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(1, done)))
            which = torch.from_numpy(rng.integers(len(images), size=BATCH))
            noise = torch.randn(BATCH, *images.shape[1:], generator=draws)
            t = torch.randint(TRAINING_STEPS, (BATCH,), generator=draws)
            noisy = self.scheduler.add_noise(images[which], noise, t)
            told = {} if labels is None else {"class_labels": labels[which]}
            loss = nn.functional.mse_loss(self.net(noisy, t, **told).sample, noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimizer.step()
            self.steps += 1
            decay = min(EMA, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(average, [p.detach() for p in self.net.parameters()], 1 - decay)
        for parameter, value in zip(self.net.parameters(), average, strict=True):
            parameter.data.copy_(value)
        self.minutes = (time.monotonic() - start) / 60

    @property
    def facts(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"parameters": count(self.net), "steps": self.steps, "minutes": self.minutes}

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, steps: int = STEPS, together: int = 250) -> Tensor:
        """n signals `[n, side², C]`."""
        self.net.eval()
        self.scheduler.set_timesteps(steps)
        draws, made = torch.Generator().manual_seed(1), []
        for begin in range(0, n, together):
            few = min(together, n - begin)
            x = torch.randn(few, self.channels, self.side, self.side, generator=draws)
            told = {} if labels is None else {"class_labels": labels[begin : begin + few]}
            for t in self.scheduler.timesteps:
                x = self.scheduler.step(self.net(x, t, **told).sample, t, x, generator=draws).prev_sample
            made.append(x.flatten(2).transpose(1, 2))
        return torch.cat(made) * self.std + self.mean
