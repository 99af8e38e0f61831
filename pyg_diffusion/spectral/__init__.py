"""f(L)x: functions of a graph Laplacian applied to graph signals. Knows torch and scipy, and ducc0 where it is installed."""

from .chebyshev import ChebyshevOperator
from .dense import DenseOperator, laplacian_spectrum
from .grid import GridOperator
from .kernels import PowerSpectrum, heat
from .lanczos import LanczosOperator
from .laplacian import Laplacian
from .lowrank import LowRankOperator
from .operator import ExactOperator, Kernel, LaplacianOperator, Term

__all__ = [
    "ChebyshevOperator",
    "DenseOperator",
    "ExactOperator",
    "GridOperator",
    "Kernel",
    "LanczosOperator",
    "Laplacian",
    "LaplacianOperator",
    "LowRankOperator",
    "PowerSpectrum",
    "Term",
    "heat",
    "laplacian_spectrum",
]
