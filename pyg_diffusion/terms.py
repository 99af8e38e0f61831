"""Regularizers by name, bound to a batch: what a recipe and the command line ask for.

One is a function and a line in `TERMS`. Another package brings one through the entry point group
`pyg_diffusion.regularizers`, a program through `TERMS.add`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .registry import Registry

if TYPE_CHECKING:  # the command line lists the names, and must not wait for torch to do so
    from torch import Tensor
    from torch_geometric.data import Data

    from .regularize import Penalty
    from .spectral import LaplacianOperator

    Binding: TypeAlias = Callable[[LaplacianOperator, Data, Tensor | None], Penalty]

TARGET = "target"


@dataclass(frozen=True)
class Regularizer:
    """A penalty on signals that is told of a batch what it needs.

    Attributes:
        bind: called with L, the batch and S_0, gives a function of a signal, `[num_nodes, C] -> [num_graphs]`.
        needs: attributes that the data must have, such as "z"; "target" for S_0, which only training knows.
    """

    bind: Binding
    needs: tuple[str, ...] = ()


def regularizer(*needs: str) -> Callable[[Binding], Regularizer]:
    """A decorator that makes a function a `Regularizer`.

    Example:
        >>> from pyg_diffusion.terms import TERMS, bind, regularizer
        >>> @regularizer()
        ... def size(operator, data, target):
        ...     return lambda x: operator.graph_sum(x.square()).sum(1)
        >>> TERMS.add("size", size)
        >>> import torch
        >>> from pyg_diffusion.data import grid_graph, laplacian_operator
        >>> data = grid_graph((2, 2))
        >>> bind({"size": 0.5}, laplacian_operator(data), data)(torch.ones(4, 3))
        tensor([6.])
        >>> TERMS.remove("size")
    """
    return lambda binding: Regularizer(binding, needs)


_OWN = "pyg_diffusion.bound_terms"
TERMS: Registry[Regularizer] = Registry(
    "regularizers",
    {
        "smoothness": f"{_OWN}:smoothness",
        "neighbour_alignment": f"{_OWN}:neighbour_alignment",
        "bonds": f"{_OWN}:bonds",
        "angles": f"{_OWN}:angles",
        "clashes": f"{_OWN}:clashes",
        "energy": f"{_OWN}:energy",
        "alignment": f"{_OWN}:alignment",
        "reference": f"{_OWN}:reference",
    },
)


def terms_of(*has: str) -> tuple[str, ...]:
    """Names of the terms that need nothing but these attributes of data, and "target" where S_0 is known.

    Example:
        >>> from pyg_diffusion.terms import terms_of
        >>> terms_of()
        ('smoothness', 'neighbour_alignment')
        >>> terms_of("z", "edge_attr")
        ('smoothness', 'neighbour_alignment', 'bonds', 'angles', 'clashes')
    """
    return tuple(name for name, term in TERMS.items() if set(term.needs) <= set(has))


def bind(weights: Mapping[str, float], operator: LaplacianOperator, data: Data, target: Tensor | None = None) -> Penalty:
    """Σ weight · term as one function of a signal, `[num_nodes, C] -> [num_graphs]`; arguments as of `bind_each`."""
    from .regularize import combine

    return combine(*((1.0, term) for term in bind_each(weights, operator, data, target).values()))


def bind_each(
    weights: Mapping[str, float], operator: LaplacianOperator, data: Data, target: Tensor | None = None
) -> dict[str, Penalty]:
    """Each weight · term by name, a function of a signal, `[num_nodes, C] -> [num_graphs]`.

    Args:
        weights: of terms by name. The package's own are "smoothness", "neighbour_alignment"; for molecules "bonds",
            "angles", "clashes", half the squared excess in Å² of every pair; with a target also "energy", ½‖x - S_0‖²,
            "alignment" with its directions, and "reference", ½‖M^½(x - S*)‖² with masses, of a reference.
        data: the batch; molecules need z, x, edge_index and edge_attr of `MoleculeData`.
        target: S_0.

    Raises:
        ValueError: a term that there is not, or not for such data.
    """
    from .regularize import combine

    known = terms_of(*data.keys(), *(() if target is None else (TARGET,)))
    unknown = sorted(set(weights) - set(known))
    if unknown:
        raise ValueError(f"no term {unknown[0]!r} for this data; there are {', '.join(known)}")
    return {name: combine((weight, TERMS[name].bind(operator, data, target))) for name, weight in weights.items()}
