"""FieldGenerator: weights + process + sampler, from noise to fields on a grid. Needs no RDKit."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from .data import laplacian_operator
from .data.field_file import grid_of
from .denoise import Denoiser
from .nn import without_condition
from .pretrained import Card, compile_network, load_pretrained
from .sample import Counted, Exponential, Sampler, steer, time_grid
from .spectral import LaplacianOperator

Energy = Callable[[LaplacianOperator, Batch], Callable[[Tensor], Tensor]]


class FieldGenerator:
    """Samples fields on the grid that the weights were trained on.

    Args:
        denoiser, card: as `load_pretrained` returns them.
        sampler: any `Sampler`; `Exponential(2)` by default. At 50 steps ancestral sampling loses a quarter of the variance
            of a Gaussian field, since it takes D for S_0 over long steps, the exponential integrator 2 %.
        steps: times of every field (sampler steps plus the final denoising), each of them a network evaluation; some
            samplers take more (`Sampler.calls`), and so does guidance.
        device: "cpu", "cuda"; CUDA where there is one, by default.
        max_nodes: a batch holds no more than this many nodes; bounds the memory.
        compile: torch.compile the network: a minute or two once, for large jobs.

    Attributes:
        evaluations: network evaluations that every field of the latest `sample` took.
    """

    evaluations: int = 0

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        sampler: Sampler | None = None,
        steps: int = 50,
        device: str | None = None,
        max_nodes: int = 65_536,
        compile: bool = False,
    ):
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        if card.data["kind"] != "fields":
            raise ValueError(f"these weights make {card.data['kind']}, no fields; see Generator")
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.denoiser, self.card = denoiser.to(self.device).eval(), card
        self.sampler, self.steps, self.max_nodes = sampler or Exponential(2), steps, max_nodes
        if compile:
            compile_network(self.denoiser)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options) -> "FieldGenerator":
        """From a weights file or a training run's folder."""
        return cls(*load_pretrained(path), **options)

    def sample(
        self,
        n: int,
        seed: int = 0,
        condition: Mapping[str, float] | None = None,
        guidance: float = 1.0,
        energy: Energy | None = None,
        energy_limit: float = 0.5,
        fixed: np.ndarray | Tensor | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Tensor:
        """n fields `[n, N, C]` on the CPU. The noise of a field depends on (seed, its number) alone, not on the batching.

        Args:
            condition: quantities that the fields should have, by name; what the model was trained with.
            guidance: w of classifier-free guidance.
            energy: called with (L, batch), gives a function E of a signal, per graph or summed (`sample.EnergyGuided`).
            energy_limit: largest change of a node by the energy per evaluation.
            fixed: a field `[N, C]` or `[*shape, C]` of known values, NaN at nodes to generate (`sample.Inpainted`).
            progress: called with the number of fields finished.
        """
        if n < 1 or seed < 0:
            raise ValueError(f"need n >= 1 and seed >= 0, got {n} and {seed}")
        grid, channels = grid_of(self.card.data), self.card.data["channels"]
        nodes = int(grid.num_nodes or 0)
        known = None
        if fixed is not None:
            known = torch.as_tensor(np.asarray(fixed), dtype=torch.float32)
            if known.numel() != nodes * channels or known.size(-1) != channels:
                raise ValueError(f"fixed must be [{nodes}, {channels}] (NaN where free), got {list(known.shape)}")
            known = known.reshape(nodes, channels)
        asked = self._asked(condition)
        if guidance != 1 and asked is None:
            raise ValueError("guidance needs a condition to follow")
        size = max(1, self.max_nodes // nodes)
        made = []
        for start in range(0, n, size):
            numbers = range(start, min(n, start + size))
            batch = Batch.from_data_list([grid] * len(numbers)).to(self.device)
            if asked is not None:
                batch.condition = asked.expand(len(numbers), -1).to(self.device)
            made.append(self._run(batch, numbers, seed, guidance, energy, energy_limit, known))
            if progress is not None:
                progress(len(numbers))
        return torch.cat(made)

    def _asked(self, condition: Mapping[str, float] | None) -> Tensor | None:
        """The condition as the network reads it, `[1, K]`, NaN where nothing is asked."""
        if condition is None:
            return None
        names = list(self.card.model["conditions"])
        unknown = sorted(set(condition) - set(names))
        if unknown:
            raise ValueError(
                f"the model was not conditioned on {unknown[0]!r}; it has {', '.join(names) or 'no conditions'}"
            )
        if not all(np.isfinite(value) for value in condition.values()):
            raise ValueError(f"conditions must be finite, got {dict(condition)}")
        return torch.tensor([[condition.get(name, float("nan")) for name in names]])

    @torch.no_grad()
    def _run(
        self,
        batch: Batch,
        numbers: range,
        seed: int,
        guidance: float,
        energy: Energy | None,
        limit: float,
        known: Tensor | None,
    ) -> Tensor:
        operator = laplacian_operator(batch)
        nodes, channels = operator.num_nodes // len(numbers), self.card.data["channels"]
        draws = [np.random.default_rng((seed, k)) for k in numbers]

        def noise() -> Tensor:
            drawn = [d.standard_normal((nodes, channels), dtype=np.float32) for d in draws]
            return torch.from_numpy(np.concatenate(drawn)).to(self.device)

        counted = Counted(self.denoiser)
        denoiser = steer(
            counted,
            guidance,
            without_condition(batch),
            None if energy is None else energy(operator, batch),
            limit,
            None if known is None else known.repeat(len(numbers), 1).to(self.device),
        )
        x = self.sampler.sample(denoiser, operator, time_grid(self.steps - 1), noise, batch)
        self.evaluations = counted.evaluations
        return x.float().cpu().view(len(numbers), nodes, channels)
