"""f(L)x: functions of a graph Laplacian applied to graph signals. Knows torch and scipy only."""

from .dense import DenseOperator, laplacian_spectrum
from .kernels import PowerSpectrum, heat
from .operator import ExactOperator, Kernel, LaplacianOperator

__all__ = ["DenseOperator", "ExactOperator", "Kernel", "LaplacianOperator", "PowerSpectrum", "heat", "laplacian_spectrum"]
