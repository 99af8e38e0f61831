"""Regularizers by name, bound to a batch: what a recipe and the command line ask for."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch_geometric.data import Data

from . import regularize
from .data.schema import ATOM_FEATURES, HYBRIDIZATIONS
from .spectral import LaplacianOperator
from .transforms.bond_weights import bond_lengths

GRAPH_TERMS = ("smoothness", "neighbour_alignment")
MOLECULE_TERMS = ("bonds", "angles", "clashes")
TARGET_TERMS = ("energy", "alignment")  # these need S_0 itself, so training alone has them

Term = Callable[[Tensor], Tensor]

_HYBRIDIZATION = list(ATOM_FEATURES).index("hybridization")


def _molecule_terms(names: list[str], operator: LaplacianOperator, data: Data) -> dict[str, Term]:
    lengths = bond_lengths(data.z, data.edge_index, data.edge_attr)
    bounds = {}
    if "bonds" in names:
        bounds["bonds"] = regularize.bond_bounds(data.edge_index, lengths, 0.03)  # the mean error of the lengths
    if "angles" in names:
        ideal = torch.tensor(regularize.HYBRIDIZATION_ANGLES, device=data.x.device)
        angles = ideal[data.x[:, _HYBRIDIZATION].clamp_max(len(HYBRIDIZATIONS))]
        bounds["angles"] = regularize.angle_bounds(data.edge_index, lengths, angles, 0.2)
    if "clashes" in names:
        table = torch.full((int(data.z.max()) + 1 if data.z.numel() else 1,), torch.nan, device=data.z.device)
        for z, radius in regularize.VDW_RADII.items():
            if z < len(table):
                table[z] = radius
        bounds["clashes"] = regularize.clash_bounds(data.edge_index, operator.sizes, table[data.z])
    return {name: partial(regularize.violation, operator, bounds=bound) for name, bound in bounds.items()}


def bind(weights: Mapping[str, float], operator: LaplacianOperator, data: Data, target: Tensor | None = None) -> Term:
    """Σ weight · term as one function of a signal, `[num_nodes, C] -> [num_graphs]`.

    Args:
        weights: of "smoothness", "neighbour_alignment"; for molecules "bonds", "angles", "clashes", half the squared
            excess in Å² of every pair; with a target also "energy", ½‖x - S_0‖², and "alignment" with its directions.
        data: the batch; molecules need z, x, edge_index and edge_attr of `MoleculeData`.
        target: S_0.

    Raises:
        ValueError: a term that there is not, or not for such data.
    """
    known = (*GRAPH_TERMS, *(MOLECULE_TERMS if "z" in data else ()), *(() if target is None else TARGET_TERMS))
    unknown = sorted(set(weights) - set(known))
    if unknown:
        raise ValueError(f"no term {unknown[0]!r} for this data; there are {', '.join(known)}")
    terms: dict[str, Term] = {
        "smoothness": partial(regularize.smoothness, operator),
        "neighbour_alignment": partial(regularize.neighbour_alignment, operator),
    }
    if target is not None:
        terms["energy"] = partial(regularize.energy, operator, target=target)
        terms["alignment"] = partial(regularize.direction_alignment, operator, directions=target)
    molecule = [name for name in weights if name in MOLECULE_TERMS]
    if molecule:
        terms |= _molecule_terms(molecule, operator, data)
    return regularize.combine(*((weight, terms[name]) for name, weight in weights.items()))
