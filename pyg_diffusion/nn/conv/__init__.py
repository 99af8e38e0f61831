"""PyG layers that know the Laplacian; each usable alone."""

from .adjacency import csr_adjacency
from .heat_conv import HeatConv
from .laplacian_attention_conv import LaplacianAttentionConv
from .laplacian_conv import LaplacianConv

__all__ = ["HeatConv", "LaplacianAttentionConv", "LaplacianConv", "csr_adjacency"]
