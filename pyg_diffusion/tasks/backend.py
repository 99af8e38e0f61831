"""How functions of L are computed: what recipes say of it, whatever the task."""

from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from torch_geometric.data import Data

from ..data.operator import Backend
from ..sections import Section
from ..spectral import ChebyshevOperator, DenseOperator, LowRankOperator
from ..transforms import AddLaplacianSpectrum

TOLERANCE = 1e-3  # p(λ) is piecewise: below this a polynomial pays for its kinks
MOST = 8192  # degrees of a polynomial


class BackendOptions(Section):
    """How functions of the Laplacian are computed. A task names the backends that it takes."""

    normalized: bool = False
    """I - D^(-1/2) W D^(-1/2) in the place of D - W"""
    backend: Literal["auto", "dense", "chebyshev", "lowrank"] = "dense"
    """dense, exact, and what networks that read heat kernels need; chebyshev, polynomials in L, for graphs of any size;
    lowrank, the lowest modes and a constant for the others"""
    modes: Annotated[int, Field(ge=0)] = 0
    """of lowrank: how many"""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """of chebyshev: error relative to the largest value of a function; 0: 1e-3"""
    spectra: Literal["computed", "cached"] = "computed"
    """of dense: computed for every batch, or cached, computed once for every graph and kept in memory, 4 N² bytes each in
    every process (`transforms.AddLaplacianSpectrum`)"""

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        for name, value, backend in (
            ("modes", self.modes, "lowrank"),
            ("tolerance", self.tolerance, "chebyshev"),
            ("spectra", self.spectra == "cached", "dense"),
        ):
            if value and self.backend != backend:
                raise ValueError(
                    f"{name}: {getattr(self, name)} is for backend {backend} and has no effect on {self.backend}"
                )
        if self.backend == "lowrank" and not self.modes:
            raise ValueError("modes: backend lowrank needs to know how many modes it keeps")
        return self

    def spectrum(self, data: Data) -> tuple[Tensor, Tensor]:
        """Eigenvalues `[N]` and eigenvectors `[N²]` of one graph, for it to carry."""
        found = AddLaplacianSpectrum(normalized=self.normalized)(data)
        return found["eigenvalues"], found["eigenvectors"]

    def chosen(self) -> Backend | None:
        """The backend for `data.laplacian_operator`; None where that is to choose."""
        if self.backend == "auto":
            return None
        if self.backend == "chebyshev":  # to the end, since it is the start of sampling that takes the most
            return partial(ChebyshevOperator, tol=self.tolerance or TOLERANCE, max_degree=MOST)
        if self.backend == "lowrank":
            return partial(LowRankOperator.from_laplacian, k=self.modes)
        return DenseOperator.from_laplacian
