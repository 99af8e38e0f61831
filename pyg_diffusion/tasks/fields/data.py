"""Fields on grids as training data."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from ...data import laplacian_operator
from ...data.coarsen import coarsened
from ...datasets import GridFields
from ...posterior import Origins, Translations
from ...spectral import ExactOperator, LaplacianOperator, PowerSpectrum
from ...spectral.grid import KINDS
from ...train.datamodule import Draws, SignalDataModule
from ...train.recipe import RecipeError
from ..resolution import Details, coarse_facts, coarser_of
from .law import BlockMeans, fields_of, own_grid
from .recipe import FieldsData

LAW = {"law", "kinds", "parameters", "seed"}  # what a coarser resolution has as well
FITTED_TO = 4000  # fields, at most, that a spectrum is fitted to


class FieldDataModule(SignalDataModule):
    """Training and validation fields of one law.

    Args:
        conditioned: quantities of the law that the model is conditioned on.
        exact: what exact targets average over (`Recipe.exact_targets`); with "translations" fields are shown at random
            places.

    Raises:
        RecipeError: no such law, or weights of a coarser resolution that are of another.
    """

    centered = False
    config: FieldsData
    train: GridFields | BlockMeans
    val: GridFields | BlockMeans

    def __init__(self, config: FieldsData, seed: int, conditioned: Sequence[str] = (), exact: Sequence[str] = ()):
        super().__init__(config, seed)
        try:
            self.train, self.val = (
                fields_of(config.model_dump(), config.root, split, count)
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
        self.details: Details | None = None
        self.translated = "translations" in exact
        grid = self.train[0]
        self.shape, self.periodic = grid.grid_shape[0].tolist(), (grid.grid_kind[0] == KINDS.index("cycle")).tolist()
        self._coarser = coarser_of(config, config.kind, list(conditioned), config.model_dump(include=LAW))
        if self._coarser is not None:
            theirs, factor = self._coarser.card.data, self._coarser.card.data["coarsen"]
            if theirs["shape"] != [n // factor for n in config.shape]:
                raise RecipeError(f"data.coarse: {config.coarse} is of a grid {theirs['shape']}, a {factor}th of another")
            self.coarse = self._coarser.denoiser
            _, blocks = coarsened(self.train[0], factor // config.coarsen)
            self.details = Details(laplacian_operator(self.train[0]), blocks, self.whole_spectrum)

    def sizes(self, items: Dataset) -> np.ndarray:
        assert isinstance(items, GridFields | BlockMeans)
        return np.full(len(items), int(items[0].num_nodes or 0))

    def _some(self) -> Tensor:
        order = np.random.default_rng([self.seed, 2]).permutation(len(self.train))
        return self.train.fields[torch.from_numpy(order[:FITTED_TO])]

    def _fitted(self, fields: Tensor) -> PowerSpectrum:
        operator = laplacian_operator(self.train[0], dtype=torch.float64)
        assert isinstance(operator, ExactOperator)
        count, nodes, channels = fields.shape
        modes = operator.to_modes(fields.double().permute(1, 0, 2).reshape(nodes, -1))[0].view(-1, count, channels)
        return PowerSpectrum.fit_modes(operator.eigenvalues[0], modes.square().mean(1))

    @cached_property
    def whole_spectrum(self) -> PowerSpectrum:
        """p(λ) of the fields, coarser resolution or not."""
        return self._fitted(self._some())

    def spectrum(self) -> PowerSpectrum:
        return self.whole_spectrum if self.details is None else self._fitted(self.details.of(self._some()))

    def conditions(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        values = self.train.conditions[:, self.columns]
        return values.mean(0), values.std(0, correction=0).clamp_min(1e-6)

    def model_facts(self) -> dict[str, Any]:
        item = self.train[0]
        told = {} if self.details is None else {"node_conditions": 2 * item.x.size(1)}
        return {"channels": item.x.size(1), "positions": item.pos.size(1), **told}

    def card_facts(self) -> dict[str, Any]:
        data = self.config.model_dump(include={"kind", "law", "kinds", "parameters", "seed", "num_samples", "coarsen"})
        facts: dict[str, Any] = {"data": data | own_grid(self.config.model_dump()) | {"channels": self.train[0].x.size(1)}}
        if self._coarser is not None:
            facts["coarse"] = coarse_facts(self._coarser, self.whole_spectrum)
        return facts

    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        told, x = batch.clone(), batch.x
        del told.x
        if self.columns:
            told.condition = batch.condition[:, self.columns]
        elif "condition" in told:
            del told.condition
        if self.translated:
            x = self._moved(x, draws.graph_uniform(len(self.shape)).cpu())
        if self.details is not None:
            self.details = self.details.to(x.device)
            x, told.node_condition = self.details.shown(x, batch.num_graphs)
        return laplacian_operator(batch), x, told

    def _moved(self, x: Tensor, where: Tensor) -> Tensor:
        """Fields at other places, as shares of the periodic axes `[num_graphs, d]`."""
        axes = [a for a, round_ in enumerate(self.periodic) if round_]
        steps = (where * torch.tensor(self.shape)).long()[:, axes].tolist()
        fields = x.view(len(where), *self.shape, x.size(1))
        return torch.stack([field.roll(step, axes) for field, step in zip(fields, steps, strict=True)]).view_as(x)

    def candidates(self, operator: LaplacianOperator, x_0: Tensor, told: Batch) -> Origins | None:
        return Translations(x_0, self.shape, self.periodic) if self.translated else None
