"""The Laplacian of molecules: what a recipe says of it, weights remember, and training and sampling make."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from torch_geometric.data import Batch, Data

from ...data import laplacian_operator
from ...data.operator import Backend
from ...sections import Section, validated
from ...spectral import ChebyshevOperator, DenseOperator, LaplacianOperator, LowRankOperator
from ...transforms import AddBondWeights, AddLaplacianSpectrum

TOLERANCE = 1e-3  # p(λ) is piecewise: below this a polynomial pays for its kinks


class LaplacianOptions(Section):
    """Which Laplacian, and how functions of it are computed."""

    weight: Literal["unit", "order", "length", "learned"] = "unit"
    """of a bond in L: unit; its order; length, 3/b² with b from covalent radii, for which gamma = 1 is calibrated
    (`transforms.AddBondWeights`); learned, of each kind of bond, fitted to the training conformers before training begins
    and kept in the weights' card (`transforms.fit_bond_weights`)"""
    normalized: bool = False
    """I - D^(-1/2) W D^(-1/2) in the place of D - W. A translation is no mode of it, so conformers are shown about their
    centre, and weights trained so keep no atoms in place"""
    backend: Literal["dense", "chebyshev", "lowrank"] = "dense"
    """dense, exact, and what networks that read heat kernels need; chebyshev, polynomials in L, for molecules of any size;
    lowrank, the lowest modes and a constant for the others"""
    modes: Annotated[int, Field(ge=0)] = 0
    """of lowrank: how many"""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """of chebyshev: error relative to the largest value of a function; 0: 1e-3"""
    spectra: Literal["computed", "cached"] = "computed"
    """of dense: computed for every batch, or cached, computed once for every molecule and kept in memory, 4 N² bytes each in
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
        if self.weight == "learned" and self.normalized:
            raise ValueError("weight: learned weights are fitted to D - W; set normalized to false, or take another weight")
        return self


class MoleculeLaplacian(LaplacianOptions):
    """L of molecules, in batches.

    Raises:
        ValueError: `of` options that are none, or that do not go together.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.tasks.molecules.laplacian import MoleculeLaplacian
        >>> data = molecule_from_mol(Chem.MolFromSmiles("C=CC")).data(conformer=None)
        >>> L = MoleculeLaplacian.of({"weight": "order"})
        >>> L.operator(L.weighed(data)).eigenvalues.round(decimals=4)
        tensor([[0.0000, 1.2679, 4.7321]])
    """

    bonds: dict[str, float] = Field(default={})
    """learned weights by kind of bond"""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.weight != "learned" and self.bonds:
            raise ValueError("bonds: only learned weights have any")
        return self

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From the `data` section of a recipe, or a card's; what is not said is as it was before 0.7."""
        return validated(cls, {name: data[name] for name in cls.model_fields if name in data}, "data")

    def facts(self) -> dict[str, Any]:
        """What a card says of it."""
        always = {"weight": self.weight, "normalized": self.normalized, "backend": self.backend}
        return always | self.model_dump(exclude_defaults=True)

    def weighed(self, data: Data) -> Data:
        """The data with the weights of its bonds.

        Raises:
            NoBondWeight: one has none.
        """
        if self.weight == "unit":
            return data
        weighed: Data = AddBondWeights(self.weight, self.bonds or None)(data)
        return weighed

    def spectrum(self, data: Data) -> tuple[Tensor, Tensor]:
        """Eigenvalues `[N]` and eigenvectors `[N²]` of one molecule, weighed, for it to carry."""
        found = AddLaplacianSpectrum(normalized=self.normalized)(data)
        return found["eigenvalues"], found["eigenvectors"]

    def operator(self, batch: Batch | Data) -> LaplacianOperator:
        """L of molecules that are `weighed`; with `dense` and a spectrum that they carry nothing is decomposed."""
        carried = self.backend == "dense" and "eigenvalues" in batch
        return laplacian_operator(batch, None if carried else self._backend(), normalized=self.normalized)

    def dense(self, batch: Batch | Data) -> DenseOperator:
        """L with its modes, whatever the backend."""
        found = self.model_copy(update={"backend": "dense"}).operator(batch)
        assert isinstance(found, DenseOperator)
        return found

    def _backend(self) -> Backend:
        if self.backend == "chebyshev":  # to the end, since it is the start of sampling that takes the most
            return partial(ChebyshevOperator, tol=self.tolerance or TOLERANCE, max_degree=8192)
        if self.backend == "lowrank":
            return partial(LowRankOperator.from_laplacian, k=self.modes)
        return DenseOperator.from_laplacian
