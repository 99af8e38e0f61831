"""What a batch of conformers is steered by, a repulsion between those of a molecule among it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.data import Batch

from ...denoise import Denoiser
from ...generate import Steering
from ...sample import ParticleGuided, Steered, steer
from ...spectral import LaplacianOperator


@dataclass(frozen=True)
class Repelled(Steering):
    """Steering with a repulsion between the conformers of a molecule, in kT."""

    diversity: float = 0.0

    def steered(
        self, denoiser: Denoiser | Steered, of: Sequence[int], batch: Batch, operator: LaplacianOperator, alone: Any
    ) -> Denoiser | Steered:
        """The denoiser under all that is asked of a batch, conformers of the molecules `of` numbers.

        Args:
            alone: what the network is told without the condition, where that is exaggerated.
        """
        energy = None if self.energy is None else self.energy(operator, batch)
        member = torch.tensor(of, device=batch.z.device)
        guided = steer(denoiser, self.guidance, alone)
        guided = ParticleGuided(guided, member, (batch.z > 1).float(), self.diversity, energy=energy, limit=self.limit)
        return steer(guided, fixed=batch.get("fixed"), turned=True)
