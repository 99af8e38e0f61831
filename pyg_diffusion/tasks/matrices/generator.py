"""MatrixInverter: weights of an energy, from a matrix to its inverse by descent of learned landscapes."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from ...denoise import Denoiser
from ...generate import GraphGenerator, Job
from ...sample import LandscapeDescent, Recording, Trajectory
from ...spectral import GridOperator
from ...weights_io import Card
from . import LANDSCAPES, STEPS


class MatrixInverter(GraphGenerator[Job]):
    """Inverts matrices with an `EnergyNet`, noise first and no linear algebra.

    Args:
        denoiser, card, device: as for `GraphGenerator`.
        landscapes: times from noise to signal.
        steps: descent steps on each.
        max_entries: matrices are taken in batches of no more entries than this.

    Attributes:
        evaluations: network evaluations that every matrix of the latest `invert` took.
        trajectories: of the latest `invert`, where it was told to record them, one frame a step.

    Example:
        >>> import torch
        >>> from pyg_diffusion import MatrixInverter
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> from pyg_diffusion.weights_io import Card, build_denoiser
        >>> card = Card(
        ...     process={"gamma": 0.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 3.0},
        ...     model={"kind": "matrix_energy", "depth": 2, "channels": 2, "node_channels": 2, "n": 3},
        ...     bf16=False,
        ...     data={"kind": "matrices"},
        ... )
        >>> untrained = build_denoiser(card, PowerSpectrum.harmonic(1.0))  # `from_pretrained` gives a trained one
        >>> MatrixInverter(untrained, card, device="cpu").invert(2 * torch.eye(3)).shape
        torch.Size([3, 3])
    """

    makes = "matrices"
    evaluations: int = 0

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        landscapes: int = LANDSCAPES,
        steps: int = STEPS,
        max_entries: int = 200_000,
        device: str | None = None,
    ):
        if landscapes < 2:
            raise ValueError(f"landscapes must be at least 2, got {landscapes}")
        super().__init__(denoiser, card, LandscapeDescent(steps), landscapes, device, max_entries)
        self.trajectories: list[Trajectory] = []

    def operator(self, batch: Batch) -> GridOperator:
        n = round((batch.num_nodes / batch.num_graphs) ** 0.5)
        return GridOperator((n, n), "complete", num_graphs=batch.num_graphs, device=batch.matrix.device)

    def invert(
        self,
        matrices: np.ndarray | Tensor,
        seed: int = 0,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> Tensor:
        """Estimates of A⁻¹, float32 `[S, n, n]` for `[S, n, n]`, `[n, n]` for one. Noise depends on (seed, number) alone.

        Raises:
            ValueError: not square, not finite, or (nearly) singular in float32: there is no inverse to estimate; or no room
                for so many trajectories.
            RuntimeError: not even one matrix fits into the memory.
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
        jobs = [Job(data=Data(matrix=m.reshape(-1, 1), num_nodes=m.numel()), key=(k,)) for k, m in enumerate(batch)]
        self.draw_all(jobs, 1, seed, progress=progress, record=record)
        self.evaluations = max((job.evaluations for job in jobs), default=0)
        self.trajectories = [job.trajectory for job in jobs if job.trajectory is not None]
        out = [torch.from_numpy(job.signal).view(batch.shape[1:]) for job in jobs if job.signal is not None]
        return batch if not out else out[0] if a.dim() == 2 else torch.stack(out)
