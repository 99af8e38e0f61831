"""AddBondWeights: edge weights of a molecule from its bonds."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from ..data.schema import BOND_ORDERS, BOND_TYPES, COVALENT_RADII
from .bond_kinds import kinds_of, names_of

# Share of the single, double and triple bond's length. A conjugated bond lies a quarter of the way from single to double, an
# aromatic one half way: of the simple fractions these have the least error on real geometries (see the tests).
_LENGTH_SHARES = {
    "single": (1.0, 0.0, 0.0),
    "conjugated": (0.75, 0.25, 0.0),
    "double": (0.0, 1.0, 0.0),
    "triple": (0.0, 0.0, 1.0),
    "aromatic": (0.5, 0.5, 0.0),
}
_NAN = float("nan")
_ORDERS = torch.tensor([BOND_ORDERS.get(name, _NAN) for name in BOND_TYPES])
_SHARES = torch.tensor([_LENGTH_SHARES.get(name, (_NAN,) * 3) for name in BOND_TYPES], dtype=torch.float64)
_RADII = torch.full((max(COVALENT_RADII) + 2, 3), _NAN, dtype=torch.float64)  # the last row: heavier than the table
for _z, _radii in COVALENT_RADII.items():
    _RADII[_z, : len(_radii)] = torch.tensor(_radii, dtype=torch.float64)


def bond_lengths(z: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
    """Length of each bond in Å from additive covalent radii, `[E]` float64; NaN where the tables have none."""
    radii = _RADII.to(z.device)[z.clamp(0, len(_RADII) - 1)]
    shares = _SHARES.to(z.device)[edge_attr]
    parts = shares * (radii[edge_index[0]] + radii[edge_index[1]])
    return torch.where(shares == 0, 0.0, parts).sum(1)


class NoBondWeight(ValueError):
    """A bond that has no weight of the kind that was asked for."""


@functional_transform("add_bond_weights")
class AddBondWeights(BaseTransform):
    r"""Writes `edge_weight [E]`, from which `laplacian_operator` and `AddLaplacianSpectrum` build L.

    - "order": w = 1, 2, 3, or 1.5 for an aromatic bond. A conjugated bond is a single one beside π bonds and has order 1.
    - "length": w = 3/b² in Å⁻², b the bond length from additive covalent radii (see `schema.COVALENT_RADII`), so that
      γ = 1 is calibrated: under N(0, L⁺) a bond of a tree has the RMS length b,

          E|S_i - S_j|² = 3 (L⁺_ii + L⁺_jj - 2 L⁺_ij) = 3/w = b²,

      and one in a ring a shorter one. On DFT geometries of organic molecules b errs by 0.03 Å on average, and by 0.07 to
      0.16 Å where N, O, S and P (and F) bind each other: N-O beside π bonds, O-O, P-O, S=O.
    - "learned": w of the bond's kind, its two elements and its class, from `weights`, as `fit_bond_weights` makes them; of a
      kind that is not there the weight of all bonds of the class, or of all bonds.

    Args:
        kind: "order", "length" or "learned".
        weights: of "learned" alone.

    Needs `edge_attr [E]`, the classes of `schema.BOND_TYPES`; for "length" and "learned" also `z [N]`, the atomic numbers.

    Raises:
        NoBondWeight: naming the bond and its atoms, where it is of class "other" or of an element without a radius. No
            weight is made up for it.
        ValueError: another kind; weights that are missing, not wanted, or not finite and > 0; no classes in `edge_attr`.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.transforms import AddBondWeights
        >>> data = molecule_from_mol(Chem.MolFromSmiles("C=CC")).data(conformer=None)
        >>> AddBondWeights("order")(data).edge_weight
        tensor([2., 1., 2., 1.])
    """

    def __init__(self, kind: Literal["order", "length", "learned"] = "order", weights: Mapping[str, float] | None = None):
        if kind not in ("order", "length", "learned"):
            raise ValueError(f"kind must be 'order', 'length' or 'learned', got {kind!r}")
        if (kind == "learned") != bool(weights):
            raise ValueError("weights go with kind 'learned', which needs them; fit_bond_weights makes some")
        if wrong := [name for name, value in (weights or {}).items() if not 0 < value < float("inf")]:
            raise ValueError(f"weights must be finite and > 0, and {wrong[0]!r} is not")
        self.kind, self.weights = kind, dict(weights or {})

    def forward(self, data: Data) -> Data:
        edge_index, edge_attr = data["edge_index"], data["edge_attr"]
        known = len(BOND_TYPES)
        if (
            edge_attr.shape != edge_index.shape[1:]
            or edge_attr.is_floating_point()
            or bool(((edge_attr < 0) | (edge_attr >= known)).any())
        ):
            raise ValueError(
                f"edge_attr must be [{edge_index.size(1)}] integers in 0..{known - 1}, classes of schema.BOND_TYPES; "
                f"got {edge_attr.dtype} {list(edge_attr.shape)}"
            )
        if self.kind == "order":
            weight = _ORDERS.to(edge_attr.device)[edge_attr]
        elif self.kind == "length":
            weight = 3 / bond_lengths(data["z"], edge_index, edge_attr).square()
        else:
            weight = self._looked_up(data["z"], edge_index, edge_attr)
        unknown = weight.isnan().nonzero()
        if unknown.numel():
            k = int(unknown[0])
            i, j = edge_index[:, k].tolist()
            elements = f" between atomic numbers {int(data.z[i])} and {int(data.z[j])}" if "z" in data else ""
            where = "the learned weights" if self.kind == "learned" else "schema's tables"
            raise NoBondWeight(
                f"bond {i}-{j} of type {BOND_TYPES[int(edge_attr[k])]!r}{elements} has no {self.kind} in {where}; "
                "leave the molecule out, or set edge_weight yourself"
            )
        data.edge_weight = weight.float()
        return data

    def _looked_up(self, z: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Learned weights `[E]` float64, NaN where there is none."""
        kinds, place = kinds_of(z, edge_index, edge_attr).unique(return_inverse=True)
        found = [
            next((self.weights[name] for name in names_of(kind) if name in self.weights), _NAN) for kind in kinds.tolist()
        ]
        return torch.tensor(found, dtype=torch.float64, device=z.device)[place]

    def __repr__(self) -> str:
        weights = f", weights={self.weights}" if self.weights else ""
        return f"{type(self).__name__}(kind={self.kind!r}{weights})"
