"""Writing of stores, from molecules or from other stores."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from . import schema
from .molecule import Molecule
from .sealed import sealed_file
from .store import MoleculeStore
from .store_layout import COLUMNS, FORMAT, POINTERS, VERSION, StoreError, columns_of

_T = TypeVar("_T")


def write_store(path: str | os.PathLike, molecules: Iterable[Molecule], block: int = 4096) -> tuple[int, int]:
    """Write molecules to `path`, in blocks, by way of a temporary file beside it.

    Returns:
        Number of molecules and of conformers written.
    """
    return _write(path, (columns_of(m) for m in molecules), block)


def merge_stores(
    path: str | os.PathLike,
    parts: Mapping[int, MoleculeStore],
    members: Sequence[Sequence[tuple[int, int]]],
    orders: Mapping[tuple[int, int], np.ndarray] | None = None,
) -> tuple[int, int]:
    """Write one store from others; stored coordinates are copied as they are, so nothing is rounded twice.

    Args:
        parts: the stores to read; each is held in memory only from its first use to its last.
        members: for every new molecule the (part, molecule) pairs whose conformers it gathers; the first one names it.
        orders: of pairs in members whose atoms stand in another sequence than the first one's, their atoms in its sequence.

    Returns:
        Number of molecules and of conformers written.
    """
    last_use = {part: k for k, group in enumerate(members) for part, _ in group}

    def items() -> Iterator[dict[str, np.ndarray]]:
        for k, group in enumerate(members):
            columns = [parts[part].columns(i) for part, i in group]
            for column, atoms in zip(columns, map((orders or {}).get, group), strict=True):
                if atoms is not None:
                    column["conformer/pos"] = column["conformer/pos"].reshape(-1, len(atoms), 3)[:, atoms].reshape(-1, 3)
            own = {name: np.concatenate([c[name] for c in columns]) for name in COLUMNS if name.startswith("conformer/")}
            yield {**columns[0], **own}
            for part in {part for part, _ in group}:
                if last_use[part] == k:
                    parts[part].forget()

    return _write(path, items(), 4096)


def _write(path: str | os.PathLike, items: Iterable[dict[str, np.ndarray]], block: int) -> tuple[int, int]:
    """`write_store` for molecules given as columns, with names of levels."""
    path = Path(path)
    lengths: dict[str, list[int]] = {pointer: [] for pointer in POINTERS}
    levels: dict[str, int] = {}
    with sealed_file(path) as file:
        for name, (_, dtype, shape) in COLUMNS.items():
            file.create_dataset(
                name,
                shape=(0, *shape),
                maxshape=(None, *shape),
                dtype=dtype,
                chunks=(1 << 15, *shape),
                compression="gzip",
                shuffle=True,
            )
        for group in _blocks(items, block):
            for columns in group:
                names = columns["conformer/level"]
                columns["conformer/level"] = np.array([levels.setdefault(level, len(levels)) for level in names])
            if len(levels) > 256:
                raise StoreError(f"{path}: {len(levels)} levels of theory; a store holds at most 256")
            for name, (pointer, dtype, shape) in COLUMNS.items():
                parts = [columns[name].reshape(-1, *shape) for columns in group]
                if POINTERS[pointer] == name:
                    lengths[pointer] += [len(p) for p in parts]
                values: np.ndarray = np.concatenate(parts).astype(dtype)
                dataset = file[name]
                dataset.resize(dataset.shape[0] + len(values), axis=0)
                if len(values):
                    dataset[-len(values) :] = values
        for pointer, sizes in lengths.items():
            ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            file.create_dataset(f"molecule/{pointer}_ptr", data=ptr, compression="gzip", shuffle=True)
        made = len(lengths["conformer"]), sum(lengths["conformer"])
        file.attrs.update(format=FORMAT, version=VERSION, features=schema.VERSION, levels=json.dumps(list(levels)))
        file.attrs.update(molecules=made[0], conformers=made[1])
        file.attrs["complete"] = True
    return made


def _blocks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    group: list[_T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
