"""PyG layers that know the Laplacian; each usable alone."""

from .adjacency import csr_adjacency
from .edge_gradient import EdgeGradient
from .heat_conv import HeatConv
from .laplacian_attention_conv import LaplacianAttentionConv
from .laplacian_conv import LaplacianConv

__all__ = ["EdgeGradient", "HeatConv", "LaplacianAttentionConv", "LaplacianConv", "csr_adjacency"]
