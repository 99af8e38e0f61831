"""Diffusion models on graphs, driven by functions of the graph Laplacian.

The names below load on first use, so that training from a prepared store needs neither RDKit nor the samplers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .deprecated import moved

if TYPE_CHECKING:
    from .data import MoleculeData, MoleculeStore, grid_graph, laplacian_operator
    from .datasets import GridFields, MatrixInverse, SDFDataset
    from .denoise import Denoiser
    from .nn import ConformerNet, EpsNet, GraphNet, HeatConv, LaplacianAttentionConv, LaplacianConv, ScoreNet
    from .sde import LinearSDE
    from .spectral import ChebyshevOperator, DenseOperator, GridOperator, LanczosOperator, LowRankOperator
    from .tasks.fields.generator import FieldGenerator
    from .tasks.matrices.generator import MatrixInverter
    from .tasks.molecules.embed import embed_multiple_confs
    from .tasks.molecules.generator import ConformerGenerator
    from .transforms import AddBondWeights, AddLaplacianSpectrum
    from .viewer.notebook import view

__version__ = "0.7.0"

_HOMES = {
    "AddBondWeights": "transforms",
    "AddLaplacianSpectrum": "transforms",
    "ChebyshevOperator": "spectral",
    "ConformerGenerator": "tasks.molecules.generator",
    "ConformerNet": "nn",
    "DenseOperator": "spectral",
    "Denoiser": "denoise",
    "EpsNet": "nn",
    "FieldGenerator": "tasks.fields.generator",
    "GraphNet": "nn",
    "GridFields": "datasets",
    "GridOperator": "spectral",
    "HeatConv": "nn",
    "LanczosOperator": "spectral",
    "LaplacianAttentionConv": "nn",
    "LaplacianConv": "nn",
    "LinearSDE": "sde",
    "LowRankOperator": "spectral",
    "MatrixInverse": "datasets",
    "MatrixInverter": "tasks.matrices.generator",
    "MoleculeData": "data",
    "MoleculeStore": "data",
    "SDFDataset": "datasets",
    "ScoreNet": "nn",
    "embed_multiple_confs": "tasks.molecules.embed",
    "grid_graph": "data",
    "laplacian_operator": "data",
    "view": "viewer.notebook",
}
__all__ = [
    "AddBondWeights",
    "AddLaplacianSpectrum",
    "ChebyshevOperator",
    "ConformerGenerator",
    "ConformerNet",
    "Denoiser",
    "DenseOperator",
    "EpsNet",
    "FieldGenerator",
    "GraphNet",
    "GridFields",
    "GridOperator",
    "HeatConv",
    "LanczosOperator",
    "LaplacianAttentionConv",
    "LaplacianConv",
    "LinearSDE",
    "LowRankOperator",
    "MatrixInverse",
    "MatrixInverter",
    "MoleculeData",
    "MoleculeStore",
    "SDFDataset",
    "ScoreNet",
    "__version__",
    "embed_multiple_confs",
    "grid_graph",
    "laplacian_operator",
    "view",
]


_moved = moved(__name__, {"Generator": "tasks.molecules.generator:ConformerGenerator"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return _moved(name)


def __dir__() -> list[str]:
    return sorted(__all__)
