"""Dense batched backend: one float64 `eigh` of every graph, exact functions ever after."""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from .laplacian import Laplacian
from .operator import ExactOperator, Kernel, require_finite

_WORK = 2_000_000  # Σ N³ of one call of `eigh`, not a share of the whole: results do not depend on the number of threads
_LARGE = 256  # nodes above which LAPACK's own threads pay


def null_basis(laplacian: Laplacian, limit: int | None = None) -> tuple[Tensor, Tensor]:
    r"""Orthonormal null vectors of every graph, the graph-wide one first: (`[N, K]`, how many per graph `[num_graphs]`).

    With n_c and N_c the unit null vector and the size of component c, vector 0 is v = Σ_c √(N_c/N) n_c: the constant 1/√N of
    a combinatorial Laplacian, proportional to √degree on each component of a normalised one. The others, the relative
    offsets, are the further columns of the Householder reflection that takes n_0 to -v. Columns that do not exist are 0.

    Raises ValueError where a graph has more than `limit` components.
    """
    sizes, component = laplacian.sizes, laplacian.component
    device, num_graphs = sizes.device, laplacian.num_graphs
    graph = torch.arange(num_graphs, device=device).repeat_interleave(sizes, output_size=laplacian.num_nodes)
    nodes = torch.bincount(component)
    owner = torch.zeros_like(nodes).index_copy(0, component, graph)
    count = torch.bincount(owner, minlength=num_graphs)
    most = int(count.max()) if num_graphs else 0
    if limit is not None and most > limit:
        g = int(count.argmax())
        raise ValueError(f"k = {limit} modes are too few: graph {g} has {most} connected components, one null mode each")
    order = owner.argsort(stable=True)
    rank = torch.empty_like(order)  # of a component among those of its graph
    rank[order] = torch.arange(order.numel(), device=device) - (count.cumsum(0) - count)[owner[order]]

    v = torch.zeros(num_graphs, most, dtype=torch.float64, device=device)
    v[owner, rank] = (nodes / sizes[owner].double()).sqrt()
    w = v.clone()
    w[:, :1] += 1
    identity = (rank[:, None] == torch.arange(most, device=device)).double()
    reflection = identity - w[owner, rank, None] * w[owner] / w[owner, :1]
    reflection[:, :1] = v[owner, rank, None]
    return reflection[component] * laplacian.null.double(), count


class _Stack(NamedTuple):
    """Graphs that are decomposed in one call: their numbers, their common width, and where their matrices begin."""

    members: Tensor
    width: int
    begin: int


def _stacks(width: Tensor, order: Tensor) -> Iterator[_Stack]:
    """All graphs, from `width[order]`, which descends."""
    begin, end = 0, 0
    for k, count in zip(*(v.tolist() for v in width[order].unique_consecutive(return_counts=True)), strict=True):
        most = count if order.is_cuda else max(1, _WORK // max(k, 1) ** 3)
        for members in order[end : end + count].split(most):
            yield _Stack(members, k, begin)
            begin += len(members) * k * k
        end += count


def _share_out(task: Callable[[_Stack], None], stacks: Sequence[_Stack]) -> None:
    """Every task once; the small ones over threads, since on a CPU one call of `eigh` takes its matrices in turn."""
    threads = torch.get_num_threads()
    small = [s for s in stacks if s.width <= _LARGE and not s.members.is_cuda]
    if threads < 2 or sum(len(s.members) * s.width**3 for s in small) < _WORK:
        small = []
    for stack in stacks[: len(stacks) - len(small)]:
        task(stack)
    if not small:
        return
    inference = torch.is_inference_mode_enabled()  # a thread starts without

    def one(stack: _Stack) -> None:
        with torch.inference_mode(inference):
            task(stack)

    torch.set_num_threads(1)  # threads of threads fight for the cores: three times as slow from 25 nodes on
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, small))
    finally:
        torch.set_num_threads(threads)


