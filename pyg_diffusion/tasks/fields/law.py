"""Fields of a law, whole or as means over blocks of nodes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from ...data.coarsen import coarsened
from ...datasets import GridFields


class BlockMeans(Dataset):
    """Means of fields over blocks of `factor` nodes along each axis: attributes as of `GridFields`.

    Raises:
        ValueError: the grid has no such blocks.
    """

    def __init__(self, whole: GridFields, factor: int):
        first = whole[0]
        self.graph, blocks = coarsened(Data(**{k: v for k, v in first if k not in ("x", "condition")}), factor)
        count, nodes, channels = whole.fields.shape
        means = blocks.means(whole.fields.transpose(0, 1).reshape(nodes, -1))
        self.fields = means.view(-1, count, channels).transpose(0, 1).contiguous()
        self.conditions, self.condition_names = whole.conditions, whole.condition_names

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, k: int) -> Data:
        data = self.graph.clone()
        data.x = self.fields[k].clone()
        if self.condition_names:
            data.condition = self.conditions[k : k + 1].clone()
        return data


def fields_of(data: Mapping[str, Any], root: str, split: str, count: int) -> "GridFields | BlockMeans":
    """Fields of the law that a recipe, a file or a card describes, of one of `GridFields`' splits.

    Args:
        data: with the shape and spacing of the grid that is coarsened.
        root: where they are kept.

    Raises:
        ValueError: no such law, or none that goes with the grid.
    """
    whole = GridFields(
        root, data["law"], data["shape"], count, data["seed"], split,
        kinds=data["kinds"], spacing=data["spacing"], **data["parameters"],
    )  # fmt: skip
    factor = data.get("coarsen", 1)
    return whole if factor == 1 else BlockMeans(whole, factor)


def drawn_fields(data: Mapping[str, Any], root: str, split: str, count: int) -> Tensor:
    """Fields `[count, N, C]` of the law that a file or a card describes, which has the shape and spacing of its own grid."""
    factor = data.get("coarsen", 1)
    whole = {"shape": [n * factor for n in data["shape"]], "spacing": _scaled(data["spacing"], 1 / factor)}
    fields: Tensor = fields_of({**data, **whole}, root, split, count).fields
    return torch.clone(fields)


def own_grid(data: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and spacing of the grid that is left of the one that a recipe describes."""
    factor = data["coarsen"]
    return {"shape": [n // factor for n in data["shape"]], "spacing": _scaled(data["spacing"], factor)}


def _scaled(spacing: Any, by: float) -> Any:
    return [h * by for h in spacing] if isinstance(spacing, list) else spacing * by
