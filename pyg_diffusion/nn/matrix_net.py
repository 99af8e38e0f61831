"""Networks for signals that are matrices: the entries of Y are the nodes of the rook's graph K_n □ K_n.

A second matrix A is the context: its entries `[num_nodes, 1]`, or a `Data` that has them as `matrix`.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..network import Context, Noisy
from ..spectral import LaplacianOperator
from .base import NetworkBase
from .registry import NetworkKind


def as_matrices(entries: Tensor, operator: LaplacianOperator) -> Tensor:
    """Entries of equally large square matrices, `[num_nodes, 1] -> [num_graphs, n, n]`.

    Raises:
        ValueError: the graphs are not n² nodes each, or there is more than one channel.
    """
    nodes = int(operator.sizes[0]) if operator.num_graphs else 0
    n = math.isqrt(nodes)
    if n * n != nodes or bool((operator.sizes != nodes).any()):
        raise ValueError(f"the entries of a matrix are n² nodes, the same n in a whole batch; got {operator.sizes.tolist()}")
    if entries.shape != (operator.num_nodes, 1):
        raise ValueError(f"entries must be [{operator.num_nodes}, 1], got {list(entries.shape)}")
    return entries.reshape(operator.num_graphs, n, n)


def _context_matrix(context: Context, operator: LaplacianOperator) -> Tensor:
    entries = context if isinstance(context, Tensor) else getattr(context, "matrix", None)
    if entries is None:
        raise ValueError("the context must be the entries of A [num_nodes, 1], or data with them as its attribute `matrix`")
    return as_matrices(entries, operator)


def _time_mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, out))


class MatrixCode(NamedTuple):
    """What `MatrixNet` knows of A: its norm `[num_graphs, 1, 1]` and its maps `[num_graphs, M, n, 2n]`, see there."""

    norm: Tensor
    maps: Tensor


class MatrixNet(NetworkBase):
    r"""Features of a matrix Y given a matrix A, by multiplicative messages; the f of an `EnergyNet`.

    Edges (i, j) carry C channels, from A_ij and δ_ij on, and update along triangles; nodes i carry M channels of n
    right-hand sides, from Y and I on, and read their neighbours over the edges of their layer:

        h_ij ← W₀ h_ij + W₃ Σ_k (W₁ h_ik) ∘ (W₂ h_kj)          z_i ← V₀ z_i + Σ_j V(h_ij) z_j

    Features are Σ_m w_m(t) z_m times a learned gain of the time. They are affine in Y and polynomials in A of a degree up to
    2^depth - 1, all of whose coefficients are learned: no layer knows of A Y = I. A is divided by its Schatten 4-norm and Y
    multiplied by it, so f(kA, Y/k) = f(A, Y)/k. Equivariant under (A, Y) → (P A Pᵀ, P Y Pᵀ) for orthogonal P; any n.

    Everything but Y and t is in `encode`, after which the energy and its slope cost two matrix products.

    Args:
        depth: layers.
        channels: C, of edges.
        node_channels: M.
        residual: hand the analytic residual A Y - I to the nodes as a third channel, which makes this a hybrid.

    Raises:
        ValueError: an option below 1.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.datasets import matrix_data
        >>> from pyg_diffusion.nn import EnergyNet, MatrixNet
        >>> data = matrix_data(2 * torch.eye(3))
        >>> net = EnergyNet(MatrixNet(depth=2))
        >>> net.energy(data.x, torch.zeros(1, 1), laplacian_operator(data), data.matrix).shape
        torch.Size([1])
    """

    def __init__(self, depth: int = 5, channels: int = 8, node_channels: int = 4, residual: bool = False):
        super().__init__()
        if min(depth, channels, node_channels) < 1:
            raise ValueError(f"depth, channels and node_channels must be >= 1, got {depth}, {channels}, {node_channels}")
        self.depth, self.channels, self.node_channels, self.residual = depth, channels, node_channels, residual
        c, m = channels, node_channels

        def weights(layers: int, *shape: int) -> nn.ParameterList:
            return nn.ParameterList(nn.Parameter(torch.empty(shape)) for _ in range(layers))

        self.read_edge = nn.Parameter(torch.empty(c, 2))
        self.keep_edge, self.left, self.right, self.join = (weights(depth - 1, c, c) for _ in range(4))
        self.read_node = nn.Parameter(torch.empty(m, 3 if residual else 2))
        self.keep_node, self.propagate = weights(depth, m, m), weights(depth, m * m, c)
        self.readout = nn.Parameter(torch.empty(m))
        self.time = _time_mlp(64, m + 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Layers near the identity."""
        c, m = self.channels, self.node_channels
        nn.init.normal_(self.read_edge, std=0.5)
        nn.init.normal_(self.read_node, std=0.7)
        nn.init.normal_(self.readout, std=m**-0.5)
        for keep in (*self.keep_edge, *self.keep_node):
            nn.init.normal_(keep, std=0.1 * keep.size(0) ** -0.5)
            keep.data.diagonal().add_(1)
        for left, right, join in zip(self.left, self.right, self.join, strict=True):
            for weight, std in ((left, 1.0), (right, 1.0), (join, 0.3)):
                nn.init.normal_(weight, std=std * c**-0.5)
        for weight in self.propagate:
            nn.init.normal_(weight, std=0.3 * (m * c) ** -0.5)
        last = self.time[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)

    def encode(self, context: Context, operator: LaplacianOperator) -> MatrixCode:
        """Messages of A alone, unless that is done: f = gain Σ_m w_m (S_m Y + Q_m/‖A‖), `maps` (S_m, Q_m) side by side."""
        if isinstance(context, MatrixCode):
            return context
        a = _context_matrix(context, operator)
        b, n, m = a.size(0), a.size(1), self.node_channels
        norm = (a @ a.mT).square().sum((1, 2), keepdim=True).pow(0.25).clamp_min(torch.finfo(a.dtype).tiny)
        a = a / norm
        one = torch.eye(n, dtype=a.dtype, device=a.device).expand_as(a)
        zero = torch.zeros_like(a)

        def mix(weight: Tensor, h: Tensor) -> Tensor:
            result: Tensor = (weight @ h.flatten(2)).unflatten(2, h.shape[2:])
            return result

        h = mix(self.read_edge, torch.stack([a, one], 1))
        start = [torch.cat([one, zero], 2), torch.cat([zero, one], 2)]
        if self.residual:
            start.append(torch.cat([a, -one], 2))
        z = mix(self.read_node, torch.stack(start, 1))
        for k in range(self.depth):
            if k:
                h = mix(self.keep_edge[k - 1], h) + mix(
                    self.join[k - 1], mix(self.left[k - 1], h) @ mix(self.right[k - 1], h)
                )
            along = mix(self.propagate[k], h).view(b, m, m, n, n).transpose(2, 3).reshape(b, m * n, m * n)
            z = mix(self.keep_node[k], z) + (along @ z.reshape(b, m * n, 2 * n)).view(b, m, n, 2 * n)
        return MatrixCode(norm, z)

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """f `[num_nodes, 1]`; `context` is A (see the module) or its `encode`."""
        norm, maps = self.encode(context, operator)
        time = self.time(noisy.log_tau / 4)
        gain = torch.exp(time[:, -1:] - 0.25 * noisy.log_tau)  # E grows like 1/σ
        weight = (self.readout + time[:, :-1]) * gain
        s, q = torch.einsum("bm,bmij->bij", weight, maps).chunk(2, dim=2)
        return (s @ as_matrices(noisy.signal, operator) + q / norm).reshape(-1, 1)


