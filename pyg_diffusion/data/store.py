"""Ragged HDF5 store of molecules and their conformers.

Layout, version 2. Every ragged column is one flat dataset; `molecule/*_ptr` says where each molecule begins.

    attrs       format, version, features, complete, molecules, conformers, levels (names of levels of theory)
    molecule/   atom_ptr bond_ptr tetra_ptr ez_ptr pos_ptr name_ptr smiles_ptr conformer_ptr
    atom/       z uint8, x uint8 [., F]
    bond/       index uint16 [., 2] (one direction), type uint8
    tetra/      index uint16 [., 5]
    ez/         index uint16 [., 4], type uint8
    conformer/  pos int32 [., 3] in units of 1e-4 Å, the conformers of a molecule one after the other;
                level uint8, index into levels; energy float32 in kcal/mol above the lowest of its ensemble, NaN if unknown
    text/       name uint8, smiles uint8 (UTF-8)

Spectra are never inside: they follow from the bonds. `complete` is written last and the file is moved into place when whole,
with a checksum (see `sealed`).
"""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import torch

from . import schema
from .molecule import MoleculeData
from .sealed import is_damaged, sealed_file
from .store_check import problems

_T = TypeVar("_T")

FORMAT = "pyg_diffusion.store"
VERSION = 2
UNIT = 1e-4  # Å per stored integer

# ragged column -> (pointer, dtype, trailing shape)
_COLUMNS: dict[str, tuple[str, type, tuple[int, ...]]] = {
    "atom/z": ("atom", np.uint8, ()),
    "atom/x": ("atom", np.uint8, (len(schema.ATOM_FEATURES),)),
    "bond/index": ("bond", np.uint16, (2,)),
    "bond/type": ("bond", np.uint8, ()),
    "tetra/index": ("tetra", np.uint16, (5,)),
    "ez/index": ("ez", np.uint16, (4,)),
    "ez/type": ("ez", np.uint8, ()),
    "conformer/pos": ("pos", np.int32, (3,)),
    "conformer/level": ("conformer", np.uint8, ()),
    "conformer/energy": ("conformer", np.float32, ()),
    "text/name": ("name", np.uint8, ()),
    "text/smiles": ("smiles", np.uint8, ()),
}
# pointer -> the first column that it cuts, whose lengths define it
_POINTERS: dict[str, str] = {pointer: name for name, (pointer, _, _) in reversed(_COLUMNS.items())}


class StoreError(ValueError):
    """A file that is not a whole store of this version."""


@dataclass
class Molecule:
    """One molecule as plain arrays, the unit of the store."""

    z: np.ndarray  # [N] uint8
    x: np.ndarray  # [N, F] uint8
    bond_index: np.ndarray  # [B, 2] uint16
    bond_type: np.ndarray  # [B] uint8
    tetra: np.ndarray  # [T, 5] uint16
    ez: np.ndarray  # [Z, 4] uint16
    ez_type: np.ndarray  # [Z] uint8
    name: str
    smiles: str
    pos: list[np.ndarray] = field(default_factory=list)  # K conformers [N, 3] in Å
    levels: list[str] = field(default_factory=list)  # level of theory of each, "" where unknown; all unknown if empty
    energies: list[float] = field(default_factory=list)  # kcal/mol above the lowest; all unknown if empty
    notes: list[str] = field(default_factory=list)  # remarks on what the arrays leave out; not stored

    def topology(self) -> bytes:
        """Equal exactly for records that are conformers of one molecule in one atom order.

        The SMILES holds what the features clip or leave out: isotopes, large charges, radicals.
        """
        arrays = (self.z, self.x, self.bond_index, self.bond_type, self.tetra, self.ez, self.ez_type)
        return b"|".join([self.smiles.encode(), *(a.tobytes() for a in arrays)])

    def data(self, conformer: int | None = 0) -> MoleculeData:
        """As a PyG `Data`; without `pos` if `conformer` is None."""
        bonds = torch.from_numpy(self.bond_index.astype(np.int64)).T
        types = torch.from_numpy(self.bond_type.astype(np.int64))
        data = MoleculeData(
            x=torch.from_numpy(self.x.astype(np.int64)),
            z=torch.from_numpy(self.z.astype(np.int64)),
            edge_index=torch.cat([bonds, bonds.flip(0)], dim=1),
            edge_attr=torch.cat([types, types]),
            tetra_index=torch.from_numpy(self.tetra.astype(np.int64)).T.contiguous(),
            ez_index=torch.from_numpy(self.ez.astype(np.int64)).T.contiguous(),
            ez_attr=torch.from_numpy(self.ez_type.astype(np.int64)),
            name=self.name,
            smiles=self.smiles,
            num_nodes=len(self.z),
        )
        if conformer is not None:
            data.pos = torch.from_numpy(np.asarray(self.pos[conformer], dtype=np.float32))
            data.level = self.levels[conformer] if self.levels else ""
        return data

    def _columns(self) -> dict[str, np.ndarray]:
        """As stored, but for the levels, which are names."""
        for given in (self.levels, self.energies):
            if given and len(given) != len(self.pos):
                raise ValueError(f"{self.name!r}: {len(given)} levels or energies for {len(self.pos)} conformers")
        pos = [np.asarray(p, dtype=np.float64) for p in self.pos]
        pos = [np.round((p - p.mean(0)) / UNIT) if np.isfinite(p).all() else p for p in pos]
        if any(not (np.abs(p) <= np.iinfo(np.int32).max).all() for p in pos):  # NaN is not either
            raise ValueError(f"{self.name!r}: coordinates that are not finite, or farther apart than a store can hold")
        return {
            "atom/z": self.z,
            "atom/x": self.x,
            "bond/index": self.bond_index,
            "bond/type": self.bond_type,
            "tetra/index": self.tetra,
            "ez/index": self.ez,
            "ez/type": self.ez_type,
            "conformer/pos": np.concatenate(pos) if pos else np.zeros((0, 3)),
            "conformer/level": np.array(self.levels or [""] * len(pos), object),
            "conformer/energy": np.array(self.energies or [np.nan] * len(pos), np.float32),
            "text/name": np.frombuffer(self.name.encode(), np.uint8),
            "text/smiles": np.frombuffer(self.smiles.encode(), np.uint8),
        }


