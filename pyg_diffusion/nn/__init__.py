"""Networks and layers. They see torch, PyG and `spectral`; they know no process."""

from .base import NetworkBase
from .conditions import Conditions, without_condition
from .conformer_net import ConformerNet
from .conv import HeatConv, LaplacianAttentionConv, LaplacianConv, csr_adjacency
from .encodings import heat_diagonal, heat_edges
from .energy_net import EnergyNet
from .eps_net import EpsNet
from .graph_net import GraphNet
from .hydrogen_net import HydrogenNet
from .matrix_net import MatrixMLP, MatrixNet
from .mlp import MLPNet
from .norm import TimeNorm
from .registry import NETWORKS, NetworkKind
from .score_net import ScoreNet

__all__ = [
    "NETWORKS",
    "Conditions",
    "ConformerNet",
    "EnergyNet",
    "EpsNet",
    "GraphNet",
    "HeatConv",
    "HydrogenNet",
    "LaplacianAttentionConv",
    "LaplacianConv",
    "MLPNet",
    "MatrixMLP",
    "MatrixNet",
    "NetworkBase",
    "NetworkKind",
    "ScoreNet",
    "TimeNorm",
    "csr_adjacency",
    "heat_diagonal",
    "heat_edges",
    "without_condition",
]
