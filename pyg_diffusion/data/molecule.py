"""`Molecule`: one molecule and its conformers as plain arrays."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from .molecule_data import MoleculeData


@dataclass
class Molecule:
    """One molecule as plain arrays, the unit of the store."""

    z: np.ndarray  # [N] uint8
    x: np.ndarray  # [N, F] uint8
    bond_index: np.ndarray  # [B, 2] uint16
    bond_type: np.ndarray  # [B] uint8
    tetra: np.ndarray  # [T, 5] uint16
    ez: np.ndarray  # [Z, 4] uint16
    ez_type: np.ndarray  # [Z] uint8
    name: str
    smiles: str
    pos: list[np.ndarray] = field(default_factory=list)  # K conformers [N, 3] in Å
    levels: list[str] = field(default_factory=list)  # level of theory of each, "" where unknown; all unknown if empty
    energies: list[float] = field(default_factory=list)  # kcal/mol above the lowest; all unknown if empty
    notes: list[str] = field(default_factory=list)  # remarks on what the arrays leave out; not stored

    @classmethod
    def of_data(cls, data: MoleculeData) -> Self:
        """One conformer as `data()` gives it, with its bonds in whatever order."""
        bonds, types = data.edge_index.T, data.edge_attr
        once = bonds[:, 0] < bonds[:, 1]

        def columns(name: str, width: int) -> np.ndarray:
            return data[name].T.numpy().astype(np.uint16).reshape(-1, width)

        return cls(
            z=data.z.numpy().astype(np.uint8),
            x=data.x.numpy().astype(np.uint8),
            bond_index=bonds[once].numpy().astype(np.uint16),
            bond_type=types[once].numpy().astype(np.uint8),
            tetra=columns("tetra_index", 5),
            ez=columns("ez_index", 4),
            ez_type=data.ez_attr.numpy().astype(np.uint8),
            name=data.name,
            smiles=data.smiles,
            pos=[data.pos.numpy()],
            levels=[data.get("level") or ""],
        )

    def topology(self) -> bytes:
        """Equal exactly for records that are conformers of one molecule in one atom order.

        The SMILES holds what the features clip or leave out: isotopes, large charges, radicals.
        """
        arrays = (self.z, self.x, self.bond_index, self.bond_type, self.tetra, self.ez, self.ez_type)
        return b"|".join([self.smiles.encode(), *(a.tobytes() for a in arrays)])

    def data(self, conformer: int | None = 0) -> MoleculeData:
        """As a PyG `Data`; without `pos` if `conformer` is None."""
        bonds = torch.from_numpy(self.bond_index.astype(np.int64)).T
        types = torch.from_numpy(self.bond_type.astype(np.int64))
        data = MoleculeData(
            x=torch.from_numpy(self.x.astype(np.int64)),
            z=torch.from_numpy(self.z.astype(np.int64)),
            edge_index=torch.cat([bonds, bonds.flip(0)], dim=1),
            edge_attr=torch.cat([types, types]),
            tetra_index=torch.from_numpy(self.tetra.astype(np.int64)).T.contiguous(),
            ez_index=torch.from_numpy(self.ez.astype(np.int64)).T.contiguous(),
            ez_attr=torch.from_numpy(self.ez_type.astype(np.int64)),
            name=self.name,
            smiles=self.smiles,
            num_nodes=len(self.z),
        )
        if conformer is not None:
            data.pos = torch.from_numpy(np.asarray(self.pos[conformer], dtype=np.float32))
            data.level = self.levels[conformer] if self.levels else ""
        return data
