"""Files of signals: HDF5 and `.npz` of one graph or of many, and `.pt` of PyG data; `sample` writes such an HDF5 file.

One graph    x [S, N, C], edge_index [2, E]; edge_weight [E], pos [N, d], mask [S, N] or [S, N, C], numbers of signals [S]
Many graphs  the same as a PyG `Batch` has it: x [ΣN, C], mask [ΣN] or [ΣN, C], edge_index numbered through, ptr [G + 1]
"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.separate import separate
from torch_geometric.data.storage import GlobalStorage

from .sealed import is_damaged, sealed_file
from .signals import GRID, Names, SignalError, SignalSet, from_items, of_one_graph

FORMAT = "pyg_diffusion.signals"
VERSION = 1
HDF5 = (".h5", ".hdf5")
SUFFIXES = (*HDF5, ".npz", ".pt", ".pth")
Arrays = dict[str, Tensor]


def read_signals(path: str | os.PathLike, names: Names = Names()) -> SignalSet:  # noqa: B008
    """The signals of a file (see the module).

    Args:
        names: what is called how in it.

    Raises:
        SignalError: no such file, another kind of file, a damaged one, or signals that cannot be used; which and why.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise SignalError(f"{path}: signals are read from {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise SignalError(f"{path}: no such file")
    wanted = {names.signal, names.weight, names.mask, "edge_index", "pos", "ptr", *GRID, *names.scalars} - {""}
    try:
        if path.suffix in HDF5:
            return from_arrays(_of_hdf5(path, wanted), names)
        if path.suffix == ".npz":
            return from_arrays(_of_npz(path, wanted), names)
        return _of_torch(path, names)
    except SignalError as error:
        raise SignalError(f"{path}: {error}") from error


def _read(reader: Callable[[], Any], what: str) -> Any:
    """What a library reads, and one sentence where it cannot."""
    try:
        return reader()
    except SignalError:
        raise
    except Exception as error:  # damaged files may raise anything in the libraries that read them
        text = " ".join(str(error).split()) or type(error).__name__
        refused = re.search(
            r"Unsupported (global|class|operand)[^.]*(\.\w+)*", text
        )  # of torch.load, in the middle of its advice
        raise SignalError(f"not {what}, or a damaged one ({refused[0] if refused else text:.200})") from error


def _of_hdf5(path: Path, wanted: Collection[str]) -> Arrays:
    def read() -> Arrays:
        if is_damaged(path):
            raise SignalError("a damaged file: truncated, or changed since it was written; write it again")
        with h5py.File(path, "r") as file:
            return {name: _tensor(file[name][...], name) for name in wanted if isinstance(file.get(name), h5py.Dataset)}

    return _read(read, "an HDF5 file of signals")


def _of_npz(path: Path, wanted: Collection[str]) -> Arrays:
    def read() -> Arrays:
        with np.load(path, allow_pickle=False) as file:
            return {name: _tensor(file[name], name) for name in wanted if name in file}

    return _read(read, "a .npz file of arrays")


def _tensor(array: Any, name: str) -> Tensor:
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise SignalError(f"{name} should be numbers, has {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))


def _of_torch(path: Path, names: Names) -> SignalSet:
    """What `torch.load` reads without running code: tensors by name, a list of `Data`, or a saved `InMemoryDataset`."""

    def load() -> Any:
        with torch.serialization.safe_globals([Data, GlobalStorage, DataEdgeAttr, DataTensorAttr]):
            return torch.load(path, map_location="cpu", weights_only=True)

    found = _read(load, "a .pt file that torch.load(weights_only=True) can read")
    if isinstance(found, Data):
        found = found.to_dict()
    if isinstance(found, dict):
        return from_arrays({str(name): value for name, value in found.items() if isinstance(value, Tensor)}, names)
    if isinstance(found, tuple) and len(found) in (2, 3) and isinstance(found[0], dict) and isinstance(found[1], dict):
        return from_items(_read(lambda: _separated(found[0], found[1]), "a saved InMemoryDataset"), names)
    if not isinstance(found, list | tuple):
        raise SignalError(f"holds a {type(found).__name__}; tensors by name or a list of torch_geometric Data are needed")
    return from_items((Data.from_dict(item) if isinstance(item, dict) else item for item in found), names)


def _separated(stacked: dict[str, Any], slices: dict[str, Tensor]) -> list[Data]:
    """The items of a data set that PyG keeps as one."""
    data = Data.from_dict(stacked)
    count = len(next(iter(slices.values()))) - 1
    return [separate(Data, data, k, slices, decrement=False) for k in range(count)]


def from_arrays(arrays: Mapping[str, Tensor], names: Names) -> SignalSet:
    """Signals of arrays by name, of one graph, or of many where there is a `ptr`.

    Raises:
        SignalError: they are none, and why.
    """
    needed = (names.signal, "edge_index", *filter(None, [names.mask]), *names.scalars)
    needed += (names.weight,) if names.weight not in ("", "edge_weight") else ()
    if missing := [name for name in needed if name not in arrays]:
        there = f"there are {', '.join(sorted(arrays))}" if arrays else "it has nothing of the kind"
        raise SignalError(f"no {missing[0]!r}; {there}")
    if (index := arrays["edge_index"]).dim() != 2 or len(index) != 2:
        raise SignalError(f"edge_index must be [2, edges], got {list(index.shape)}")
    if "ptr" in arrays:
        return from_items(_items(arrays, names), names)
    about = ("edge_index", "pos", *GRID, *filter(None, [names.weight]))
    graph = Data.from_dict({name: arrays[name] for name in about if name in arrays and name != names.signal})
    scalars = {name: arrays[name] for name in names.scalars}
    return of_one_graph(graph, arrays[names.signal], names, arrays.get(names.mask), scalars)


def _items(arrays: Mapping[str, Tensor], names: Names) -> list[Data]:
    """The graphs of a batch."""
    ptr, index, x = arrays["ptr"].long(), arrays["edge_index"].long(), arrays[names.signal]
    steps = ptr.diff()
    if ptr.dim() != 1 or len(ptr) < 2 or ptr[0] != 0 or ptr[-1] != len(x) or bool((steps <= 0).any()):
        empty = (
            "" if ptr.dim() != 1 or not bool((steps <= 0).any()) else f"; graph {int((steps <= 0).nonzero()[0])} is empty"
        )
        raise SignalError(f"ptr must increase from 0 to {len(x)}, the rows of {names.signal}{empty}")
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(x):
        raise SignalError(f"edge_index names node {int(index.max())}, but the nodes are 0..{len(x) - 1}")
    at = torch.searchsorted(ptr, index, right=True) - 1
    if bool((at[0] != at[1]).any()):
        one, other = at[:, (at[0] != at[1]).nonzero()[0, 0]].tolist()
        raise SignalError(f"graph {one}: an edge leads to graph {other}")
    order = at[0].argsort(stable=True)
    edges = torch.bincount(at[0], minlength=len(steps)).tolist()
    parts: dict[str, Any] = {"edge_index": (index - ptr[at])[:, order].split(edges, 1)}
    for name in {names.weight, names.mask, names.signal, "pos", *GRID, *names.scalars} - {""} & set(arrays):
        value = arrays[name]
        want, cut = (index.size(1), edges) if name == names.weight else (len(x), steps.tolist())
        if name in (*GRID, *names.scalars):
            want, cut = len(steps), [1] * len(steps)
        if len(value) != want:
            raise SignalError(f"{name} has {len(value)} rows where {want} are needed")
        parts[name] = (value[order] if name == names.weight else value).split(cut)
    return [Data.from_dict({name: rows[k] for name, rows in parts.items()}) for k in range(len(steps))]


def arrays_of(signals: SignalSet) -> dict[str, np.ndarray]:
    """A set as arrays by the names that are taken where none are given, the inverse of `from_arrays`."""
    if len(signals.graphs) == 1:
        graph, x = signals.graphs[0], signals.stacked()
        known = None if signals.known is None else torch.stack(list(signals.known))
    else:
        items = [signals.data(k) for k in range(len(signals))]
        graph = Batch.from_data_list(items)
        x = torch.cat(list(signals.x))
        known = None if signals.known is None else torch.cat(list(signals.known))
    found = {"x": x, "edge_index": graph.edge_index}
    found |= {name: graph[name] for name in ("edge_weight", "pos", *GRID) if graph.get(name) is not None}
    found |= {"ptr": graph.ptr} if len(signals.graphs) > 1 else {}
    found |= {} if known is None else {"mask": known}
    return {name: value.cpu().numpy() for name, value in (found | signals.scalars).items()}


def write_signals(
    path: str | os.PathLike, signals: SignalSet, data: Mapping[str, Any], more: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write signals as HDF5, moved into place when whole.

    Args:
        data: what is to be known of them, JSON-able.
        more: further arrays, by names that the set has none of.
    """
    with sealed_file(path) as file:
        file.attrs["format"], file.attrs["version"], file.attrs["data"] = FORMAT, VERSION, json.dumps(dict(data))
        for name, values in {**arrays_of(signals), **(more or {})}.items():
            file[name] = values


def facts_in(path: str | os.PathLike) -> dict[str, Any]:
    """What `write_signals` was told of its signals; {} where the file is not of it."""
    if Path(path).suffix not in HDF5:
        return {}
    try:
        with h5py.File(path, "r") as file:
            found = json.loads(file.attrs["data"]) if file.attrs.get("format") == FORMAT else {}
    except Exception:  # HDF5 in a damaged file may raise anything
        return {}
    return found if isinstance(found, dict) else {}


def holds_signals(path: Path) -> bool:
    """Whether a file looks like one of signals with their graph."""
    if path.suffix not in HDF5:
        return path.suffix in SUFFIXES
    try:
        with h5py.File(path, "r") as file:
            return "edge_index" in file
    except Exception:  # as above
        return False
