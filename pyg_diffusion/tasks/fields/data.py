"""Fields on grids as training data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from ...data import laplacian_operator
from ...datasets import GridFields
from ...spectral import ExactOperator, LaplacianOperator, PowerSpectrum
from ...train.datamodule import Draws, SignalDataModule
from ...train.recipe import RecipeError
from .recipe import FieldsData


class FieldDataModule(SignalDataModule):
    """Training and validation fields of one law.

    Args:
        conditioned: quantities of the law that the model is conditioned on.
    """

    centered = False
    config: FieldsData
    train: GridFields
    val: GridFields

    def __init__(self, config: FieldsData, seed: int, conditioned: Sequence[str] = ()):
        super().__init__(config, seed)
        try:
            self.train, self.val = (
                GridFields(
                    config.root,
                    config.law,
                    config.shape,
                    count,
                    config.seed,
                    split,
                    kinds=config.kinds,
                    spacing=config.spacing,
                    **config.parameters,
                )
                for split, count in (("train", config.num_samples), ("val", config.val_samples))
            )
        except ValueError as error:
            raise RecipeError(f"data: {error}") from error
        known = self.train.condition_names
        unknown = sorted(set(conditioned) - set(known))
        if unknown:
            there = f"there are {', '.join(known)}" if known else "give a parameter as a pair [low, high] to vary it"
            raise RecipeError(f"model.conditions: {config.law} varies no {unknown[0]!r}; {there}")
        self.columns = [known.index(name) for name in conditioned]

    def sizes(self, items: Dataset) -> np.ndarray:
        assert isinstance(items, GridFields)
        return np.full(len(items), int(items[0].num_nodes or 0))

    def spectrum(self, sample: int = 4000) -> PowerSpectrum:
        fields = self.train.fields[
            torch.from_numpy(np.random.default_rng([self.seed, 2]).permutation(len(self.train))[:sample])
        ]
        operator = laplacian_operator(self.train[0], dtype=torch.float64)
        assert isinstance(operator, ExactOperator)
        count, nodes, channels = fields.shape
        modes = operator.to_modes(fields.double().permute(1, 0, 2).reshape(nodes, -1))[0].view(-1, count, channels)
        return PowerSpectrum.fit_modes(operator.eigenvalues[0], modes.square().mean(1))

    def conditions(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        values = self.train.conditions[:, self.columns]
        return values.mean(0), values.std(0, correction=0).clamp_min(1e-6)

    def model_facts(self) -> dict[str, Any]:
        item = self.train[0]
        return {"channels": item.x.size(1), "positions": item.pos.size(1)}

    def card_facts(self) -> dict[str, Any]:
        config = self.config
        keys = ("kind", "law", "shape", "kinds", "spacing", "parameters", "seed", "num_samples")
        return {"data": config.model_dump(include=set(keys)) | {"channels": self.train[0].x.size(1)}}

    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        told = batch.clone()
        del told.x
        if self.columns:
            told.condition = batch.condition[:, self.columns]
        elif "condition" in told:
            del told.condition
        return laplacian_operator(batch), batch.x, told
