"""L of batches of signals: decomposed once where all are on one graph."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch_geometric.data import Batch, Data

from ...data import laplacian_operator
from ...spectral import DenseOperator, LaplacianOperator, LowRankOperator
from ..backend import BackendOptions

LARGEST = 8192  # nodes of a graph that is decomposed in full: half a GiB, minutes
KEPT = 4  # sizes of batches whose operators are kept


class SignalLaplacian:
    """Operators of batches.

    Args:
        options: normalisation and backend.
        shared: whether all signals are on one graph, of which a batch is copies.

    Raises:
        ValueError: a graph too large to decompose.
    """

    def __init__(self, options: BackendOptions, shared: bool):
        self.options, self.shared = options, shared
        self._one: tuple[Any, LaplacianOperator] | None = None
        self._kept: OrderedDict[tuple[int, Any], LaplacianOperator] = OrderedDict()

    @classmethod
    def of(cls, data: Mapping[str, Any], shared: bool) -> "SignalLaplacian":
        """Of the `data` section of a recipe, or of a card."""
        return cls(BackendOptions(**{k: data[k] for k in BackendOptions.model_fields if k in data}), shared)

    def single(self, graph: Data, dtype: torch.dtype = torch.float32) -> LaplacianOperator:
        """Of one graph."""
        nodes = int(graph.num_nodes or 0)
        if self.options.backend == "dense" and nodes > LARGEST:
            raise ValueError(f"a graph of {nodes} nodes is too large for backend: dense; take lowrank or chebyshev")
        carried = "eigenvalues" in graph
        return laplacian_operator(
            graph, None if carried else self.options.chosen(), dtype=dtype, normalized=self.options.normalized
        )

    def operator(self, batch: Batch) -> LaplacianOperator:
        """Of a batch."""
        if not self.shared:
            return self.single(batch)
        key = (batch.num_graphs, batch.edge_index.device)
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.popitem(last=False)
            self._kept[key] = self._copies(batch)
        return self._kept[key]

    def _copies(self, batch: Batch) -> LaplacianOperator:
        """Of copies of one graph, which is decomposed the first time."""
        device = batch.edge_index.device
        if self._one is None or self._one[0] != device:
            self._one = device, self.single(batch.get_example(0))
        one, count = self._one[1], batch.num_graphs
        if isinstance(one, DenseOperator):
            lam, u = one.eigenvalues.expand(count, -1), one.eigenvectors.expand(count, -1, -1)
            copies: LaplacianOperator = DenseOperator(lam, u, one.sizes.expand(count))
        elif isinstance(one, LowRankOperator):
            lam, u = one.eigenvalues.expand(count, -1), one.eigenvectors.repeat(count, 1)
            copies = LowRankOperator(lam, u, one.sizes.expand(count), one.bound.expand(count))
        else:
            return self.single(batch)
        copies.constant_null, copies.reason = one.constant_null, one.reason
        return copies
