"""PyG layers that know the Laplacian; each usable alone."""

from .adjacency import csr_adjacency
from .edge_gradient import EdgeGradient
from .gated_conv import GatedConv
from .heat_conv import HeatConv
from .laplacian_attention_conv import LaplacianAttentionConv
from .laplacian_conv import LaplacianConv
from .vector_conv import VectorConv

__all__ = [
    "EdgeGradient",
    "GatedConv",
    "HeatConv",
    "LaplacianAttentionConv",
    "LaplacianConv",
    "VectorConv",
    "csr_adjacency",
]
