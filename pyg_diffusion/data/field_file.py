"""Fields on one grid in an HDF5 file: what `sample` writes and `evaluate` and `plot` read.

attrs   format, version, data (JSON: the grid, and the law where there is one)
x       float32 [S, *shape, C]
"""

import json
import os
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor
from torch_geometric.data import Data

from .grid import grid_graph

FORMAT = "pyg_diffusion.fields"
VERSION = 1


class FieldFileError(ValueError):
    """A file that cannot be used, and why."""


def write_fields(path: str | os.PathLike, x: Tensor, data: dict[str, Any]) -> None:
    """Write fields `[S, N, C]` of the grid in `data` (its shape, kinds and spacing); moved into place when whole."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["version"], file.attrs["data"] = FORMAT, VERSION, json.dumps(data)
        file["x"] = x.float().cpu().view(len(x), *data["shape"], x.size(2)).numpy()
    os.replace(temporary, path)


def read_fields(path: str | os.PathLike) -> tuple[Tensor, dict[str, Any]]:
    """(fields `[S, N, C]`, what `write_fields` was told of their grid).

    Raises:
        FieldFileError: no such file, or not one of fields.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise FieldFileError(f"{path}: not a file of fields (version {VERSION})")
            data = json.loads(file.attrs["data"])
            x = torch.from_numpy(file["x"][:])
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, FieldFileError):
            raise
        raise FieldFileError(f"{path}: not a file of fields ({error})") from error
    if x.dim() != len(data["shape"]) + 2 or list(x.shape[1:-1]) != list(data["shape"]):
        raise FieldFileError(f"{path}: fields of shape {list(x.shape)} on a grid {data['shape']}")
    return x.reshape(len(x), -1, x.size(-1)), data


def grid_of(data: dict[str, Any]) -> Data:
    """The grid that a file or a card of weights describes."""
    return grid_graph(data["shape"], data["kinds"], data["spacing"])
