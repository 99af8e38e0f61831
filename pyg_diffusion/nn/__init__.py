"""Networks and layers. They see torch, PyG and `spectral`; they know no process."""

from .atom_net import AtomNet
from .base import NetworkBase
from .conditions import Conditions, without_condition
from .conformer_net import ConformerNet
from .conv import GatedConv, HeatConv, LaplacianAttentionConv, LaplacianConv, VectorConv, csr_adjacency
from .encodings import heat_diagonal, heat_edges
from .energy_net import EnergyNet
from .eps_net import AtomEpsNet, EpsNet
from .feature_net import AtomFeatureNet, FeatureNet
from .graph_net import GraphNet
from .hydrogen_net import HydrogenNet
from .matrix_net import MatrixMLP, MatrixNet
from .mlp import MLPNet
from .norm import TimeNorm
from .registry import NETWORKS, NetworkKind
from .score_net import AtomScoreNet, ScoreNet

__all__ = [
    "NETWORKS",
    "AtomEpsNet",
    "AtomFeatureNet",
    "AtomNet",
    "AtomScoreNet",
    "Conditions",
    "ConformerNet",
    "EnergyNet",
    "EpsNet",
    "FeatureNet",
    "GatedConv",
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
    "VectorConv",
    "csr_adjacency",
    "heat_diagonal",
    "heat_edges",
    "without_condition",
]