class MatrixMLP(NetworkBase):
    """Features of a matrix Y given a matrix A, by an MLP of all their entries and the time; the f of an `EnergyNet`.

    The baseline that knows no symmetry: f = gain(t) (Y + MLP(A, Y, t)), for one n.

    Args:
        n: rows.
        width: hidden features.
        depth: hidden layers.

    Raises:
        ValueError: when called: matrices of another size.

    Example:
        >>> import torch
        >>> from pyg_diffusion.data import laplacian_operator
        >>> from pyg_diffusion.datasets import matrix_data
        >>> from pyg_diffusion.nn import EnergyNet, MatrixMLP
        >>> data = matrix_data(2 * torch.eye(3))
        >>> net = EnergyNet(MatrixMLP(n=3, width=8, depth=1))
        >>> net.energy(data.x, torch.zeros(1, 1), laplacian_operator(data), data.matrix).shape
        torch.Size([1])
    """

    def __init__(self, n: int = 20, width: int = 512, depth: int = 3):
        super().__init__()
        self.n = n
        widths = [2 * n * n + 16] + [width] * depth
        layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(width, n * n))
        self.time = _time_mlp(64, 17)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The MLP adds 0."""
        for layer in (self.layers[-1], self.time[-1]):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.bias)
            nn.init.normal_(layer.weight, std=1e-3)

    def forward(self, noisy: Noisy, operator: LaplacianOperator, context: Context) -> Tensor:
        """f `[num_nodes, 1]`; `context` is A (see the module)."""
        a, y = _context_matrix(context, operator), as_matrices(noisy.signal, operator)
        if a.size(1) != self.n and operator.num_graphs:
            raise ValueError(f"this MLP takes matrices of {self.n} rows, got {a.size(1)}")
        time = self.time(noisy.log_tau / 4)
        y = y.reshape(-1, self.n**2)
        out = self.layers(torch.cat([a.reshape(-1, self.n**2) / self.n**0.5, y, time[:, :-1]], 1))
        result: Tensor = (torch.exp(time[:, -1:] - 0.25 * noisy.log_tau) * (y + out)).reshape(-1, 1)
        return result


ENERGY, MLP_ENERGY = NetworkKind(MatrixNet, ("n",), energy=True), NetworkKind(MatrixMLP, ("n",), energy=True)
