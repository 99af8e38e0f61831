"""What weights of signals must remember: the graph that all share, how signals are scaled, and what may be asked."""

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ...data.signals import GRID, SignalSet
from ...spectral.clusters import Clusters

NODE_MEANS = 32  # signals of one graph from which on each node has a mean of its own
SPARE = 1e-6  # of a channel that is constant: it is not blown up


@dataclass(frozen=True)
class Facts:
    """Of the training signals.

    Attributes:
        graph: shared by all; None where there are several.
        mean, std: signals are shown to the process as (x - mean)/std; `[N, C]` or `[C]`, and `[C]`.
        unit: weights of edges are divided by it, so that the mean degree is 1 and a process does not depend on their unit;
            1 on grids and with a normalised Laplacian.
        categories: of conditions that are classes, their values.
        members: cluster of each node of the graph that this one is a coarser resolution of, `[N]`; None where it is none.
    """

    graph: Data | None
    mean: Tensor
    std: Tensor
    unit: float
    categories: Mapping[str, list[float]]
    members: Tensor | None = None

    @classmethod
    def of(cls, signals: SignalSet, normalized: bool, categories: Sequence[str], members: Tensor | None = None) -> Self:
        """Of training signals.

        Raises:
            ValueError: a category of more values than one would ask for.
        """
        graph = signals.graphs[0] if len(signals.graphs) == 1 else None
        x, known = _rows(signals)
        count = known.sum(0).clamp_min(1)
        mean = torch.where(known, x, 0).sum(0) / count
        if graph is None or len(signals) < NODE_MEANS:
            mean = (mean * count).sum(0) / count.sum(0) if mean.dim() == 2 else mean
        gap = torch.where(known, x - mean, 0).reshape(-1, signals.channels)
        std = (gap.square().sum(0) / known.reshape(-1, signals.channels).sum(0).clamp_min(1)).sqrt()
        values = {}
        for name in categories:
            values[name] = sorted(set(signals.scalars[name].tolist()))
            if len(values[name]) > 1000:
                raise ValueError(f"{name} has {len(values[name])} values; leave it out of data.categories: it is no class")
        scale = std.double().clamp_min(SPARE * float(std.max()) or 1.0)
        return cls(graph, mean.float(), scale.float(), _unit(signals.graphs, normalized), values, members)

    def shown(self, graph: Data) -> Data:
        """A graph with the weights that the process has."""
        if self.unit == 1:
            return graph
        graph, weight = copy(graph), graph.get("edge_weight")
        edges = graph.edge_index.size(1)
        graph.edge_weight = (torch.ones(edges) if weight is None else weight) / self.unit
        return graph

    def scaled(self, x: Tensor) -> Tensor:
        """As the process sees it."""
        return (x - self.mean) / self.std

    def restored(self, x: Tensor) -> Tensor:
        """The inverse of `scaled`."""
        return x * self.std + self.mean

    def clusters(self, above: "Facts") -> Clusters:
        """Of the nodes, which are those of the resolution above."""
        assert self.graph is not None and above.members is not None
        nodes = torch.arange(int(self.graph.num_nodes or 0)) if self.members is None else self.members
        return Clusters.even(nodes).within(Clusters.even(above.members))

    def shown_means(self, means: Tensor, clusters: Clusters) -> Tensor:
        """Means over clusters, `[S, K, C]`, as the process sees them."""
        mean = clusters.means(self.mean) if self.mean.dim() == 2 else self.mean
        return (means - mean) / self.std

    def columns(self, names: Sequence[str]) -> list[str]:
        """What the network reads of these conditions: of each class whether it is asked."""
        found: list[str] = []
        for name in names:
            found += [f"{name}:{value:g}" for value in self.categories[name]] if name in self.categories else [name]
        return found

    def asked(self, wanted: Mapping[str, float]) -> dict[str, float]:
        """Conditions by the columns that the network reads.

        Raises:
            ValueError: a class that there is not.
        """
        found: dict[str, float] = {}
        for name, value in wanted.items():
            classes = self.categories.get(name)
            if classes is None:
                found[name] = value
                continue
            if value not in classes:
                raise ValueError(f"{name} is one of {', '.join(f'{c:g}' for c in classes)}, not {value:g}")
            found |= {f"{name}:{c:g}": float(c == value) for c in classes}
        return found

    def packed(self) -> dict[str, Any]:
        """For a card: JSON-able, large arrays compressed."""
        arrays = {"mean": self.mean.numpy(), "std": self.std.numpy()}
        if self.members is not None:
            arrays["members"] = self.members.numpy().astype(np.int32)
        if self.graph is not None:
            arrays |= {"num_nodes": np.array(self.graph.num_nodes)}
            for name in ("edge_index", "edge_weight", "pos", *GRID):
                if self.graph.get(name) is not None:
                    value = self.graph[name].numpy()
                    arrays[name] = value.astype(np.int32) if name == "edge_index" else value
        image = io.BytesIO()
        np.savez(image, **arrays)  # type: ignore[arg-type]
        text = base64.b64encode(zlib.compress(image.getvalue(), 9)).decode()
        return {"unit": self.unit, "classes": dict(self.categories), "arrays": text}

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> Self:
        """Of what a card says.

        Raises:
            ValueError: it says nothing of the kind.
        """
        try:
            image = io.BytesIO(zlib.decompress(base64.b64decode(data["arrays"], validate=True)))
            with np.load(image, allow_pickle=False) as found:
                arrays = {name: torch.from_numpy(found[name]) for name in found}
            graph, members = None, arrays.pop("members", None)
            if "num_nodes" in arrays:
                graph = Data(num_nodes=int(arrays.pop("num_nodes")), edge_index=arrays.pop("edge_index").long())
                for name in set(arrays) - {"mean", "std"}:
                    graph[name] = arrays[name]
            members = None if members is None else members.long()
            return cls(graph, arrays["mean"], arrays["std"], float(data["unit"]), dict(data["classes"]), members)
        except Exception as error:  # zlib, NumPy and zipfile raise their own
            raise ValueError(f"the data of signals must have unit, classes and arrays ({error!r:.100})") from error


def _rows(signals: SignalSet) -> tuple[Tensor, Tensor]:
    """Values and whether they are known: `[S, N, C]` of one graph, else the rows of all, `[ΣN, C]`."""
    if len(signals.graphs) == 1:
        x = signals.stacked().double()
        return x, torch.ones_like(x, dtype=torch.bool) if signals.known is None else torch.stack(list(signals.known))
    x = torch.cat(list(signals.x)).double()
    return x, torch.ones_like(x, dtype=torch.bool) if signals.known is None else torch.cat(list(signals.known))


def _unit(graphs: Sequence[Data], normalized: bool) -> float:
    """The mean weighted degree."""
    if normalized or all("grid_shape" in graph for graph in graphs):
        return 1.0
    total = sum(g.edge_index.size(1) if g.get("edge_weight") is None else float(g.edge_weight.sum()) for g in graphs)
    return total / sum(int(g.num_nodes or 0) for g in graphs) or 1.0
