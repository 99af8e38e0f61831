"""Read access to a store of molecules and their conformers; its layout stands in `store_layout`."""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from . import schema
from .molecule import Molecule
from .molecule_data import MoleculeData
from .sealed import is_damaged
from .store_check import problems
from .store_layout import COLUMNS, FORMAT, POINTERS, UNIT, VERSION, StoreError


class MoleculeStore:
    """Read access to a store; `store[i]` is a `Molecule`, `store.data(i, k)` its conformer k as a PyG `Data`.

    The file is opened lazily, once in every process that reads it, read into memory (all of QM9 is 60 MB) and closed.

    Example:
        >>> import tempfile
        >>> from rdkit import Chem
        >>> from pyg_diffusion.chem import molecule_from_mol
        >>> from pyg_diffusion.data import MoleculeStore, write_store
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     molecules = [molecule_from_mol(Chem.MolFromSmiles(smiles)) for smiles in ("CCO", "C#N")]
        ...     write_store(f"{folder}/two.h5", molecules)
        ...     store = MoleculeStore(f"{folder}/two.h5")
        ...     store.sizes(), store[1].smiles
        (2, 0)
        (array([3, 2]), 'C#N')
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
                arrays = {f"molecule/{p}_ptr": self._column(file, f"molecule/{p}_ptr", np.int64, ends) for p in POINTERS}
                for name, (pointer, dtype, shape) in COLUMNS.items():
                    rows = int(arrays[f"molecule/{pointer}_ptr"][-1])
                    arrays[name] = self._column(file, name, dtype, [rows, *shape])
                if len(arrays["conformer/level"]) != self.num_conformers:
                    raise StoreError(f"{self.path}: damaged store: conformer/level does not fit its attributes")
                for problem in problems(arrays, COLUMNS, len(self.levels)):
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

    def forget(self) -> None:
        """Lets go of what was read into memory; it is read again when asked for."""
        self._arrays = None

    def __len__(self) -> int:
        return self.num_molecules

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

    def levels_of(self, i: int) -> list[str]:
        """Name of the level of theory of each conformer of molecule i, "" where unknown."""
        return [self.levels[k] for k in self._part("conformer/level", i)]

    def columns(self, i: int) -> dict[str, np.ndarray]:
        """Molecule i as it is stored, but for the levels, which are names."""
        columns = {name: self._part(name, i) for name in COLUMNS}
        return {**columns, "conformer/level": np.array(self.levels_of(i), object)}

    def _part(self, name: str, i: int) -> np.ndarray:
        """What a column holds of molecule i."""
        arrays = self.arrays
        start, end = arrays[f"molecule/{COLUMNS[name][0]}_ptr"][i : i + 2]
        return arrays[name][start:end]

    def molecule(self, i: int, conformers: Sequence[int] | None = None) -> Molecule:
        """Molecule i with some of its conformers, in the order asked for; with all of them if None.

        Raises:
            IndexError: there is no such molecule or conformer.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"molecule {i} of {len(self)}")
        count = self.count(i)
        chosen = range(count) if conformers is None else conformers
        if not all(0 <= k < count for k in chosen):
            raise IndexError(f"conformers {list(chosen)} of {count} of molecule {i}")
        z = self._part("atom/z", i)
        pos = self._part("conformer/pos", i).reshape(count, len(z), 3)
        levels, energies = self._part("conformer/level", i), self._part("conformer/energy", i)
        return Molecule(
            z=z,
            x=self._part("atom/x", i),
            bond_index=self._part("bond/index", i),
            bond_type=self._part("bond/type", i),
            tetra=self._part("tetra/index", i),
            ez=self._part("ez/index", i),
            ez_type=self._part("ez/type", i),
            name=self._part("text/name", i).tobytes().decode(),
            smiles=self._part("text/smiles", i).tobytes().decode(),
            pos=[(pos[k] * UNIT).astype(np.float32) for k in chosen],
            levels=[self.levels[levels[k]] for k in chosen],
            energies=[float(energies[k]) for k in chosen],
        )

    def data(self, i: int, conformer: int | None = 0) -> MoleculeData:
        """One conformer of molecule i as a PyG `Data`, and nothing decoded of the others; without `pos` if None."""
        if conformer is None:
            return self.molecule(i, ()).data(None)
        return self.molecule(i, (conformer,)).data(0)

    def __getitem__(self, i: int) -> Molecule:
        return self.molecule(i)
