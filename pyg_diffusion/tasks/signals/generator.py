"""GraphSignalGenerator: weights + process + sampler, from noise to signals on graphs."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property

from torch import Tensor
from torch_geometric.data import Batch, Data

from ...data.signals import graph_key
from ...generate import UNSTEERED, Steering
from ...sample import Recording
from ...spectral import LaplacianOperator
from ...spectral.clusters import Clusters
from ..signal_generator import Asked, SignalGenerator
from .facts import Facts
from .laplacian import SignalLaplacian


class GraphSignalGenerator(SignalGenerator):
    """Samples signals on the graph that all training signals shared, or, of weights of many graphs, on graphs that are
    given; arguments and attributes as of `SignalGenerator`. Signals, and what is kept of them, are in the units of the data.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> from pyg_diffusion.tasks.signals.facts import Facts
        >>> from pyg_diffusion.tasks.signals.generator import GraphSignalGenerator
        >>> from pyg_diffusion.weights_io import Card, build_denoiser
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> facts = Facts(path, torch.full((1,), 20.0), torch.ones(1), 1.0, {})
        >>> card = Card(
        ...     process={"gamma": 1.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0},
        ...     model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 1, "positions": 0},
        ...     bf16=False,
        ...     data={"kind": "signals", "channels": 1, **facts.packed()},
        ... )
        >>> untrained = build_denoiser(card, PowerSpectrum.harmonic(1.0))  # `from_pretrained` gives a trained one
        >>> GraphSignalGenerator(untrained, card, steps=5, device="cpu").sample(4, seed=1).shape
        torch.Size([4, 3, 1])
    """

    makes = "signals"

    @cached_property
    def facts(self) -> Facts:
        """What the weights remember of their signals."""
        return Facts.unpacked(self.card.data)

    @cached_property
    def _laplacian(self) -> SignalLaplacian:
        return SignalLaplacian.of(self.card.data, self.facts.graph is not None)

    def operator(self, batch: Batch) -> LaplacianOperator:
        return self._laplacian.operator(batch)

    def single(self) -> LaplacianOperator:
        return self._laplacian.single(self.facts.shown(self.graph()))

    def clusters(self) -> Clusters:
        assert isinstance(self.coarser, GraphSignalGenerator)
        return self.facts.clusters(self.coarser.facts)

    def as_shown(self, means: Tensor) -> Tensor:
        return self.facts.shown_means(means, self.details.clusters)

    def graph(self) -> Data:
        if self.facts.graph is None:
            raise ValueError("these weights are of many graphs: give those that signals are wanted on")
        return copy(self.facts.graph)

    def conditions(self, asked: Asked | None, count: int) -> Tensor | None:
        if asked is None:
            return None
        each = [asked] * count if not isinstance(asked, Sequence) else asked
        return super().conditions([self.facts.asked(wanted) for wanted in each], count)

    def sample_on(
        self,
        graphs: Sequence[Data],
        seed: int = 0,
        condition: Asked | None = None,
        steering: Steering = UNSTEERED,
        progress: Callable[[int], object] | None = None,
        record: Recording | None = None,
    ) -> list[Tensor]:
        """As of `SignalGenerator`.

        Raises:
            ValueError: as there; or a graph is not the one that these weights are of, or has no positions that they read.
        """
        facts, shown = self.facts, []
        own = None if facts.graph is None else graph_key(facts.graph)
        positions, checked = self.card.model.get("positions", 0), set()
        for k, graph in enumerate(graphs):
            if id(graph) not in checked:
                if own is not None and graph_key(graph) != own:
                    raise ValueError(f"graph {k}: these weights are of one graph, and this is another")
                if positions and (graph.get("pos") is None or graph.pos.size(1) != positions):
                    raise ValueError(f"graph {k}: these weights read positions, pos [N, {positions}]")
                checked.add(id(graph))
            graph = copy(facts.shown(graph))
            if graph.get("fixed") is not None:
                graph.fixed = facts.scaled(graph.fixed)
            shown.append(graph)
        made = super().sample_on(shown, seed, condition, steering, progress, record)
        self.trajectories = [
            replace(path, signal=facts.restored(path.signal), denoised=facts.restored(path.denoised))
            for path in self.trajectories
        ]
        return [facts.restored(x) for x in made]
