"""SDFDataset: the conformers of SDF files, or of a prepared store, as a PyG dataset."""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch_geometric.data import Data, Dataset
from torch_geometric.data.collate import collate
from torch_geometric.data.dataset import _repr, files_exist
from torch_geometric.data.separate import separate

from ..data import MoleculeData, MoleculeStore, StoreError

if TYPE_CHECKING:
    from ..chem.prepare import PrepareReport

BLOCK = 4096  # transformed items collated together


class SDFDataset(Dataset):
    r"""One `MoleculeData` per conformer, in the order of the input.

    The first construction turns the SDF into `processed/store.h5` (in parallel; see `chem.prepare`); later ones read the
    store and need neither the SDF nor RDKit. Items come from the store as they are asked for. `pre_filter` is applied once
    and the choice kept in `processed/index.npy`; the results of `pre_transform` are kept in `processed/items.pt`, which is
    mapped, not read. A change of the files or of the repr of `pre_transform` or `pre_filter` processes anew, as does a store
    of another version.
    Molecules without conformers (SMILES) give no items; `store` still holds them.

    Args:
        root: folder with `raw/` and `processed/`.
        path: SDF file(s), plain or gzipped, or one store (`.h5`), which is then used in place. None takes every SDF file in
            `root/raw/`.
        transform, pre_transform, pre_filter, force_reload: as for every PyG dataset.
        workers: processes that read the SDF; all cores if None.
        log: progress on stderr.

    Attributes:
        store: the `MoleculeStore`.

    A root that was processed before is only read, and may be read-only.

    Skipped records, and notes on others, are warned about once; the former stand in `report.skipped` and
    `processed/skipped.txt`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from rdkit import Chem
        >>> from rdkit.Chem import rdDistGeom
        >>> from pyg_diffusion.datasets import SDFDataset
        >>> mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = rdDistGeom.EmbedMolecule(mol, randomSeed=1)
        ...     Chem.MolToMolFile(mol, f"{root}/methanol.sdf")
        ...     data = SDFDataset(root, f"{root}/methanol.sdf", workers=1, log=False)
        ...     data[0].smiles, data[0].pos.shape
        ('CO', torch.Size([6, 3]))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        transform: Callable[[MoleculeData], Any] | None = None,
        pre_transform: Callable[[MoleculeData], Data] | None = None,
        pre_filter: Callable[[MoleculeData], bool] | None = None,
        force_reload: bool = False,
        workers: int | None = None,
        log: bool = True,
    ):
        paths = [path] if isinstance(path, str | os.PathLike) else path
        self._paths = None if paths is None else [os.path.abspath(os.path.expanduser(p)) for p in paths]
        self._workers, self._read_anew = workers, force_reload
        self._items: list[tuple[MoleculeData, dict[str, Any]]] | None = None
        self.root = os.path.expanduser(os.fspath(root))
        self.pre_transform, self.pre_filter = pre_transform, pre_filter
        stale = self._recorded("made_from.json") != self._made_from() or not (self._uses_store or self._readable())
        super().__init__(self.root, transform, pre_transform, pre_filter, log, force_reload or stale)
        self.store = MoleculeStore(self._store_path)
        self._index = np.load(os.path.join(self.processed_dir, "index.npy"), allow_pickle=False)

    @property
    def raw_file_names(self) -> list[str]:
        if self._paths is not None:
            return self._paths
        from ..chem.formats import SDF, format_of

        return sorted(f.name for f in Path(self.raw_dir).glob("*") if format_of(f.name) is SDF) or ["*.sdf"]

    @property
    def processed_file_names(self) -> list[str]:
        names = ["made_from.json", "index.npy"]
        names += [] if self._uses_store else ["store.h5", "report.json", "skipped.txt"]
        return names if self.pre_transform is None else [*names, "items.pt"]

    @property
    def _uses_store(self) -> bool:
        return self._paths is not None and len(self._paths) == 1 and self._paths[0].endswith((".h5", ".hdf5"))

    @property
    def _store_path(self) -> str:
        return self.raw_paths[0] if self._uses_store else os.path.join(self.processed_dir, "store.h5")

    def _readable(self) -> bool:
        """Whether the store is there, whole, and of the version that this program reads."""
        try:
            MoleculeStore(self._store_path)
        except StoreError:
            return False
        return True

    def download(self) -> None:
        """There is nothing to download from.

        Raises:
            FileNotFoundError: naming the absent files, unless they were processed already and are needed no more.
        """
        if self._uses_store or not self._readable():
            missing = [p for p in self.raw_paths if not os.path.exists(p)]
            raise FileNotFoundError(f"{', '.join(missing)}: no such file; pass path= or put SDF files into {self.raw_dir}")

    def _download(self) -> None:
        try:
            super()._download()
        except FileNotFoundError:
            raise
        except OSError:  # no place for `raw/`
            self.download()

    def _process(self) -> None:
        """As every PyG dataset, where it may write.

        Raises:
            StoreError: saying that `processed/` cannot be written, and what to do.
        """
        try:
            super()._process()
        except FileNotFoundError:  # of a transform's own
            raise
        except OSError as error:
            raise StoreError(
                f"{self.processed_dir}: cannot be written ({error}); give root= a folder of your own, and path= the SDF "
                "file or the store that is to be read"
            ) from error

    def _recorded(self, name: str) -> dict[str, Any] | None:
        try:
            recorded: dict[str, Any] = json.loads(Path(self.processed_dir, name).read_text())
            return recorded
        except (OSError, ValueError):
            return None

    def _files(self) -> list[list[Any]] | None:
        """Path, size and time of change of the raw files; as they were when processed, if they are gone."""
        if files_exist(self.raw_paths):
            return [[p, os.stat(p).st_size, os.stat(p).st_mtime_ns] for p in self.raw_paths]
        return (self._recorded("report.json") or self._recorded("made_from.json") or {}).get("files")

    def _made_from(self) -> dict[str, Any]:
        """All that `processed/` depends on."""
        return {"files": self._files(), "pre_transform": _repr(self.pre_transform), "pre_filter": _repr(self.pre_filter)}

    def process(self) -> None:
        folder = Path(self.processed_dir)
        made_from = self._made_from()
        (folder / "made_from.json").unlink(missing_ok=True)  # written last: its presence says that all is whole
        read = self._recorded("report.json")
        if not self._uses_store and (
            self._read_anew or read is None or read["files"] != made_from["files"] or not self._readable()
        ):
            self._read_files(made_from["files"])
        self._read_anew = False
        store = MoleculeStore(self._store_path)
        index = store.conformer_index()
        if self.pre_filter is not None:
            index = index[[bool(self.pre_filter(store.data(i, k))) for i, k in index]]
        np.save(folder / "index.npy", index)
        (folder / "items.pt").unlink(missing_ok=True)
        if self.pre_transform is not None:
            self._write_items(store, index, self.pre_transform)
        (folder / "made_from.json").write_text(json.dumps(made_from))

    def _read_files(self, files: list[list[Any]] | None) -> None:
        from ..chem.prepare import prepare

        report = prepare(self.raw_paths, self._store_path, workers=self._workers, progress=self.log)
        folder = Path(self.processed_dir)
        (folder / "skipped.txt").write_text("".join(f"{s}\n" for s in report.skipped), encoding="utf-8")
        (folder / "report.json").write_text(json.dumps({"files": files, "report": asdict(report)}))
        if report.skipped:
            first = "; ".join(str(s) for s in report.skipped[:5])
            more = f"; and {len(report.skipped) - 5} more in {folder / 'skipped.txt'}" if len(report.skipped) > 5 else ""
            warnings.warn(f"{len(report.skipped)} of {report.records} records skipped: {first}{more}", stacklevel=2)
        if report.notes:
            warnings.warn("; ".join(report.remarks()), stacklevel=2)

    def _write_items(self, store: MoleculeStore, index: np.ndarray, pre_transform: Callable[[MoleculeData], Data]) -> None:
        blocks = []
        for start in range(0, len(index), BLOCK):
            items = [pre_transform(store.data(i, k)) for i, k in index[start : start + BLOCK]]
            nodes = [int(item.num_nodes or 0) for item in items]
            merged, slices, _ = collate(MoleculeData, items, increment=False, add_batch=False)
            blocks.append((merged.to_dict(), dict(slices), nodes))
        path = Path(self.processed_dir, "items.pt")
        torch.save(blocks, path)
        try:
            torch.load(path, mmap=True, weights_only=True)
        except Exception as error:
            path.unlink()
            raise TypeError("pre_transform may add tensors, numbers, strings and lists of them, nothing else") from error

    def _load_items(self) -> list[tuple[MoleculeData, dict[str, Any]]]:
        items = []
        for values, slices, nodes in torch.load(os.path.join(self.processed_dir, "items.pt"), mmap=True, weights_only=True):
            merged = MoleculeData.from_dict(values)
            merged._store._num_nodes = nodes
            items.append((merged, slices))
        return items

    @property
    def report(self) -> "PrepareReport | None":
        """What reading the SDF gave, or None where `path` is a store."""
        read = None if self._uses_store else self._recorded("report.json")
        if read is None:
            return None
        from ..chem.prepare import PrepareReport, SkippedRecord

        return PrepareReport(**{**read["report"], "skipped": [SkippedRecord(*s) for s in read["report"]["skipped"]]})

    def len(self) -> int:
        return len(self._index)

    def get(self, idx: int) -> MoleculeData:
        if self.pre_transform is None:
            molecule, conformer = self._index[idx]
            return self.store.data(molecule, conformer)
        if self._items is None:
            self._items = self._load_items()
        merged, slices = self._items[idx // BLOCK]
        data: MoleculeData = separate(MoleculeData, merged, idx=idx % BLOCK, slice_dict=slices, decrement=False)
        data.apply(torch.clone)  # a transform that works in place must not reach the next epoch
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_items": None}  # a worker maps the file for itself
