r"""Grids and rook's graphs: the eigenbasis of a product graph, applied axis by axis and stored nowhere.

The Laplacian of a product is a Kronecker sum, so λ is the sum of one eigenvalue per axis and U the Kronecker product of
the bases of the axes:

| axis, n nodes, spacing h | λ_k h² | basis |
|---|---|---|
| path | 4 sin²(πk/2n) | DCT-II |
| cycle | 4 sin²(πk/n) | Hartley, cos(2πjk/n) + sin(2πjk/n) |
| complete | 0, n, n, ... | a Householder reflection that takes e₀ to the constant |

On the CPU long axes are transformed where they lie (`host`). Elsewhere, and where all are short, an axis is transformed
where it stands first and is left last, `[n, rest] -> [rest, n]`. After every axis had its turn,
`[n₁, ..., n_d, C]` has become `[C, k₁, ..., k_d]` without a single copy made for the layout, and the inverse goes the same
way back. `rest` is worked through in blocks that stay in cache, which also keeps the temporaries small.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from . import host
from .autograd import call
from .operator import ExactOperator, Kernel, require_finite, with_channels

# Up to this length an axis is multiplied by its basis as a matrix, O(n) per node; longer ones go through the FFT. The time
# of `forward` and `inverse` over 3·10⁶ numbers, on a CPU with AVX-512 and for many n, was the same either way at n = 44
# (float64, one thread), 48 (float64, two), 57 (float32, one) and 70 (float32, two); at n = 100 the matrix took 1.2 to 1.6
# times as long.
DENSE_UP_TO = 56

_BLOCK = 1 << 19  # entries in a block of columns; below 2^17 the calls begin to cost, above 2^19 the caches

_RESPONSE = 1 << 16  # λ of a response that is computed at once

KINDS = ("path", "cycle", "complete")


def axis_eigenvalues(n: int, kind: str, spacing: float = 1.0) -> Tensor:
    """λ of one axis in the order of its modes, k = 0, ..., n - 1, float64, `[n]`."""
    if kind == "complete":
        lam = torch.full((n,), float(n), dtype=torch.float64)
        lam[0] = 0.0
    else:
        k = torch.arange(n, dtype=torch.float64)
        k = k if kind == "path" else torch.minimum(k, n - k)
        lam = 4 * torch.sin(math.pi / (2 * n if kind == "path" else n) * k).square()
    return lam / spacing**2


class _Fourier:
    """`forward` fills `modes [b, n]` from b columns `x [n, b]`, `inverse` x from modes; so do the classes below.

    DCT-II of a path or Hartley transform of a cycle, by one real FFT of the same length: modes are y_k = Re z_k and
    y_{n-k} = Im z_k.

    On a path, with v = x₀, x₂, x₄, ..., x₅, x₃, x₁, z_k is the conjugate of √(2/n) e^{-iπk/2n} FFT(v)_k (Makhoul, 1980). On
    a cycle z_k = (1 + i) FFT(x)_k / √n.
    """

    def __init__(self, n: int, kind: str, dtype: torch.dtype, device: torch.device):
        self.n, self.path, self.half = n, kind == "path", (n + 1) // 2
        k = torch.arange(n // 2 + 1, dtype=torch.float64)
        twiddle = torch.polar(torch.full_like(k, math.sqrt(2)), -math.pi / (2 * n) * k if self.path else 0 * k + math.pi / 4)
        twiddle[0] = 1
        if n % 2 == 0:
            twiddle[-1] = 1
        self.twiddle = twiddle.to(device, dtype.to_complex())
        self.untwiddle = twiddle.reciprocal().to(device, dtype.to_complex())

    def forward(self, x: Tensor, modes: Tensor) -> None:
        v = torch.empty_like(x, memory_format=torch.contiguous_format)
        if self.path:
            v[: self.half] = x[::2]
            v[self.half :] = x[1::2].flip(0)
        else:
            v.copy_(x)
        z = torch.fft.rfft(v, dim=0, norm="ortho").mT * self.twiddle
        modes[:, : self.n // 2 + 1] = z.real
        back = z[:, 1 : self.half].imag.flip(1)
        modes[:, self.n // 2 + 1 :] = -back if self.path else back

    def inverse(self, x: Tensor, modes: Tensor) -> None:
        real = modes[:, : self.n // 2 + 1]
        imag = torch.zeros_like(real)
        imag[:, 1 : self.half] = modes[:, self.n // 2 + 1 :].flip(1)
        z = torch.complex(real, -imag if self.path else imag) * self.untwiddle
        z = torch.fft.irfft(z, n=self.n, norm="ortho")
        v = z.mT.contiguous()
        if self.path:
            x[::2] = v[: self.half]
            x[1::2] = v[self.half :].flip(0)
        else:
            x.copy_(v)


class _Dense:
    """The same basis as `_Fourier`, as a matrix."""

    def __init__(self, n: int, kind: str, dtype: torch.dtype, device: torch.device):
        basis = torch.empty(n, n, dtype=torch.float64)
        _Fourier(n, kind, torch.float64, torch.device("cpu")).forward(torch.eye(n, dtype=torch.float64), basis)
        self.basis = basis.to(device, dtype)  # [n nodes, n modes]

    def forward(self, x: Tensor, modes: Tensor) -> None:
        torch.mm(x.mT, self.basis, out=modes)

    def inverse(self, x: Tensor, modes: Tensor) -> None:
        torch.mm(self.basis, modes.mT, out=x)


class _Householder:
    """x - v (vᵀx) / (1 - s) with s = 1/√n, v = e₀ - s 1: symmetric, its own inverse, and O(n)."""

    def __init__(self, n: int):
        self.s = n**-0.5

    def forward(self, x: Tensor, modes: Tensor) -> None:
        first = self.s * x.sum(0)
        step = (x[0] - first) * (self.s / (1 - self.s) if self.s < 1 else 0.0)
        torch.add(x.mT, step.unsqueeze(1), out=modes)
        modes[:, 0] = first

    def inverse(self, x: Tensor, modes: Tensor) -> None:
        self.forward(modes.mT, x.mT)


_Axis = _Fourier | _Dense | _Householder


def _axis(n: int, kind: str, dtype: torch.dtype, device: torch.device) -> _Axis:
    if kind == "complete":
        return _Householder(n)
    return _Dense(n, kind, dtype, device) if n <= DENSE_UP_TO else _Fourier(n, kind, dtype, device)


def _blocks(x: Tensor) -> Iterator[slice]:
    """Slices of the columns of x `[n, rest]` whose temporaries stay in cache; on a GPU one slice, to launch few kernels."""
    n, rest = x.shape
    # An odd multiple of 16: with a power of two as row length, a column would sit in few sets of the cache (half the speed).
    step = _BLOCK // n // 32 * 32 + 16 if x.device.type == "cpu" else max(rest, 1)
    return (slice(start, start + step) for start in range(0, rest, step))


class _Transform(torch.autograd.Function):
    """Uᵀ, or U if `inverse`. They are orthogonal, so each is the other's derivative, to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: "GridOperator", inverse: bool) -> Tensor:
        ctx.operator, ctx.inverse = operator, inverse
        return operator._synthesis(x) if inverse else operator._analysis(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return call(_Transform, grads[0], ctx.operator, not ctx.inverse), None, None


class GridOperator(ExactOperator):
    r"""f(L) x on `num_graphs` copies of one product of paths, cycles and complete graphs, exactly.

    λ = λ¹ + ... + λᵈ and U = U¹ ⊗ ... ⊗ Uᵈ (`axis_eigenvalues` has the formulas), so f(L) x costs O(N log N), or
    O(N n) for short axes, and O(n₁ + ... + n_d) numbers are stored. Nodes and modes are both in C order, the last axis
    fastest, and mode 0 is the constant; the modes of one axis are ordered as `axis_eigenvalues` says.

    Args:
        shape: nodes along each axis, `d >= 1` numbers >= 1.
        kinds: "path" (open ends), "cycle" (periodic) or "complete", for all axes or one per axis.
        spacing: h > 0, for all axes or one per axis; an edge along the axis weighs 1/h². A cycle of 2 nodes is a double
            edge of weight 2/h², a path or cycle of 1 node has none.
        num_graphs: copies, one signal each.
        dtype: float32 or float64.
        device: where it works.

    Raises:
        ValueError: naming what is wrong with them.

    Example:
        >>> import torch
        >>> from pyg_diffusion.spectral import GridOperator, heat
        >>> GridOperator((4,), "cycle").eigenvalues.sort().values.round(decimals=5)
        tensor([[0., 2., 2., 4.]])
        >>> L = GridOperator((64, 64), "cycle", num_graphs=2)
        >>> L.apply(heat(3.0), torch.randn(2 * 64 * 64, 3)).shape
        torch.Size([8192, 3])
    """

    def __init__(
        self,
        shape: Sequence[int],
        kinds: str | Sequence[str] = "path",
        spacing: float | Sequence[float] = 1.0,
        num_graphs: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.shape = tuple(int(n) for n in shape)
        d = len(self.shape)
        self.kinds = (kinds,) * d if isinstance(kinds, str) else tuple(kinds)
        self.spacing = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),) * d
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must name at least one axis, each of at least 1 node, got {self.shape}")
        if not len(self.kinds) == len(self.spacing) == d:
            raise ValueError(f"{d} axes, but {len(self.kinds)} kinds and {len(self.spacing)} spacings")
        if not set(self.kinds) <= set(KINDS):
            raise ValueError(f"an axis is one of {', '.join(KINDS)}, got {self.kinds}")
        if not all(0 < h < math.inf for h in self.spacing):
            raise ValueError(f"spacing must be finite and > 0, got {self.spacing}")
        if num_graphs < 0:
            raise ValueError(f"num_graphs must be >= 0, got {num_graphs}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"operators are float32 or float64, got {dtype}")
        device = torch.device(device)
        self.nodes_per_graph = math.prod(self.shape)
        self.num_nodes = num_graphs * self.nodes_per_graph
        self.sizes = torch.full((num_graphs,), self.nodes_per_graph, device=device)
        axes = list(zip(self.shape, self.kinds, self.spacing, strict=True))
        self.axis_eigenvalues = [axis_eigenvalues(n, kind, h).to(device, dtype) for n, kind, h in axes]
        self._axes = [_axis(n, kind, dtype, device) for n, kind, _ in axes]

    @property
    def dtype(self) -> torch.dtype:
        return self.axis_eigenvalues[0].dtype

    @property
    def eigenvalues(self) -> Tensor:  # type: ignore[override]
        """λ, `[num_graphs, M]`, computed when asked for; the graphs share one row."""
        lam = self.axis_eigenvalues[0]
        for axis in self.axis_eigenvalues[1:]:
            lam = lam.unsqueeze(-1) + axis
        return lam.flatten().expand(self.num_graphs, -1)

    @property
    def mode_mask(self) -> Tensor:  # type: ignore[override]
        """All modes exist, `[num_graphs, M]`."""
        return self.sizes.new_ones(1, 1, dtype=torch.bool).expand(self.num_graphs, self.nodes_per_graph)

    @property
    def precomputed_bytes(self) -> int:
        """Bytes of all that is stored."""
        tensors = [self.sizes, *self.axis_eigenvalues, *(v for axis in self._axes for v in vars(axis).values())]
        return sum(v.numel() * v.element_size() for v in tensors if isinstance(v, Tensor))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Cast to float32 or float64, or move, as `Tensor.to`."""
        lam = self.axis_eigenvalues[0].to(*args, **kwargs)
        other = type(self)(self.shape, self.kinds, self.spacing, self.num_graphs, lam.dtype, lam.device)
        other.reason = self.reason
        return other

    def to_modes(self, x: Tensor) -> Tensor:
        return call(_Transform, x, self, False)

    def from_modes(self, modes: Tensor) -> Tensor:
        return call(_Transform, modes, self, True)

    def apply(self, kernel: Kernel, x: Tensor) -> Tensor:
        modes = self.to_work(x)
        if self._in_place(x) and self._multiply(kernel, modes):
            return self._synthesis(modes, overwrite=True)
        response = self._finite(kernel)
        differentiable = torch.is_grad_enabled() and (response.requires_grad or modes.requires_grad)
        if differentiable or response.size(2) > modes.size(2):
            return self.from_modes(response * modes)
        modes *= response  # in place, and from here in two buffers: fresh memory costs more than it looks, page by page
        del response
        return self._synthesis(modes, overwrite=True)

    def _multiply(self, kernel: Kernel, modes: Tensor) -> bool:
        """Multiply modes `[num_graphs, M, C]` by f(Λ) in place, so many at a time that all stays in cache; False, and
        nothing done, where gradients are asked for or f(Λ) has more channels."""
        first, rest = self.axis_eigenvalues[0], torch.zeros_like(self.axis_eigenvalues[0][:1])
        for axis in self.axis_eigenvalues[1:]:
            rest = (rest.unsqueeze(-1) + axis).flatten()
        rows = max(1, _RESPONSE // max(1, rest.numel() * self.num_graphs))
        for start in range(0, first.numel(), rows):
            lam = (first[start : start + rows, None] + rest).view(1, -1).expand(self.num_graphs, -1)
            response = with_channels(kernel(lam))
            differentiable = torch.is_grad_enabled() and (response.requires_grad or modes.requires_grad)
            if differentiable or response.size(2) > modes.size(2):
                return False
            require_finite(response, lam)
            modes[:, start * rest.numel() :][:, : lam.size(1)] *= response
        return True

    def _in_place(self, x: Tensor) -> bool:
        """Whether a signal is transformed where it lies."""
        long = any(n > DENSE_UP_TO and kind != "complete" for n, kind in zip(self.shape, self.kinds, strict=True))
        return x.device.type == "cpu" and long and host.takes(self.kinds) and not torch.compiler.is_compiling()

    def _analysis(self, x: Tensor) -> Tensor:
        """Uᵀ x: `[num_nodes, C] -> [num_graphs, M, C]`."""
        graphs, n, c = self.num_graphs, self.nodes_per_graph, x.size(1)
        if self._in_place(x):
            lying = x.contiguous().view(graphs, *self.shape, c)
            return host.turn(lying, self.kinds, inverse=False, overwrite=False).view(graphs, n, c)
        x = x.reshape(graphs, n, c).transpose(0, 1).contiguous()
        return self._turn(x, inverse=False, overwrite=False).view(graphs, c, n).mT

    def _synthesis(self, modes: Tensor, overwrite: bool = False) -> Tensor:
        """U Ŝ: `[num_graphs, M, C] -> [num_nodes, C]`."""
        graphs, n, c = modes.shape
        if self._in_place(modes):
            own = overwrite or not modes.is_contiguous()
            lying = modes.contiguous().view(graphs, *self.shape, c)
            return host.turn(lying, self.kinds, inverse=True, overwrite=own).view(self.num_nodes, c)
        x = self._turn(modes.mT.contiguous(), inverse=True, overwrite=overwrite).view(n, graphs, c)
        return x.transpose(0, 1).reshape(self.num_nodes, c)

    def _turn(self, source: Tensor, inverse: bool, overwrite: bool) -> Tensor:
        """All axes in turn, to and fro between two buffers; the source is one of them where it may be overwritten."""
        spare = None
        for axis, n in list(zip(self._axes, self.shape, strict=True))[:: -1 if inverse else 1]:
            out, rest = torch.empty_like(source) if spare is None else spare, source.numel() // n
            x, modes = (out.view(n, rest), source.view(rest, n)) if inverse else (source.view(n, rest), out.view(rest, n))
            step = axis.inverse if inverse else axis.forward
            for part in _blocks(x):
                step(x[:, part], modes[part])
            source, spare, overwrite = out, source if overwrite else None, True
        return source

    def __repr__(self) -> str:
        axes = zip(self.kinds, self.shape, self.spacing, strict=True)
        return self._describe(" x ".join(f"{kind} of {n}" + (f", h={h:g}" if h != 1 else "") for kind, n, h in axes))
