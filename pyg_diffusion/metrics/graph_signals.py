"""How good are signals on graphs that differ? What signals of any graphs have in common, compared; with their measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from ..data import laplacian_operator
from ..spectral import DenseOperator
from .fields import SMALL, wasserstein
from .registry import measure, measured

BINS = 12  # of λ, with equally many modes of the reference
NODES = 2048  # of the largest graph that is decomposed
TOGETHER = 4_000_000  # padded pairs of nodes that are decomposed at once


@dataclass(frozen=True)
class GraphSignals:
    """Signals on graphs that may differ, as far as they compare.

    Attributes:
        values: of all nodes, `[ΣN, C]`; NaN where nobody knows it.
        rough: mean over nodes of |L S|² of each signal that is whole, `[S]`.
        eigenvalues, power: λ `[M]` and |Ŝ|² `[M, C]` of all modes of these on graphs of up to 2,048 nodes.
    """

    values: Tensor
    rough: Tensor
    eigenvalues: Tensor
    power: Tensor

    @classmethod
    def of(cls, signals: Sequence[tuple[Data, Tensor]], normalized: bool = False) -> Self:
        """Of graphs and signals `[N, C]`; NaN is a value that nobody knows.

        Example:
            >>> import torch
            >>> from torch_geometric.data import Data
            >>> from pyg_diffusion.metrics.graph_signals import GraphSignals
            >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
            >>> seen = GraphSignals.of([(edge, torch.tensor([[1.0], [-1.0]]))])
            >>> seen.rough.round(decimals=6), seen.power[:, 0].round(decimals=6)  # λ = 0 and 2
            (tensor([4.], dtype=torch.float64), tensor([0., 2.], dtype=torch.float64))
        """
        rough, lam, power = [], [], []
        for piece in _pieces([(graph, x) for graph, x in signals if not bool(x.isnan().any())]):
            batch = Batch.from_data_list([graph for graph, _ in piece])
            x = torch.cat([x for _, x in piece]).double()
            small = max(int(graph.num_nodes or 0) for graph, _ in piece) <= NODES
            backend = DenseOperator.from_laplacian if small else None
            operator = laplacian_operator(batch, backend, torch.float64, normalized)
            steep = operator.apply(lambda lam: lam, x).square().sum(1, keepdim=True)
            rough.append(operator.graph_sum(steep)[:, 0] / operator.sizes)
            if isinstance(operator, DenseOperator):
                lam.append(operator.eigenvalues[operator.mode_mask])
                power.append(operator.to_modes(x)[operator.mode_mask].square())
        values = torch.cat([x for _, x in signals]).double()
        nothing = values.new_zeros(0, values.size(1))
        return cls(
            values,
            torch.cat([values.new_zeros(0), *rough]),
            torch.cat([values.new_zeros(0), *lam]),
            torch.cat([nothing, *power]),
        )

    def bins(self) -> tuple[Tensor, Tensor]:
        """(mean λ of each bin, their inner edges), with equally many of these modes in each."""
        lam = self.eigenvalues.sort().values
        parts = [part for part in lam.tensor_split(BINS) if len(part)]
        return torch.stack([part.mean() for part in parts]), torch.stack([part[0] for part in parts[1:]])

    def binned(self, edges: Tensor) -> Tensor:
        """Mean power of the modes between edges `[B - 1]`, `[B, C]`; 0 where there is none."""
        k = torch.bucketize(self.eigenvalues, edges, right=True)
        total = self.power.new_zeros(len(edges) + 1, self.power.size(1)).index_add(0, k, self.power)
        return total / torch.bincount(k, minlength=len(edges) + 1).clamp_min(1)[:, None]


def _pieces(signals: Sequence[tuple[Data, Tensor]]) -> list[list[tuple[Data, Tensor]]]:
    """In their order, so many that a batch is decomposed at once."""
    pieces: list[list[tuple[Data, Tensor]]] = []
    largest = 0
    for one in signals:
        largest = max(largest, len(one[1]))
        if not pieces or (len(pieces[-1]) + 1) * largest**2 > TOGETHER:
            pieces.append([])
            largest = len(one[1])
        pieces[-1].append(one)
    return pieces


@dataclass(frozen=True)
class SignalSets:
    """Generated and reference signals."""

    generated: GraphSignals
    reference: GraphSignals

    @property
    def whole(self) -> bool:
        """Whether both sets have signals of which all is known."""
        return bool(len(self.generated.rough) and len(self.reference.rough))


@measure("signals", error=True)
def binned_spectrum(sets: SignalSets) -> float | None:
    """Mean over bins of λ and channels of |p_gen - p_ref| / max(p_ref, `SMALL` · mean p_ref); of whole signals."""
    if not sets.whole:
        return None
    if len(sets.reference.eigenvalues) < 2:
        return 0.0
    _, edges = sets.reference.bins()
    p, q = sets.generated.binned(edges), sets.reference.binned(edges)
    return float(((p - q).abs() / q.clamp_min(max(SMALL * float(q.mean()), 1e-300))).mean())


@measure("signals", error=True)
def values_wasserstein(sets: SignalSets) -> float | None:
    """√ of the mean over channels of W₂² between the known values of all nodes, in units of the signal."""
    pairs = zip(sets.generated.values.T, sets.reference.values.T, strict=True)
    known = [[x[~x.isnan()][:, None] for x in pair] for pair in pairs]
    squares = [wasserstein(a, b) for a, b in known if len(a) and len(b)]
    return float(torch.cat(squares).mean().sqrt()) if squares else None


@measure("signals", error=True)
def roughness_wasserstein(sets: SignalSets) -> float | None:
    """W₂ between the distributions of the mean |L S|² per node, relative to the reference's mean; of whole signals."""
    if not sets.whole:
        return None
    gap = wasserstein(sets.generated.rough[:, None], sets.reference.rough[:, None]).sqrt()
    return float(gap / sets.reference.rough.mean().clamp_min(torch.finfo(torch.float64).tiny))


@measure("signals")
def roughness(sets: SignalSets) -> float | None:
    """Mean |L S|² per node of whole signals, to agree with the reference's own."""
    return float(sets.generated.rough.mean()) if sets.whole else None


@measure("signals")
def power(sets: SignalSets) -> float:
    """Mean |S|² per node and channel that is known, likewise."""
    return float(sets.generated.values.square().nanmean())


def compare_signals(generated: GraphSignals, reference: GraphSignals) -> dict[str, float]:
    """Every measure of generated against held-out signals that has something to measure; errors are 0 at best.

    Raises:
        TypeError: a measure that gives no number.
    """
    rows = measured("signals", SignalSets(generated, reference))
    for name, row in rows.items():
        if not isinstance(row.value, float | int | None):
            raise TypeError(f"the measure {name!r} of signals gives {row.value!r}, which is no number")
    return {name: float(row.value) for name, row in rows.items() if isinstance(row.value, float | int)}
