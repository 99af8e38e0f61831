"""PyG transforms."""

from .bond_weights import AddBondWeights
from .laplacian_spectrum import AddLaplacianSpectrum

__all__ = ["AddBondWeights", "AddLaplacianSpectrum"]
