"""Attention, on every CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Whether PyTorch's kernels for the CPU use AVX-512, which the CPU may have and ATEN_CPU_CAPABILITY forbid.
WIDE_KERNELS = torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ/√d + mask) v: `[B, H, N, d]`, the mask broadcast to `[B, H, N, N]`.

    In bf16 on a CPU that is done in float32 unless the kernels use AVX-512: others only emulate bf16, and where the CPU has
    AMX though its kernels may not use AVX-512 PyTorch refuses 64 nodes and more ("pack_vnni2 is only supported when avx512
    is supported", 2.13).
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not WIDE_KERNELS:
        with torch.autocast("cpu", enabled=False):
            mask = None if mask is None else mask.float()
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
