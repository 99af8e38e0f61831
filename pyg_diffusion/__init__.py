"""Diffusion models on graphs, driven by functions of the graph Laplacian.

The names below load on first use, so that training from a prepared store needs neither RDKit nor the samplers.
"""

from importlib import import_module
from typing import Any

from .deprecated import moved

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
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


_moved = moved(__name__, {"Generator": "tasks.molecules.generator:ConformerGenerator"})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return _moved(name)


def __dir__() -> list[str]:
    return sorted(__all__)