class DenseOperator(ExactOperator):
    r"""f(L) x = U f(Λ) Uᵀ x by explicit eigenvectors, batched over graphs of different size.

    Null modes come first, counted by connected component and never by comparing floats, their λ exactly 0: mode 0 is the
    graph-wide one, the constant 1/√N (if normalised, √degree on each component), modes 1..k-1 the relative offsets of the k
    components. Padded modes have λ = 1 (harmless in any kernel), zero vectors and a False `mode_mask`.

    Args:
        eigenvalues: λ, `[num_graphs, M]`.
        eigenvectors: U with modes as columns, `[num_graphs, M, M]`, zero outside each graph.
        sizes: number of nodes of each graph, `[num_graphs]`.

    `slots [num_nodes]` is the place of each node in the padded layout, flattened.

    Raises:
        ValueError: signals of another shape or dtype.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import DenseOperator
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> L = DenseOperator.from_edges(path, 3)
        >>> L.eigenvalues.round(decimals=6)
        tensor([[0., 1., 3.]], dtype=torch.float64)
        >>> x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
        >>> L.apply(lambda lam: lam, x).round(decimals=6).T  # the middle column of L
        tensor([[-1.,  2., -1.]], dtype=torch.float64)
    """

    def __init__(self, eigenvalues: Tensor, eigenvectors: Tensor, sizes: Tensor):
        self.eigenvalues, self.eigenvectors, self.sizes = eigenvalues, eigenvectors, sizes
        self.max_nodes = eigenvalues.size(1)
        arange = torch.arange(self.max_nodes, device=sizes.device)
        self.mode_mask = arange < sizes[:, None]
        self.slots = self.mode_mask.flatten().nonzero().squeeze(1)
        self.num_nodes = self.slots.numel()

    @classmethod
    def from_edges(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        normalized: bool = False,
    ) -> "DenseOperator":
        """Of the Laplacian of these edges; arguments and errors are those of `Laplacian.from_edges`."""
        return cls.from_laplacian(Laplacian.from_edges(edge_index, num_nodes, edge_weight, batch, num_graphs, normalized))

    @classmethod
    def from_laplacian(cls, laplacian: Laplacian) -> "DenseOperator":
        """Decomposed in float64: 10,000 molecules of 18 atoms take about 0.1 s on two cores."""
        sizes, bound, device = laplacian.sizes, laplacian.bound.double(), laplacian.sizes.device
        num_graphs, num_nodes, m = sizes.numel(), laplacian.num_nodes, int(sizes.max()) if sizes.numel() else 0
        basis, count = null_basis(laplacian)
        first = sizes.cumsum(0) - sizes

        # Graphs of one width are stacks of matrices, all of them slices of `flat`. For many graphs on a CPU the width is the
        # size, since padding costs more than further calls; for few, and on a GPU, calls are dear.
        step = 32 if sizes.is_cuda or num_graphs < 256 else 1
        width = ((sizes + step - 1) // step * step).clamp_max(m)
        order = width.argsort(stable=True, descending=True)
        ends = width[order].square().cumsum(0)
        start = torch.empty_like(ends)
        start[order] = ends - width[order].square()
        graph = torch.arange(num_graphs, device=device).repeat_interleave(sizes, output_size=num_nodes)
        local = torch.arange(num_nodes, device=device) - first[graph]
        crow, col = laplacian.matrix.crow_indices(), laplacian.matrix.col_indices()
        line = (start[graph] + local * width[graph]).repeat_interleave(crow.diff(), output_size=col.numel())
        flat = torch.zeros(int(width.square().sum()), dtype=torch.float64, device=device)
        flat[line + local[col]] = laplacian.matrix.values().double()

        eigenvalues = torch.ones(num_graphs, m, dtype=torch.float64, device=device)
        eigenvectors = torch.zeros(num_graphs, m, m, dtype=torch.float64, device=device)

        def decompose(stack: _Stack) -> None:
            members, k = stack.members, stack.width
            arange, scale = torch.arange(k, device=device), bound[members, None]
            exists, is_null = arange < sizes[members, None], arange < count[members, None]
            c = int(count[members].max())
            null = basis[(first[members, None] + arange).clamp_max(num_nodes - 1), :c] * exists[:, :, None]
            # 0 <= λ <= bound. Null modes are moved to -bound and padding to 2 bound, so that neither mixes with the rest,
            # not even where a bond of weight 1e-15 makes λ₁ indistinguishable from 0.
            a = flat[stack.begin : stack.begin + len(members) * k * k].view(-1, k, k)
            a.baddbmm_(null * scale[:, :, None], null.mT, alpha=-1)
            a.diagonal(dim1=1, dim2=2).add_(2 * scale * ~exists)
            lam, u = torch.linalg.eigh(a)
            u[:, :, :c] = torch.where(is_null[:, None, :c], null, u[:, :, :c])
            if step > 1:
                u *= exists[:, None, :] & exists[:, :, None]
            eigenvalues[members, :k] = torch.where(exists & ~is_null, lam.clamp_min(0), (~exists).double())
            eigenvectors[members, :k, :k] = u

        _share_out(decompose, [stack for stack in _stacks(width, order) if stack.width])
        operator = cls(eigenvalues, eigenvectors, sizes)
        operator.constant_null = not laplacian.normalized
        return operator

    @classmethod
    def from_flat(cls, eigenvalues: Tensor, eigenvectors: Tensor, sizes: Tensor) -> "DenseOperator":
        """From ragged storage: `eigenvalues [ΣN]` and row-major N×N `eigenvectors [ΣN²]`, graph after graph."""
        want, got = [int(sizes.sum()), int(sizes.square().sum())], [eigenvalues.numel(), eigenvectors.numel()]
        if want != got:
            raise ValueError(f"these graphs have {want} numbers in eigenvalues and eigenvectors, got {got}")
        m = int(sizes.max()) if sizes.numel() else 0
        exists = torch.arange(m, device=sizes.device) < sizes[:, None]
        lam = torch.ones_like(exists, dtype=eigenvalues.dtype).masked_scatter_(exists, eigenvalues)
        u = eigenvectors.new_zeros(sizes.numel(), m, m)
        return cls(lam, u.masked_scatter_(exists[:, :, None] & exists[:, None, :], eigenvectors), sizes)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast or move the spectrum, as `Tensor.to`."""
        other = copy.copy(self)
        u = other.eigenvectors = self.eigenvectors.to(*args, **kwargs)
        other.eigenvalues = self.eigenvalues.to(u)
        other.sizes, other.mode_mask, other.slots = (v.to(u.device) for v in (self.sizes, self.mode_mask, self.slots))
        return other

    def pack(self, x: Tensor) -> Tensor:
        if x.size(0) != self.num_nodes:
            raise ValueError(f"the signal has {x.size(0)} nodes, the operator {self.num_nodes}")
        padded = x.new_zeros(self.num_graphs * self.max_nodes, *x.shape[1:])
        return padded.index_copy(0, self.slots, x).view(self.num_graphs, self.max_nodes, *x.shape[1:])

    def unpack(self, padded: Tensor) -> Tensor:
        """Padded to flat, the inverse of `pack`."""
        return padded.flatten(0, 1).index_select(0, self.slots)

    def to_modes(self, x: Tensor) -> Tensor:
        return self.eigenvectors.mT @ self.pack(x)

    def from_modes(self, modes: Tensor) -> Tensor:
        return self.unpack(self.eigenvectors @ modes)

    def matrix(self, kernel: Kernel) -> Tensor:
        """f(L) itself, padded: `[num_graphs, M, M]`."""
        values = kernel(self.eigenvalues)
        require_finite(values[..., None], self.eigenvalues)
        return (self.eigenvectors * values[:, None, :]) @ self.eigenvectors.mT

    def __repr__(self) -> str:
        return self._describe(f"{self.max_nodes} modes at most")


def laplacian_spectrum(
    edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None, normalized: bool = False
) -> tuple[Tensor, Tensor]:
    """(λ `[N]`, U `[N, N]`) of one graph in float64, null modes first and exact (see `DenseOperator`).

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import laplacian_spectrum
        >>> lam, u = laplacian_spectrum(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> lam.round(decimals=6)
        tensor([0., 1., 3.], dtype=torch.float64)
        >>> (u * lam @ u.mT).round(decimals=6)[1]
        tensor([-1.,  2., -1.], dtype=torch.float64)
    """
    operator = DenseOperator.from_edges(edge_index, num_nodes, edge_weight, num_graphs=1, normalized=normalized)
    return operator.eigenvalues[0], operator.eigenvectors[0]
