"""f(L)x: functions of a graph Laplacian applied to graph signals. Knows torch and scipy only."""

from .chebyshev import ChebyshevOperator
from .dense import DenseOperator, laplacian_spectrum
from .kernels import PowerSpectrum, heat
from .lanczos import LanczosOperator
from .laplacian import Laplacian
from .operator import ExactOperator, Kernel, LaplacianOperator, Term

__all__ = [
    "ChebyshevOperator",
    "DenseOperator",
    "ExactOperator",
    "Kernel",
    "LanczosOperator",
    "Laplacian",
    "LaplacianOperator",
    "PowerSpectrum",
    "Term",
    "heat",
    "laplacian_spectrum",
]
