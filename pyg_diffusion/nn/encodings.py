"""Encodings of time, distance and graph position."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from ..spectral import DenseOperator, GridOperator, LaplacianOperator

NODE_TIMES = (0.25, 1.0, 4.0, 16.0)  # of heat signatures, in units of 1 / mean degree
EDGE_TIMES = (0.25, 4.0)


class GaussianBasis(nn.Module):
    """exp(-½((d - c_k)/w_k)²) on distances in Å: even and narrow over bonds and angles, wider beyond.

    `[...] -> [..., K]`.
    """

    def __init__(self) -> None:
        super().__init__()
        near = torch.linspace(0.7, 3.1, 17)
        far = torch.logspace(torch.tensor(3.4).log10().item(), torch.tensor(14.0).log10().item(), 11)
        centers = torch.cat([near, far])
        self.centers: Tensor
        self.inverse_width: Tensor
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer("inverse_width", 1 / torch.cat([near.diff()[:1], centers.diff()]), persistent=False)

    @property
    def size(self) -> int:
        return self.centers.numel()

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((distance.unsqueeze(-1) - self.centers) * self.inverse_width).square())


class Fourier(nn.Module):
    """cos and sin of ω_k x with ω_k in geometric progression, `[..., 1] -> [..., 2K]`."""

    def __init__(self, size: int = 32, low: float = 0.1, high: float = 8.0):
        super().__init__()
        self.omega: Tensor
        omega = low * (high / low) ** torch.linspace(0, 1, size // 2)
        self.register_buffer("omega", omega, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        phase = x * self.omega
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


def graph_distance(adjacency: Tensor, limit: int) -> Tensor:
    """Number of bonds on the shortest path, batched over dense graphs.

    Args:
        adjacency: bool `[..., N, N]`.
        limit: distances beyond it, and disconnected pairs, read `limit + 1`.
    """
    step = adjacency.float()
    eye = torch.eye(adjacency.size(-1), device=adjacency.device, dtype=torch.bool).expand_as(adjacency)
    reached = eye.clone()
    distance = torch.full_like(reached, limit + 1, dtype=torch.long).masked_fill(eye, 0)
    for k in range(1, limit + 1):
        grown = reached | (reached.float() @ step > 0.5)
        distance = distance.masked_fill(grown & ~reached, k)
        reached = grown
    return distance


def _axes(operator: GridOperator, times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """U `[n, n]` and exp(-sΛ) `[B, n, T]` of every axis of a grid."""
    for n, kind, h in zip(operator.shape, operator.kinds, operator.spacing, strict=True):
        axis = GridOperator((n,), kind, h, dtype=operator.dtype, device=operator.device)
        identity = torch.eye(n, dtype=operator.dtype, device=operator.device).unsqueeze(0)
        yield axis.from_modes(identity), torch.exp(-times.unsqueeze(1) * axis.eigenvalues[0, :, None])


def _check(operator: LaplacianOperator, times: Sequence[float] | Tensor) -> Tensor:
    if not isinstance(operator, DenseOperator | GridOperator):
        raise TypeError(
            "entries of exp(-sL) need an exact operator, backend=DenseOperator.from_laplacian or a grid; got "
            f"{type(operator).__name__}"
        )
    times = torch.as_tensor(times, dtype=operator.dtype, device=operator.device)
    times = times.unsqueeze(0) if times.dim() == 1 else times
    if times.dim() != 2 or times.size(0) not in (1, operator.num_graphs):
        raise ValueError(f"times must be [T] or [num_graphs = {operator.num_graphs}, T], got {list(times.shape)}")
    return times


def heat_diagonal(operator: LaplacianOperator, times: Sequence[float] | Tensor) -> Tensor:
    r"""exp(-sL)_ii = Σ_k e^{-sλ_k} U_ik², how much of a unit of heat is still at node i at time s (heat-kernel signature).

    It places a node in its graph, and depends on no sign and no basis of the eigenvectors. On a grid the kernel is the
    product of those of the axes. Sun, Ovsjanikov and Guibas 2009.

    Args:
        operator: a `DenseOperator` or `GridOperator`.
        times: s, `[T]`, or `[num_graphs, T]`.

    Returns:
        `[num_nodes, T]` in (0, 1].

    Raises:
        TypeError: the operator has no entries at hand.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import heat_diagonal
        >>> from pyg_diffusion.spectral import DenseOperator
        >>> L = DenseOperator.from_edges(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> heat_diagonal(L, [0.0, 100.0]).round(decimals=4)  # at first all of it, in the end a third
        tensor([[1.0000, 0.3333],
                [1.0000, 0.3333],
                [1.0000, 0.3333]], dtype=torch.float64)
    """
    times = _check(operator, times)
    if isinstance(operator, DenseOperator):
        response = torch.exp(-times.unsqueeze(1) * operator.eigenvalues.unsqueeze(-1))
        return operator.unpack(operator.eigenvectors.square() @ response)
    assert isinstance(operator, GridOperator)
    product = times.new_ones(times.size(0), 1, times.size(1))
    for u, response in _axes(operator, times):
        product = (product.unsqueeze(2) * (u.square() @ response).unsqueeze(1)).flatten(1, 2)
    return product.expand(operator.num_graphs, -1, -1).flatten(0, 1)


def heat_edges(operator: LaplacianOperator, edge_index: Tensor, times: Sequence[float] | Tensor) -> Tensor:
    r"""exp(-sL)_ij on edges (or any pairs of nodes of one graph), `[E, T]`; the rest as `heat_diagonal`.

    Example:
        >>> import torch
        >>> from pyg_diffusion.nn import heat_edges
        >>> from pyg_diffusion.spectral import DenseOperator
        >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> heat_edges(DenseOperator.from_edges(edges, 3), edges, [0.0, 100.0]).round(decimals=4)[0]
        tensor([0.0000, 0.3333], dtype=torch.float64)
    """
    times = _check(operator, times)
    row, col = edge_index
    if isinstance(operator, DenseOperator):
        m = operator.max_nodes
        slot = operator.slots[row]
        graph, i, j = slot // max(m, 1), slot % max(m, 1), operator.slots[col] % max(m, 1)
        response = torch.exp(-times.unsqueeze(1) * operator.eigenvalues.unsqueeze(-1))
        u = operator.eigenvectors
        kernels = [torch.einsum("bik,bk,bjk->bij", u, r, u)[graph, i, j] for r in response.unbind(-1)]
        return torch.stack(kernels, -1) if kernels else u.new_zeros(row.numel(), 0)
    assert isinstance(operator, GridOperator)
    graph = row // operator.nodes_per_graph * (times.size(0) > 1)
    stride, value = operator.nodes_per_graph, times.new_ones(row.numel(), times.size(1))
    for n, (u, response) in zip(operator.shape, _axes(operator, times), strict=True):
        stride //= n
        kernel = torch.einsum("ik,bkt,jk->bijt", u, response, u)
        value = value * kernel[graph, row // stride % n, col // stride % n]
    return value


def mean_degree(operator: LaplacianOperator, edge_index: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean degree of each graph, `[num_graphs, 1]`, a unit of λ; 1 where there are no edges."""
    ones = torch.ones(edge_index.size(1), device=edge_index.device)
    degree = scatter(ones if weight is None else weight, edge_index[1], dim_size=operator.num_nodes).unsqueeze(1)
    unit = operator.graph_sum(degree) / operator.sizes.clamp_min(1).unsqueeze(1)
    return torch.where(unit > 0, unit, 1).to(operator.dtype)


def heat_signatures(operator: LaplacianOperator, pairs: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-sL)_ii at `NODE_TIMES`, `[N, 4]`, and exp(-sL)_ij of pairs `[2, P]` at `EDGE_TIMES`, `[P, 2]`, s in units of
    1/`unit [num_graphs, 1]`; 0 on backends without an eigenbasis."""
    if not (isinstance(operator, DenseOperator | GridOperator) and operator.num_graphs):
        return unit.new_zeros(operator.num_nodes, len(NODE_TIMES)), unit.new_zeros(pairs.size(1), len(EDGE_TIMES))
    scale = unit[:1] if isinstance(operator, GridOperator) else unit  # copies of one grid have one mean degree
    node_times, edge_times = (torch.tensor(times).to(scale) / scale for times in (NODE_TIMES, EDGE_TIMES))
    return heat_diagonal(operator, node_times), heat_edges(operator, pairs, edge_times)
