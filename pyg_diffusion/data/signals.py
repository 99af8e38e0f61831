"""Signals on one graph or on many, as they come from files and data sets: checked, in memory."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from ..spectral import Laplacian
from .operator import edge_weights, edges_of

GRID = ("grid_shape", "grid_kind", "grid_spacing")  # what `grid_graph` says of a grid
CHECKED_TOGETHER = 256  # graphs of which one Laplacian is made, to see whether their edges make any


Values: TypeAlias = Tensor | Sequence[Tensor]  # one [N, C] of each signal; of one graph stacked


class SignalError(ValueError):
    """Signals that cannot be used: which graph, why, and what to do."""


@dataclass(frozen=True)
class Names:
    """What is called how in a file, or in the items of a data set.

    Attributes:
        signal: S_0, of each node.
        weight: of edges, "" for none; "edge_weight" may be absent and means 1 then.
        mask: true where the signal is known, of each node or of each node and channel; "" where all of it is.
        scalars: numbers of each signal: conditions, its time.
        gaps: whether what is NaN is merely not known.
    """

    signal: str = "x"
    weight: str = "edge_weight"
    mask: str = ""
    scalars: tuple[str, ...] = ()
    gaps: bool = False


@dataclass
class SignalSet:
    """Signals, each on one of some graphs.

    Attributes:
        graphs: those that differ, each a `Data` of `edge_index`, `num_nodes` and, where they have them, `edge_weight`, `pos`
            and what `grid_graph` says of a grid.
        graph: of each signal the number of its graph, `[S]`.
        x: `[N, C]` of each signal.
        known: `[N, C]` of each, true where it is known; None where all of it is. What is not known is 0 in x.
        scalars: numbers of the signals by name, `[S]` each.
    """

    graphs: list[Data]
    graph: np.ndarray
    x: Values
    known: Values | None = None
    scalars: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.graph)

    @property
    def channels(self) -> int:
        """C."""
        return self.x[0].size(1)

    def sizes(self) -> np.ndarray:
        """Nodes of each signal's graph."""
        return np.array([int(g.num_nodes or 0) for g in self.graphs])[self.graph]

    def take(self, which: Sequence[int] | np.ndarray) -> Self:
        """Some of the signals, with the graphs that these have, in the order asked for."""
        which = np.asarray(which, int)
        kept, graph = np.unique(self.graph[which], return_inverse=True)
        x, known = self.x, self.known
        return type(self)(
            [self.graphs[k] for k in kept],
            graph,
            _taken(x, which),
            None if known is None else _taken(known, which),
            {name: values[which] for name, values in self.scalars.items()},
        )

    def stacked(self) -> Tensor:
        """All signals of one graph, `[S, N, C]`.

        Raises:
            SignalError: they are on several graphs.
        """
        if len(self.graphs) != 1:
            raise SignalError(f"signals of one graph are needed, and these are on {len(self.graphs)}")
        return self.x if isinstance(self.x, Tensor) else torch.stack(list(self.x))

    def data(self, k: int) -> Data:
        """The graph of signal k, for attributes to be added."""
        return copy.copy(self.graphs[self.graph[k]])


def _taken(values: Values, which: np.ndarray) -> Values:
    return values[torch.from_numpy(which)] if isinstance(values, Tensor) else [values[k] for k in which]


def graph_key(graph: Data) -> bytes:
    """Equal for graphs of the same nodes, edges, weights and positions."""
    found = hashlib.sha256(str(graph.num_nodes).encode())
    for name in ("edge_index", "edge_weight", "pos", *GRID):
        value = graph.get(name)
        found.update(b"-" if value is None else np.ascontiguousarray(value.numpy()).tobytes())
    return found.digest()


def graph_of(data: Data, names: Names, num_nodes: int) -> Data:
    """What of a `Data` is its graph.

    Raises:
        TypeError, ValueError: it has no edges, or no weights of that name.
    """
    graph = Data(edge_index=edges_of(data), num_nodes=num_nodes)
    weight = edge_weights(data, names.weight or None)
    if weight is not None:
        graph.edge_weight = weight.float()
    for name in ("pos", *GRID):
        value = data.get(name)
        if isinstance(value, Tensor) and name != names.signal:
            graph[name] = value.float() if value.is_floating_point() else value
    if (pos := graph.get("pos")) is not None:
        if pos.dim() != 2 or len(pos) != num_nodes:
            raise ValueError(f"pos must be [{num_nodes}, d], got {list(pos.shape)}")
        if not bool(pos.isfinite().all()):
            raise ValueError("pos is not finite")
        graph.pos = pos.float()
    return graph


