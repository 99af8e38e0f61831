"""PyG transforms."""

from .laplacian_spectrum import AddLaplacianSpectrum

__all__ = ["AddLaplacianSpectrum"]
