"""The Laplacian of molecules: what a recipe says of it, weights remember, and training and sampling make."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch_geometric.data import Batch, Data

from ...data import laplacian_operator
from ...sections import validated
from ...spectral import DenseOperator, LaplacianOperator
from ...transforms import AddBondWeights
from ..backend import BackendOptions


class LaplacianOptions(BackendOptions):
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

    @model_validator(mode="after")
    def _weights_are_fitted_to_the_plain_one(self) -> Self:
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

    def operator(self, batch: Batch | Data) -> LaplacianOperator:
        """L of molecules that are `weighed`; with `dense` and a spectrum that they carry nothing is decomposed."""
        carried = self.backend == "dense" and "eigenvalues" in batch
        return laplacian_operator(batch, None if carried else self.chosen(), normalized=self.normalized)

    def dense(self, batch: Batch | Data) -> DenseOperator:
        """L with its modes, whatever the backend."""
        found = self.model_copy(update={"backend": "dense"}).operator(batch)
        assert isinstance(found, DenseOperator)
        return found
