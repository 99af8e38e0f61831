r"""y_i = Σ_j w_ij x_j over sparse edges, without a tensor of size edges × channels.

With heads h, and edges e from j(e) to i(e), the two operations

    y_i^h = Σ_{e: i(e) = i} w_e^h x_{j(e)}^h            s_e^h = ⟨a_{i(e)}^h, b_{j(e)}^h⟩

are each other's derivatives, so both have derivatives of any order, and none of them gathers neighbours into memory.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...spectral.autograd import call


def csr_index(ptr: Tensor, size: int) -> Tensor:
    """Row of each of the `size` entries of a CSR matrix."""
    rows = torch.arange(ptr.numel() - 1, device=ptr.device)
    return rows.repeat_interleave(ptr.diff(), output_size=size)


def csr_pointer(index: Tensor, num_rows: int) -> Tensor:
    """The inverse of `csr_index`: pointer `[num_rows + 1]` of sorted rows."""
    return torch._convert_indices_from_coo_to_csr(index, num_rows)


def _bags(ptr: Tensor, col: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Every (head, row) as a bag of (neighbour, head)."""
    head = torch.arange(heads, device=col.device).unsqueeze(1)
    starts = (ptr[:-1] + head * col.numel()).flatten()
    return (col * heads + head).flatten(), torch.cat([starts, starts.new_full((1,), heads * col.numel())])


def _transpose(ptr: Tensor, col: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """(order, ptr, col) of the transposed matrix; entry k of it is entry order[k] of this one."""
    order = col.argsort(stable=True)
    return order, csr_pointer(col[order], num_cols), csr_index(ptr, col.numel())[order]


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, ptr: Tensor, col: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x, ptr, col)
        heads = weight.size(1)
        index, bags = _bags(ptr, col, heads)
        table = x.reshape(x.size(0) * heads, x.size(1) // heads)
        weights = weight.t().flatten()
        y = F.embedding_bag(index, table, bags, mode="sum", per_sample_weights=weights, include_last_offset=True)
        return y.view(heads, ptr.numel() - 1, table.size(1)).transpose(0, 1).reshape(ptr.numel() - 1, x.size(1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        weight, x, ptr, col = ctx.saved_tensors
        of_weight = call(_Inner, grads[0], x, ptr, col, weight.size(1)) if ctx.needs_input_grad[0] else None
        of_x = None
        if ctx.needs_input_grad[1]:
            order, ptr, col = _transpose(ptr, col, x.size(0))
            of_x = call(_WeightedSum, weight[order], grads[0], ptr, col)
        return of_weight, of_x, None, None


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, ptr: Tensor, col: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(a, b, ptr, col)
        index, bags = _bags(ptr, col, heads)
        row = csr_index(ptr, col.numel())
        head = torch.arange(heads, device=col.device).unsqueeze(1)
        left = a.view(a.size(0), heads, -1).transpose(0, 1).reshape(heads * a.size(0), -1)
        right = b.reshape(b.size(0) * heads, -1)
        owner = (row + head * a.size(0)).flatten()
        s = torch.ops.aten._embedding_bag_per_sample_weights_backward(left, right, index, bags[:-1], owner, 0)
        by_edge: Tensor = s.view(heads, -1).t()
        return by_edge

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        a, b, ptr, col = ctx.saved_tensors
        of_a = call(_WeightedSum, grads[0], b, ptr, col) if ctx.needs_input_grad[0] else None
        of_b = None
        if ctx.needs_input_grad[1]:
            order, ptr, col = _transpose(ptr, col, b.size(0))
            of_b = call(_WeightedSum, grads[0][order], a, ptr, col)
        return of_a, of_b, None, None, None


def weighted_sum(weight: Tensor, x: Tensor, ptr: Tensor, col: Tensor) -> Tensor:
    """y_i^h = Σ_e w_e^h x_{j(e)}^h over the CSR rows i.

    Args:
        weight: `[E, H]`; x: `[N, H·D]`, head after head; ptr: `[M + 1]`; col: `[E]`, j(e).

    Returns:
        `[M, H·D]`.
    """
    if not col.numel() or not x.size(1):
        return x.new_zeros(ptr.numel() - 1, x.size(1)) + 0 * (weight.sum() + x.sum())  # with a gradient, of 0
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return call(_WeightedSum, weight.to(dtype), x.to(dtype), ptr, col).to(x.dtype)