def _signal_of(value: Any, name: str, known: Tensor | None, gaps: bool) -> tuple[Tensor, Tensor | None]:
    """(x, known) of one signal or of a stack of them, `[..., N, C]`.

    Raises:
        ValueError: no such signal.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"there is no {name!r}" if value is None else f"{name} is a {type(value).__name__}, no tensor")
    if value.is_complex():
        raise ValueError(f"{name} must be real, got {value.dtype}")
    if not value.numel():
        raise ValueError(f"{name} is empty, {list(value.shape)}")
    x = value.float()
    if known is not None:
        if known.shape not in (x.shape, x.shape[:-1]):
            raise ValueError(f"the mask must be {list(x.shape[:-1])} or {list(x.shape)}, got {list(known.shape)}")
        known = known.bool() if known.dim() == x.dim() else known.bool()[..., None].expand_as(x).clone()
    if gaps:
        known = ~x.isnan() if known is None else known & ~x.isnan()
    good = x.isfinite() if known is None else x.isfinite() | ~known
    if not bool(good.all()):
        at = ", ".join(f"{axis} {k}" for axis, k in zip(_axes(x), (~good).nonzero()[0].tolist(), strict=True))
        cure = "; name a mask of known values (data.mask) where values are missing" if known is None else ""
        raise ValueError(f"{name} is {float(x[~good][0])} at {at}{cure}")
    if known is not None:
        x = torch.where(known, x, 0.0)
    return x, known


def _axes(x: Tensor) -> tuple[str, ...]:
    return ("signal", "node", "channel")[-x.dim() :]


def _scalar(value: Any, name: str) -> float:
    """One number of one signal, NaN where it is not known."""
    if value is None:
        raise ValueError(f"there is no {name!r}")
    found = torch.as_tensor(value).double().flatten()
    if found.numel() != 1:
        raise ValueError(f"{name} must be one number, got {list(torch.as_tensor(value).shape)}")
    return float(found)


def from_items(items: Iterable[Any], names: Names) -> SignalSet:
    """Of the items of a data set, each a PyG `Data` with a signal `[N, C]` or `[N]`.

    Raises:
        SignalError: naming the graph that cannot be used.
    """
    graphs: dict[bytes, tuple[int, Data]] = {}
    which: list[int] = []
    x: list[Tensor] = []
    known: list[Tensor | None] = []
    scalars: list[list[float]] = []
    for k, item in enumerate(items):
        try:
            if not isinstance(item, Data):
                raise TypeError(f"a torch_geometric Data is needed, got {type(item).__name__}")
            value, mask = item.get(names.signal), item.get(names.mask) if names.mask else None
            if names.mask and not isinstance(mask, Tensor):
                raise ValueError(f"there is no {names.mask!r}")
            if isinstance(value, Tensor) and value.dim() == 1:
                value = value[:, None]
            if isinstance(value, Tensor) and value.dim() != 2:
                raise ValueError(f"{names.signal} must be [N, C], got {list(value.shape)}")
            signal, seen = _signal_of(value, names.signal, mask, names.gaps)
            if x and signal.size(1) != x[0].size(1):
                raise ValueError(f"{names.signal} has {signal.size(1)} channels, and {x[0].size(1)} in graph 0")
            graph = graph_of(item, names, len(signal))
            scalars.append([_scalar(item.get(name), name) for name in names.scalars])
        except (TypeError, ValueError, RuntimeError) as error:
            raise SignalError(f"graph {k}: {error}") from error
        key = graph_key(graph)
        which.append(graphs.setdefault(key, (len(graphs), graph))[0])
        x.append(signal)
        known.append(seen)
    if not x:
        raise SignalError("there are no signals")
    table = torch.tensor(scalars, dtype=torch.float64).reshape(len(x), -1)
    one = len(graphs) == 1
    masks = [mask for mask in known if mask is not None]
    found = SignalSet(
        [graph for _, graph in graphs.values()],
        np.array(which),
        torch.stack(x) if one else x,
        (torch.stack(masks) if one else masks) if masks else None,
        {name: table[:, j] for j, name in enumerate(names.scalars)},
    )
    check_graphs(found)
    return found


def of_one_graph(graph: Data, x: Any, names: Names, known: Tensor | None, scalars: dict[str, Tensor]) -> SignalSet:
    """Signals `[S, N, C]` of one graph.

    Args:
        graph: with its edges and the rest by their names.

    Raises:
        SignalError: they are none, and why.
    """
    try:
        if isinstance(x, Tensor) and x.dim() != 3:
            raise ValueError(
                f"{names.signal} must be [signals, nodes, channels], got {list(x.shape)}; many graphs have a `ptr` beside it"
            )
        x, known = _signal_of(x, names.signal, known, names.gaps)
        for name, values in scalars.items():
            if values.shape != (len(x),):
                raise ValueError(f"{name} must be [{len(x)}], one number a signal, got {list(values.shape)}")
        one = graph_of(graph, names, x.size(1))
    except (TypeError, ValueError) as error:
        raise SignalError(f"graph 0: {error}") from error
    numbers = {name: values.double() for name, values in scalars.items()}
    found = SignalSet([one], np.zeros(len(x), int), x, known, numbers)
    check_graphs(found)
    return found


def check_graphs(signals: SignalSet) -> None:
    """Whether edges and weights make Laplacians.

    Raises:
        SignalError: naming the first graph whose do not: edges of one direction, negative weights, no such node.
    """
    graphs = [Data(edge_index=g.edge_index, edge_weight=g.get("edge_weight"), num_nodes=g.num_nodes) for g in signals.graphs]
    weighted = {g.edge_weight is not None for g in graphs}
    if len(weighted) > 1:
        odd = next(k for k, g in enumerate(graphs) if g.edge_weight is None)
        raise SignalError(f"graph {int((signals.graph == odd).argmax())}: no weights of edges, which others have")
    for begin, piece in _pieces(graphs):
        try:
            _laplacian(piece)
        except ValueError:
            for k, graph in enumerate(piece):
                try:
                    _laplacian([graph])
                except ValueError as error:
                    first = int((signals.graph == begin + k).argmax())
                    cure = " (torch_geometric.utils.to_undirected does)" if "both directions" in str(error) else ""
                    raise SignalError(f"graph {first}: {error}{cure}") from error


def _pieces(graphs: list[Data]) -> Iterator[tuple[int, list[Data]]]:
    for begin in range(0, len(graphs), CHECKED_TOGETHER):
        yield begin, graphs[begin : begin + CHECKED_TOGETHER]


def _laplacian(graphs: list[Data]) -> Laplacian:
    batch = Batch.from_data_list(graphs)
    return Laplacian.from_edges(batch.edge_index, int(batch.num_nodes or 0), batch.get("edge_weight"))
