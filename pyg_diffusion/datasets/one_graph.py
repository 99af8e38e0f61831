"""OneGraphDataset: signals that are drawn, not downloaded, on one graph that all items share."""

import copy
import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset
from torch_geometric.data.collate import collate
from torch_geometric.data.dataset import _repr
from torch_geometric.data.separate import separate


class OneGraphDataset(Dataset):
    """Base of data sets that keep their signals as a few stacked tensors, and the graph once.

    Args:
        root: folder; what is drawn is kept in `root/processed/NAME-HASH`, the hash of all that it depends on.
        graph: shared by all items; they must not change it in place.
        name: for the folder.
        key: JSON-able, all that the signals depend on.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        graph: Data,
        name: str,
        key: Any,
        transform: Callable[[Data], Any] | None,
        pre_transform: Callable[[Data], Data] | None,
        pre_filter: Callable[[Data], bool] | None,
        force_reload: bool,
    ):
        self._graph = graph
        text = json.dumps([key, _repr(pre_transform), _repr(pre_filter)], sort_keys=True)
        self._folder = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        super().__init__(os.path.expanduser(os.fspath(root)), transform, pre_transform, pre_filter, False, force_reload)
        stored = torch.load(self.processed_paths[0], weights_only=True, mmap=True)
        self._slices, items = stored.pop("slices"), stored.pop("items")
        self._items = None if self._slices is None else Data.from_dict(items)
        self._stored: dict[str, Tensor] = stored

    @abstractmethod
    def draw_all(self) -> dict[str, Tensor]:
        """All signals, stacked along the first dimension of every tensor."""

    @abstractmethod
    def item(self, **row: Tensor) -> Data:
        """One item of one row of the stacked tensors."""

    @property
    def raw_file_names(self) -> list[str]:
        return []

    @property
    def processed_dir(self) -> str:
        return os.path.join(self.root, "processed", self._folder)

    @property
    def processed_file_names(self) -> list[str]:
        return ["signals.pt"]

    def on_graph(self, **values: Tensor) -> Data:
        """The graph with these attributes, cloned: a transform that works in place must not reach the next epoch."""
        data = copy.copy(self._graph)
        for name, value in values.items():
            data[name] = value.clone()
        return data

    def stacked(self, name: str) -> Tensor:
        """One of the stacked tensors, of this (part of the) dataset."""
        return self._stored[name] if self._indices is None else self._stored[name][list(self._indices)]

    def process(self) -> None:
        rows = self.draw_all()
        if self.pre_filter is not None:
            kept = [bool(self.pre_filter(self.item(**dict(zip(rows, row, strict=True))))) for row in self._rows(rows)]
            rows = {name: values[kept] for name, values in rows.items()}
        stored: dict[str, Any] = {**rows, "items": None, "slices": None}
        if self.pre_transform is not None and len(next(iter(rows.values()))):
            items = [self.pre_transform(self.item(**dict(zip(rows, row, strict=True)))) for row in self._rows(rows)]
            merged, slices, _ = collate(Data, items, increment=False, add_batch=False)
            stored |= {"items": merged.to_dict(), "slices": dict(slices)}
        path = self.processed_paths[0]
        part = f"{path}.{os.getpid()}.part"  # processes that train together may draw at the same time
        torch.save(stored, part)
        os.replace(part, path)  # an interrupted run leaves no half file behind

    @staticmethod
    def _rows(rows: dict[str, Tensor]) -> Iterator[tuple[Tensor, ...]]:
        return zip(*rows.values(), strict=True)

    def len(self) -> int:
        return len(next(iter(self._stored.values())))

    def get(self, idx: int) -> Data:
        if self._items is None:
            return self.item(**{name: values[idx] for name, values in self._stored.items()})
        data = separate(Data, self._items, idx=idx, slice_dict=self._slices, decrement=False)
        return data.apply(torch.clone)
