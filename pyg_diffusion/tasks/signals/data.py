"""Signals of your own as training data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from ...data.signals import SignalSet, Values
from ...spectral import LaplacianOperator, PowerSpectrum
from ...train.datamodule import Draws, SignalDataModule
from ...train.recipe import RecipeError
from ..resolution import Coarser, Details, coarse_facts, coarser_of
from .facts import Facts
from .laplacian import SignalLaplacian
from .prior import complete, fit_spectrum
from .recipe import SignalsData
from .source import coarsen, load, part

SOURCE = {
    "path", "dataset", "arguments", "signal", "weight", "normalized",
    "split", "time", "seed", "val_fraction", "test_fraction",
}  # fmt: skip  # what a coarser resolution has as well
FITTED_TO = 1000  # signals, at most, that a spectrum of details is fitted to
PAIRS = 1 << 24  # padded pairs of nodes in a batch of graphs that are decomposed


class SignalItems(Dataset):
    """Signals as the process sees them, with what is asked of each, `condition [1, K]`."""

    def __init__(self, signals: SignalSet, conditions: Tensor):
        self.signals, self.conditions = signals, conditions

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, k: int) -> Data:
        data = self.signals.data(k)
        data.x = self.signals.x[k].clone()
        if self.conditions.size(1):
            data.condition = self.conditions[k : k + 1].clone()
        return data


class SignalsDataModule(SignalDataModule):
    """Training and validation signals.

    Args:
        conditions: numbers of each signal that the model is conditioned on.

    Raises:
        RecipeError: the signals cannot be used; which and why.
    """

    centered = False
    config: SignalsData
    train: SignalItems
    val: SignalItems

    def __init__(self, config: SignalsData, seed: int, conditions: Sequence[str] = ()):
        super().__init__(config, seed)
        self.names = list(conditions)
        try:
            self._coarser = coarser_of(config, config.kind, self.names, config.model_dump(include=SOURCE))
            signals, members = coarsen(config, load(config, conditions))
            parts = part(config, signals)
            self.facts = Facts.of(parts.train, config.normalized, config.categories, members)
            self.laplacian = SignalLaplacian(config, self.facts.graph is not None)
            train, self._spectrum = complete(self._shown(parts.train), self.laplacian, seed)
            val, _ = complete(self._shown(parts.val), self.laplacian, seed + 1, self._spectrum)
            self.train, self.val = SignalItems(train, self._asked(parts.train)), SignalItems(val, self._asked(parts.val))
            self.details = None if self._coarser is None else self._details(self._coarser)
        except ValueError as error:
            raise RecipeError(f"data: {error}") from error
        self.max_pairs = PAIRS if self.facts.graph is None and config.backend in ("auto", "dense") else None

    def _details(self, coarser: Coarser) -> Details:
        """What this resolution adds to the one above."""
        self.coarse = coarser.denoiser
        graph, above = self.train.signals.graphs[0], Facts.unpacked(coarser.card.data)
        return Details(self.laplacian.single(graph), self.facts.clusters(above), self._spectrum)

    def _shown(self, signals: SignalSet) -> SignalSet:
        """As the process sees them."""
        graphs = [self.facts.shown(graph) for graph in signals.graphs]
        if self.config.spectra == "cached":
            for graph in graphs:
                graph.eigenvalues, graph.eigenvectors = self.config.spectrum(graph)
        scaled = self.facts.scaled
        x: Values = scaled(signals.stacked()) if len(signals.graphs) == 1 else [scaled(one) for one in signals.x]
        return replace(signals, graphs=graphs, x=x)

    def _asked(self, signals: SignalSet) -> Tensor:
        """What is asked of each, by columns, `[S, K]`."""
        rows = [
            list(self.facts.asked({name: float(signals.scalars[name][k]) for name in self.names}).values())
            for k in range(len(signals))
        ]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(signals), -1)

    def sizes(self, items: Dataset) -> np.ndarray:
        assert isinstance(items, SignalItems)
        return items.signals.sizes()

    def spectrum(self) -> PowerSpectrum:
        if self.details is None:
            return self._spectrum
        signals = self.train.signals.take(np.arange(min(len(self.train), FITTED_TO)))
        return fit_spectrum(replace(signals, x=self.details.of(signals.stacked())), self.laplacian, self.seed)

    def conditions(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        values = self.train.conditions
        known = values.isfinite()
        count = known.sum(0).clamp_min(1)
        mean = torch.where(known, values, 0).sum(0) / count
        return mean, (torch.where(known, values - mean, 0).square().sum(0) / count).sqrt().clamp_min(1e-6)

    def withheld(self, draws: Draws, columns: int, share: float) -> Tensor:
        """All columns of a class together."""
        owner = [j for j, name in enumerate(self.names) for _ in self.facts.columns([name])]
        return (draws.graph_uniform(len(self.names)) < share)[:, owner]

    def model_facts(self) -> dict[str, Any]:
        pos = self.train.signals.graphs[0].get("pos")
        positions = pos.size(1) if self.config.positions and pos is not None else 0
        told = {} if self.details is None else {"node_conditions": 2 * self.train.signals.channels}
        return {
            "channels": self.train.signals.channels,
            "positions": positions,
            "conditions": self.facts.columns(self.names),
            **told,
        }

    def card_facts(self) -> dict[str, Any]:
        config = self.config.model_dump(exclude={"batch_size", "workers", "coarse"})
        data = {**config, "channels": self.train.signals.channels, "conditions": self.names, **self.facts.packed()}
        if self._coarser is None:
            return {"data": data}
        return {"data": data, "coarse": coarse_facts(self._coarser, self._spectrum)}

    def present(self, batch: Batch, draws: Draws) -> tuple[LaplacianOperator, Tensor, Batch]:
        told, x = batch.clone(), batch.x
        del told.x
        if self.details is not None:
            self.details = self.details.to(x.device)
            x, told.node_condition = self.details.shown(x, batch.num_graphs)
        return self.laplacian.operator(batch), x, told
