"""MatrixInverter: weights of an energy, from a matrix to its inverse by descent of learned landscapes. Needs no RDKit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .denoise import Denoiser
from .pretrained import Card, load_pretrained
from .sample import LandscapeDescent, time_grid
from .spectral import GridOperator


class MatrixInverter:
    """Inverts matrices with an `EnergyNet`, noise first and no linear algebra.

    Args:
        denoiser, card: as `load_pretrained` returns them.
        landscapes: times from noise to signal.
        steps: descent steps on each.
        max_entries: matrices are taken in batches of no more entries than this.
    """

    def __init__(self, denoiser: Denoiser, card: Card, landscapes: int = 10, steps: int = 10, max_entries: int = 200_000):
        if card.data["kind"] != "matrices":
            raise ValueError(f"these weights make {card.data['kind']}, no matrices")
        if landscapes < 2:
            raise ValueError(f"landscapes must be at least 2, got {landscapes}")
        self.denoiser, self.card, self.landscapes, self.max_entries = denoiser.eval(), card, landscapes, max_entries
        self.descent = LandscapeDescent(steps)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options) -> "MatrixInverter":
        """From a weights file or a training run's folder."""
        return cls(*load_pretrained(path), **options)

    def invert(
        self, matrices: np.ndarray | Tensor, seed: int = 0, progress: Callable[[int], object] | None = None
    ) -> Tensor:
        """Estimates of A⁻¹, float32 `[S, n, n]` for `[S, n, n]`, `[n, n]` for one. Noise depends on (seed, number) alone.

        Raises:
            ValueError: not square, not finite, or (nearly) singular in float32: there is no inverse to estimate.
        """
        a = torch.as_tensor(np.asarray(matrices), dtype=torch.float32)
        batch = a[None] if a.dim() == 2 else a
        if batch.dim() != 3 or batch.size(1) != batch.size(2) or not batch.size(1):
            raise ValueError(f"need square matrices [n, n] or [S, n, n], got {list(a.shape)}")
        for k, matrix in enumerate(batch):
            if not bool(torch.isfinite(matrix).all()):
                raise ValueError(f"matrix {k} has entries that are not finite")
            if float(torch.linalg.cond(matrix.double())) > 1 / torch.finfo(torch.float32).eps:
                raise ValueError(f"matrix {k} is singular to float32: it has no inverse")
        n = batch.size(1)
        size = max(1, self.max_entries // n**2)
        done = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            draws = [np.random.default_rng((seed, start + k)) for k in range(len(part))]

            def noise(draws=draws) -> Tensor:
                return torch.from_numpy(np.concatenate([d.standard_normal((n * n, 1), dtype=np.float32) for d in draws]))

            operator = GridOperator((n, n), "complete", num_graphs=len(part))
            x = self.descent.sample(self.denoiser, operator, time_grid(self.landscapes - 1), noise, part.reshape(-1, 1))
            done.append(x.view(-1, n, n))
            if progress is not None:
                progress(len(part))
        out = torch.cat(done) if done else batch
        return out[0] if a.dim() == 2 else out
