"""PyG transforms."""

from .bond_weights import AddBondWeights
from .laplacian_spectrum import AddLaplacianSpectrum
from .learned_weights import fit_bond_weights

__all__ = ["AddBondWeights", "AddLaplacianSpectrum", "fit_bond_weights"]