def write_store(path: str | os.PathLike, molecules: Iterable[Molecule], block: int = 4096) -> tuple[int, int]:
    """Write molecules to `path`, in blocks, by way of a temporary file beside it.

    Returns:
        Number of molecules and of conformers written.
    """
    return _write(path, (m._columns() for m in molecules), block)


def merge_stores(
    path: str | os.PathLike, parts: Mapping[int, "MoleculeStore"], members: Sequence[Sequence[tuple[int, int]]]
) -> tuple[int, int]:
    """Write one store from others; stored coordinates are copied as they are, so nothing is rounded twice.

    Args:
        parts: the stores to read; each is held in memory only from its first use to its last.
        members: for every new molecule the (part, molecule) pairs whose conformers it gathers; the first one names it.

    Returns:
        Number of molecules and of conformers written.
    """
    last_use = {part: k for k, group in enumerate(members) for part, _ in group}

    def items() -> Iterator[dict[str, np.ndarray]]:
        for k, group in enumerate(members):
            columns = [parts[part]._columns(i) for part, i in group]
            own = {name: np.concatenate([c[name] for c in columns]) for name in _COLUMNS if name.startswith("conformer/")}
            yield {**columns[0], **own}
            for part in {part for part, _ in group}:
                if last_use[part] == k:
                    parts[part]._arrays = None

    return _write(path, items(), 4096)


def _write(path: str | os.PathLike, items: Iterable[dict[str, np.ndarray]], block: int) -> tuple[int, int]:
    """`write_store` for molecules given as columns, with names of levels."""
    path = Path(path)
    lengths: dict[str, list[int]] = {pointer: [] for pointer in _POINTERS}
    levels: dict[str, int] = {}
    with sealed_file(path) as file:
        for name, (_, dtype, shape) in _COLUMNS.items():
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
            for name, (pointer, dtype, shape) in _COLUMNS.items():
                parts = [columns[name].reshape(-1, *shape) for columns in group]
                if _POINTERS[pointer] == name:
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


