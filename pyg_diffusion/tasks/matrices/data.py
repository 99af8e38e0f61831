"""Matrices and their inverses as training data, drawn as they are needed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from ...datasets.matrix_inverse import SPLITS, inverse_pairs
from ...spectral import GridOperator, LaplacianOperator, PowerSpectrum
from ...train.datamodule import Draws, SignalDataModule
from .recipe import MatricesData


class FreshMatrices(Dataset):
    """Item k is `matrix [n², 1]` and `x [n², 1]` of A and A⁻¹ as in `MatrixInverse`, but nothing is stored, and there is no
    graph: a rook's graph has 2n² (n - 1) edges, which its operator does not need."""

    def __init__(self, config: MatricesData, split: str, size: int):
        self.config, self.split, self.size = config, SPLITS.index(split), size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, k: int) -> Data:
        n = self.config.n
        x = np.random.default_rng([self.config.seed, self.split, int(k)]).uniform(-1, 1, (n, n))
        matrix, inverse = (m.float().reshape(-1, 1) for m in inverse_pairs(torch.from_numpy(x), self.config.c))
        return Data(matrix=matrix, x=inverse)


class MatrixDataModule(SignalDataModule):
    """Training and validation matrices of one size and conditioning."""

    centered = False
    config: MatricesData
    train: FreshMatrices
    val: FreshMatrices

    def __init__(self, config: MatricesData, seed: int):
        super().__init__(config, seed)
        self.train = FreshMatrices(config, "train", config.num_samples)
        self.val = FreshMatrices(config, "val", config.val_samples)

    def sizes(self, items: Dataset) -> np.ndarray:
        assert isinstance(items, FreshMatrices)
        return np.full(len(items), self.config.n**2)

    def spectrum(self, sample: int = 500) -> PowerSpectrum:
        operator = GridOperator((self.config.n,) * 2, "complete")
        signals = torch.cat([self.train[k].x for k in range(min(sample, len(self.train)))], 1)
        modes = operator.to_modes(signals)[0].unsqueeze(-1)
        return PowerSpectrum.fit_modes(operator.eigenvalues[0], modes.square().mean(1))

    def model_facts(self) -> dict[str, Any]:
        return {"n": self.config.n}

    def card_facts(self) -> dict[str, Any]:
        return {"data": self.config.model_dump(include={"kind", "n", "c", "seed", "num_samples"})}

    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        shape = (self.config.n, self.config.n)
        operator = GridOperator(shape, "complete", num_graphs=batch.num_graphs, device=batch.x.device)
        return operator, batch.x, batch
