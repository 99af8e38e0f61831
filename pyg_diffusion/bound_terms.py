"""The package's own regularizers, bound to a batch: `regularize` with all but the signal given."""

import math
from functools import partial

import torch
from torch import Tensor
from torch_geometric.data import Data

from . import regularize
from .data.schema import ATOM_FEATURES, HYBRIDIZATIONS
from .regularize import Penalty
from .spectral import LaplacianOperator
from .terms import regularizer
from .transforms.bond_weights import bond_lengths

BOND_TOLERANCE = 0.03  # Å, the mean error of the lengths from radii
ANGLE_TOLERANCE = 0.2  # Å

_HYBRIDIZATION = list(ATOM_FEATURES).index("hybridization")


@regularizer()
def smoothness(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """‖L x‖²."""
    return partial(regularize.smoothness, operator)


@regularizer()
def neighbour_alignment(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """Σ_{edges ij} w_ij (1 - cos ∠(x_i, x_j))."""
    return partial(regularize.neighbour_alignment, operator)


def _lengths(data: Data) -> Tensor:
    return bond_lengths(data.z, data.edge_index, data.edge_attr)


@regularizer("z")
def bonds(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """Half the squared excess in Å² of every bond over its length."""
    bounds = regularize.bond_bounds(data.edge_index, _lengths(data), BOND_TOLERANCE)
    return partial(regularize.violation, operator, bounds=bounds)


@regularizer("z")
def angles(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """The same of every pair with a common neighbour."""
    ideal = torch.tensor(regularize.HYBRIDIZATION_ANGLES, device=data.x.device)
    at_atom = ideal[data.x[:, _HYBRIDIZATION].clamp_max(len(HYBRIDIZATIONS))]
    bounds = regularize.angle_bounds(data.edge_index, _lengths(data), at_atom, ANGLE_TOLERANCE)
    return partial(regularize.violation, operator, bounds=bounds)


@regularizer("z")
def clashes(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """The same of every pair farther apart in the graph, within the van der Waals distance."""
    table = torch.full((int(data.z.max()) + 1 if data.z.numel() else 1,), torch.nan, device=data.z.device)
    for z, radius in regularize.VDW_RADII.items():
        if z < len(table):
            table[z] = radius
    bounds = regularize.clash_bounds(data.edge_index, operator.sizes, table[data.z])
    return partial(regularize.violation, operator, bounds=bounds)


@regularizer("target")
def energy(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """½‖x - S_0‖²."""
    assert target is not None
    return partial(regularize.energy, operator, target=target)


@regularizer("target")
def alignment(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """Σ_i (1 - cos ∠(x_i, S_0,i))."""
    assert target is not None
    return partial(regularize.direction_alignment, operator, directions=target)


@regularizer("target")
def reference(operator: LaplacianOperator, data: Data, target: Tensor | None) -> Penalty:
    """½‖M^½(x - S*)‖², of molecules in Da Å²: S* is `data.reference [num_nodes, C]`, a template that of molecules is
    superposed first, or S_0 where there is none; M is `data.node_weight [num_nodes]`, or the atoms' masses, or 1."""
    assert target is not None
    weights, atoms = data.get("node_weight"), data.get("z")
    if weights is None and atoms is not None:
        masses = torch.tensor((math.nan, *regularize.MASSES), device=atoms.device)
        weights = masses[atoms.clamp(1, len(regularize.MASSES))]
    template = data.get("reference")
    turned = atoms is not None and template is not None  # S_0 stands as x does
    wanted = target if template is None else template
    return partial(regularize.reference_energy, operator, reference=wanted, weights=weights, turned=turned)
