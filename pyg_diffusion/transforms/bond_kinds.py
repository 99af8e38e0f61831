"""Kinds of bonds: two elements and a class, by number for tensors and by name for files."""

from torch import Tensor

from ..data.schema import BOND_TYPES

_HEAVIEST = 256  # above every atomic number
ANY = "any"


def kinds_of(z: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
    """A number for each bond, `[E]`, the same in both directions."""
    i, j = z[edge_index[0]], z[edge_index[1]]
    return (i.minimum(j) * _HEAVIEST + i.maximum(j)) * len(BOND_TYPES) + edge_attr


def names_of(kind: int) -> tuple[str, str, str]:
    """Names of a kind, of all bonds of its class, and of all bonds.

    Example:
        >>> from pyg_diffusion.transforms.bond_kinds import kinds_of, names_of
        >>> import torch
        >>> names_of(int(kinds_of(torch.tensor([8, 6]), torch.tensor([[0], [1]]), torch.tensor([3]))))
        ('6-8 double', 'double', 'any')
    """
    elements, type_ = divmod(kind, len(BOND_TYPES))
    low, high = divmod(elements, _HEAVIEST)
    return f"{low}-{high} {BOND_TYPES[type_]}", BOND_TYPES[type_], ANY
