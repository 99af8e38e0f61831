"""Encodings of time, distance and graph position."""

import torch
from torch import Tensor, nn


class GaussianBasis(nn.Module):
    """exp(-½((d - c_k)/w_k)²) on distances in Å: even and narrow over bonds and angles, wider beyond.

    `[...] -> [..., K]`.
    """

    def __init__(self) -> None:
        super().__init__()
        near = torch.linspace(0.7, 3.1, 17)
        far = torch.logspace(torch.tensor(3.4).log10().item(), torch.tensor(14.0).log10().item(), 11)
        centers = torch.cat([near, far])
        self.centers: Tensor
        self.inverse_width: Tensor
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer("inverse_width", 1 / torch.cat([near.diff()[:1], centers.diff()]), persistent=False)

    @property
    def size(self) -> int:
        return self.centers.numel()

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((distance.unsqueeze(-1) - self.centers) * self.inverse_width).square())


class Fourier(nn.Module):
    """cos and sin of ω_k x with ω_k in geometric progression, `[..., 1] -> [..., 2K]`."""

    def __init__(self, size: int = 32, low: float = 0.1, high: float = 8.0):
        super().__init__()
        self.omega: Tensor
        omega = low * (high / low) ** torch.linspace(0, 1, size // 2)
        self.register_buffer("omega", omega, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        phase = x * self.omega
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


def graph_distance(adjacency: Tensor, limit: int) -> Tensor:
    """Number of bonds on the shortest path, batched over dense graphs.

    Args:
        adjacency: bool `[..., N, N]`.
        limit: distances beyond it, and disconnected pairs, read `limit + 1`.
    """
    step = adjacency.float()
    eye = torch.eye(adjacency.size(-1), device=adjacency.device, dtype=torch.bool).expand_as(adjacency)
    reached = eye.clone()
    distance = torch.full_like(reached, limit + 1, dtype=torch.long).masked_fill(eye, 0)
    for k in range(1, limit + 1):
        grown = reached | (reached.float() @ step > 0.5)
        distance = distance.masked_fill(grown & ~reached, k)
        reached = grown
    return distance