class MoleculeStore:
    """Read access to a store; `store[i]` is a `Molecule`.

    The file is opened lazily, once in every process that reads it, read into memory (all of QM9 is 60 MB) and closed.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._arrays: dict[str, np.ndarray] | None = None
        with self._reading():
            if self.path.is_file() and is_damaged(self.path):
                raise StoreError(
                    f"{self.path}: damaged store: truncated, or changed since it was written (its checksum does not match); "
                    "prepare it again"
                )
        with self._open() as file, self._reading():
            self.num_molecules, self.num_conformers = (int(file.attrs[k]) for k in ("molecules", "conformers"))
            names = file.attrs.get("levels", "[]")
            self.levels: list[str] = json.loads(names) if isinstance(names, str) else []
        named = (
            isinstance(names, str) and isinstance(self.levels, list) and all(isinstance(level, str) for level in self.levels)
        )
        if min(self.num_molecules, self.num_conformers) < 0 or not named:
            raise StoreError(f"{self.path}: damaged store: its attributes are no numbers of molecules and names of levels")

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise StoreError(f"{self.path}: no such file; make it with 'pyg-diffusion prepare INPUT -o {self.path}'")
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(f"{self.path}: not a readable HDF5 file (truncated, or of another kind): {error}") from error
        try:
            with self._reading():
                if str(file.attrs.get("format")) != FORMAT:
                    raise StoreError(
                        f"{self.path}: an HDF5 file, but no molecule store; make one with 'pyg-diffusion prepare'"
                    )
                versions = file.attrs.get("version"), file.attrs.get("features", 1)
                if versions != (VERSION, schema.VERSION):
                    raise StoreError(
                        f"{self.path}: store version {versions[0]} with features {versions[1]}, this program reads "
                        f"{VERSION} with {schema.VERSION}; prepare it again"
                    )
                if not bool(file.attrs.get("complete", False)):
                    raise StoreError(f"{self.path}: an unfinished store; make it again with 'pyg-diffusion prepare'")
        except BaseException:
            file.close()
            raise
        return file

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """HDF5 in a damaged file may raise anything: KeyError, OSError, RuntimeError, TypeError, ... become `StoreError`."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{self.path}: damaged store: {reason}; prepare it again") from error

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every column, read once per process.

        Raises:
            StoreError: one is missing, of another type or shape, or does not fit the others.
        """
        if self._arrays is None:
            with self._open() as file, self._reading():
                ends = [self.num_molecules + 1]
                arrays = {f"molecule/{p}_ptr": self._column(file, f"molecule/{p}_ptr", np.int64, ends) for p in _POINTERS}
                for name, (pointer, dtype, shape) in _COLUMNS.items():
                    rows = int(arrays[f"molecule/{pointer}_ptr"][-1])
                    arrays[name] = self._column(file, name, dtype, [rows, *shape])
                if len(arrays["conformer/level"]) != self.num_conformers:
                    raise StoreError(f"{self.path}: damaged store: conformer/level does not fit its attributes")
                for problem in problems(arrays, _COLUMNS, len(self.levels)):
                    raise StoreError(f"{self.path}: damaged store: {problem}; prepare it again")
            self._arrays = arrays
        return self._arrays

    def _column(self, file: h5py.File, name: str, dtype: type, shape: list[int]) -> np.ndarray:
        """One dataset, read only if it has the type and shape that it should have."""
        found = file.get(name)
        if not isinstance(found, h5py.Dataset):
            raise StoreError(f"{self.path}: damaged store: there is no dataset {name}")
        if found.dtype != np.dtype(dtype) or list(found.shape or ()) != shape:
            raise StoreError(
                f"{self.path}: damaged store: {name} is {found.dtype} {list(found.shape or ())}, "
                f"should be {np.dtype(dtype)} {shape}"
            )
        return found[...]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_arrays": None}  # a worker reads for itself

    def __len__(self) -> int:
        return self.num_molecules

    def _columns(self, i: int) -> dict[str, np.ndarray]:
        """Molecule i as it is stored, but for the levels, which are names."""
        arrays = self.arrays
        ends = {pointer: arrays[f"molecule/{pointer}_ptr"][i : i + 2] for pointer in _POINTERS}
        columns = {name: arrays[name][slice(*ends[pointer])] for name, (pointer, _, _) in _COLUMNS.items()}
        return {**columns, "conformer/level": np.array([self.levels[k] for k in columns["conformer/level"]], object)}

    def count(self, i: int) -> int:
        """Number of conformers of molecule i."""
        start, end = self.arrays["molecule/conformer_ptr"][i : i + 2]
        return int(end - start)

    def smiles(self) -> list[str]:
        """SMILES of every molecule."""
        text, ptr = self.arrays["text/smiles"].tobytes(), self.arrays["molecule/smiles_ptr"].tolist()
        return [text[a:b].decode() for a, b in itertools.pairwise(ptr)]

    def sizes(self) -> np.ndarray:
        """Number of atoms of each molecule, `[num_molecules]`."""
        return np.diff(self.arrays["molecule/atom_ptr"])

    def conformer_index(self) -> np.ndarray:
        """(molecule, conformer) of every conformer, `[num_conformers, 2]`."""
        counts = np.diff(self.arrays["molecule/conformer_ptr"])
        molecule = np.repeat(np.arange(len(self)), counts)
        start = np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([molecule, np.arange(len(molecule)) - start], axis=1)

    def __getitem__(self, i: int) -> Molecule:
        if not 0 <= i < len(self):
            raise IndexError(f"molecule {i} of {len(self)}")
        columns = self._columns(i)
        return Molecule(
            z=columns["atom/z"],
            x=columns["atom/x"],
            bond_index=columns["bond/index"],
            bond_type=columns["bond/type"],
            tetra=columns["tetra/index"],
            ez=columns["ez/index"],
            ez_type=columns["ez/type"],
            name=columns["text/name"].tobytes().decode(),
            smiles=columns["text/smiles"].tobytes().decode(),
            pos=[(p * UNIT).astype(np.float32) for p in columns["conformer/pos"].reshape(self.count(i), -1, 3)]
            if self.count(i)
            else [],
            levels=columns["conformer/level"].tolist(),
            energies=columns["conformer/energy"].tolist(),
        )
