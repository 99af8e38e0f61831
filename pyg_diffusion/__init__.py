"""Diffusion models on graphs, driven by functions of the graph Laplacian.

The names below load on first use, so that training from a prepared store needs neither RDKit nor the samplers.
"""

from importlib import import_module
from typing import Any

__version__ = "0.6.0"

_HOMES = {
    "AddBondWeights": "transforms",
    "AddLaplacianSpectrum": "transforms",
    "ChebyshevOperator": "spectral",
    "ConformerNet": "nn",
    "DenseOperator": "spectral",
    "Denoiser": "denoise",
    "EpsNet": "nn",
    "FieldGenerator": "generate_fields",
    "Generator": "generate",
    "GraphNet": "nn",
    "GridFields": "datasets",
    "GridOperator": "spectral",
    "LanczosOperator": "spectral",
    "LaplacianAttentionConv": "nn",
    "LaplacianConv": "nn",
    "LinearSDE": "sde",
    "LowRankOperator": "spectral",
    "MatrixInverse": "datasets",
    "MatrixInverter": "generate_matrices",
    "MoleculeData": "data",
    "MoleculeStore": "data",
    "SDFDataset": "datasets",
    "ScoreNet": "nn",
    "embed_multiple_confs": "generate",
    "grid_graph": "data",
    "laplacian_operator": "data",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
