"""Two stages: what the first one draws of a molecule, and how the second completes it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from ...chem.skeleton import second_of, skeleton, standing_in
from ...data import Molecule, MoleculeData
from ...nn import HydrogenNet

FRAME = 3  # kept atoms that hold a molecule in place


class SecondStage:
    """How one molecule is drawn in two stages.

    Hydrogens that are to be kept where they are are known to the second stage, where their parents and `FRAME` atoms of the
    skeleton are kept too; otherwise they belong to the first.

    Args:
        molecule: with explicit hydrogens.
        level: of theory.
        fixed: positions of atoms to keep, `[N, 3]`, NaN at the others.

    Attributes:
        skeleton: what the first stage draws.
        data: the whole molecule with `second [N]`, the hydrogens that the second one draws.
    """

    def __init__(self, molecule: Molecule, level: str, fixed: Tensor | None = None):
        leaves = second_of(molecule)
        kept = np.zeros_like(leaves) if fixed is None else torch.isfinite(fixed).all(1).numpy()
        parent = standing_in(leaves, molecule.bond_index.astype(np.int64))
        held = leaves & kept & kept[parent] & ((kept & ~leaves).sum() >= FRAME)
        leaves &= held | ~kept
        self.skeleton = skeleton(molecule, leaves)
        self.held = np.flatnonzero(held)
        self.where = np.zeros((0, 3), np.float32) if fixed is None else fixed[held].numpy()
        whole = molecule.data(conformer=None)
        self.data = MoleculeData(
            x=whole.x, z=whole.z, edge_index=whole.edge_index, edge_attr=whole.edge_attr,
            second=torch.from_numpy(leaves & ~held), level=level, num_nodes=whole.num_nodes,
        )  # fmt: skip

    def known(self, position: np.ndarray) -> np.ndarray:
        """All atoms `[N, 3]` from those of the skeleton, zeros at the hydrogens that are not drawn yet."""
        pos = np.zeros((len(self.data.z), 3), np.float32)
        pos[self.skeleton.kept], pos[self.held] = position, self.where
        return pos


def complete(
    net: HydrogenNet,
    stages: Sequence[SecondStage],
    positions: Sequence[np.ndarray],
    noise: Sequence[np.ndarray],
    device: str,
) -> list[np.ndarray]:
    """Positions of all atoms, `[N, 3]` each, from those of the skeletons; noise `[N, DRAWS]` each."""
    batch = Batch.from_data_list([stage.data for stage in stages]).to(device)
    known = np.concatenate([stage.known(position) for stage, position in zip(stages, positions, strict=True)])
    batch.pos = torch.from_numpy(known).to(device)
    drawn = net.draw(batch, torch.from_numpy(np.concatenate(noise)).to(device)).cpu().numpy()
    return np.split(drawn, np.cumsum([len(stage.data.z) for stage in stages])[:-1])
