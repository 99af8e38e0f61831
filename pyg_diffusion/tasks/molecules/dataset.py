"""A PyG data set in the place of a store."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from ...data import MoleculeData, MoleculeStore, schema
from ...data.molecule import Molecule
from ...data.store_write import write_store
from ...files import replacing
from ...registry import imported
from ...sections import RecipeError
from .recipe import MoleculesData

TRANSFORMS = ("transform", "pre_transform", "pre_filter")
TAKEN = ("eigenvalues", "eigenvectors")  # of what transforms write, beside positions


class DatasetStore(MoleculeStore):
    """The molecules of a PyG data set as a store, worked out once and kept below its root; items come from the data set.

    Equal molecules are one, with several conformers. What the data set has that is no molecule, or no geometry of one, is
    left out and said.

    Args:
        config: names the data set (`dataset`, `root`, `options`).

    Raises:
        RecipeError: it cannot be made, or none of its items can be used.
    """

    def __init__(self, config: MoleculesData):
        self.dataset = _made(config)
        self.source = config.dataset
        what = [config.dataset, config.options, len(self.dataset), schema.VERSION]
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
        path = Path(config.root, "pyg_diffusion", f"{key}.h5")
        rows = path.with_suffix(".npy")
        if not (path.is_file() and rows.is_file()):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, rows)
        super().__init__(path)
        self.rows = np.load(rows)  # of each conformer, in the store's order

    def _write(self, path: Path, rows: Path) -> None:
        found: dict[bytes, tuple[Molecule, list[int]]] = {}
        left_out, first = 0, ""
        for row in range(len(self.dataset)):
            try:
                molecule = _molecule(self.dataset[row])
            except ValueError as error:
                left_out, first = left_out + 1, first or f"item {row}: {error}"
                continue
            same, its_rows = found.setdefault(molecule.topology(), (molecule, []))
            if its_rows:
                same.pos += molecule.pos
                same.levels += molecule.levels
            its_rows.append(row)
        if not found:
            raise RecipeError(f"data.dataset: {self.source}: no item can be used; {first or 'it is empty'}")
        if left_out:
            print(f"data.dataset: {left_out} of {len(self.dataset)} items left out; {first}", file=sys.stderr)
        own = path.with_suffix(f".{os.getpid()}.h5")  # processes that train together all make it, and the same
        write_store(own, (molecule for molecule, _ in found.values()))
        with replacing(own.with_suffix(".npy")) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate([its_rows for _, its_rows in found.values()]))
        os.replace(own.with_suffix(".npy"), rows)
        os.replace(own, path)

    def complete(self, data: MoleculeData, molecule: int, conformer: int) -> MoleculeData:
        """The data of a conformer, weighed, with positions, and spectrum, as the data set's transforms leave them; in place.

        Raises:
            RecipeError: the item is another than when the store was made, or has what no sampler would know of.
        """
        row = int(self.rows[self.arrays["molecule/conformer_ptr"][molecule] + conformer])
        item = self.dataset[row]
        if not torch.equal(item.z.long(), data.z) or not torch.equal(_sorted(item.edge_index), _sorted(data.edge_index)):
            raise RecipeError(f"data.dataset: item {row} of {self.source} has changed; remove {self.path} to read it anew")
        if "edge_weight" in item and not _equal_weights(item, data):
            raise RecipeError(
                f"data.dataset: item {row} of {self.source} has another edge_weight than molecules to be sampled; "
                "leave that transform out, and set data.weight"
            )
        data.pos = item.pos.float()
        for name in TAKEN:
            if name in item:
                data[name] = item[name]
        return data


def _made(config: MoleculesData) -> Any:
    """The data set that a recipe names."""
    try:
        options = {name: _called(name, value) if name in TRANSFORMS else value for name, value in config.options.items()}
        dataset = imported(config.dataset)(root=config.root, **options)
        len(dataset)
    except Exception as error:  # someone's code may fail in any way
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise RecipeError(f"data.dataset: {config.dataset}: {kind}{' '.join(str(error).split())}") from error
    return dataset


def _called(name: str, value: Any) -> Any:
    """What `module:Name` stands for: a function, or an object of a class; of a list, one after the other."""
    if isinstance(value, list):
        return Compose([_called(name, each) for each in value])
    if not isinstance(value, str):
        raise ValueError(f"options: {name} is given as module:Name, got {value!r:.40}")
    found = imported(value)
    return found() if isinstance(found, type) else found


def _molecule(data: Data) -> Molecule:
    if isinstance(data, MoleculeData):
        if data.get("pos") is None:
            raise ValueError("there is no pos [N, 3]")
        return Molecule.of_data(data)
    from ...chem.pyg_form import molecule_from_pyg  # RDKit: not where the store has been made already

    return molecule_from_pyg(data)


def _sorted(edges: Tensor) -> Tensor:
    return edges[:, np.lexsort(edges.numpy())]


def _equal_weights(item: Data, data: MoleculeData) -> bool:
    """Whether two have the same weights at the same edges, which may stand in another order."""
    if "edge_weight" not in data:
        return False
    one, other = (d.edge_weight[np.lexsort(d.edge_index.numpy())].float() for d in (item, data))
    return bool(torch.allclose(one, other))
