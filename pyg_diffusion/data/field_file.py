"""Fields on one grid in an HDF5 file: what `sample` writes and `evaluate` and `plot` read.

attrs   format, version, data (JSON: the grid, and the law where there is one)
x       float32 [S, *shape, C]
"""

import json
import os
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from .grid import grid_graph
from .sealed import is_damaged, sealed_file

FORMAT = "pyg_diffusion.fields"
VERSION = 1


class FieldFileError(ValueError):
    """A file that cannot be used, and why."""


def write_fields(path: str | os.PathLike, x: Tensor, data: dict[str, Any]) -> None:
    """Write fields `[S, N, C]` of the grid in `data` (its shape, kinds and spacing); moved into place when whole."""
    with sealed_file(path) as file:
        file.attrs["format"], file.attrs["version"], file.attrs["data"] = FORMAT, VERSION, json.dumps(data)
        file["x"] = x.float().cpu().view(len(x), *data["shape"], x.size(2)).numpy()


def read_fields(path: str | os.PathLike) -> tuple[Tensor, dict[str, Any]]:
    """(fields `[S, N, C]`, what `write_fields` was told of their grid).

    Raises:
        FieldFileError: no such file, not one of fields, or a damaged one.
    """
    try:
        if is_damaged(path):
            raise FieldFileError(f"{path}: a damaged file: truncated, or changed since it was written; write it again")
        with h5py.File(path, "r") as file:
            if str(file.attrs.get("format")) != FORMAT or file.attrs.get("version") != VERSION:
                raise FieldFileError(f"{path}: not a file of fields (version {VERSION})")
            text = file.attrs["data"]
            data: Any = json.loads(text) if isinstance(text, str) else None
            shape = _checked_grid(data)
            found = file["x"]
            if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f":
                raise FieldFileError(f"{path}: x should be a dataset of floating point numbers")
            if len(found.shape) != len(shape) + 2 or list(found.shape[1:-1]) != shape or not found.size:
                raise FieldFileError(f"{path}: fields of shape {list(found.shape)} on a grid {shape}")
            x = torch.from_numpy(found[...].astype(np.float32))
    except FieldFileError:
        raise
    except Exception as error:  # HDF5 in a damaged file may raise anything: OSError, KeyError, RuntimeError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FieldFileError(f"{path}: not a file of fields, or a damaged one ({reason})") from error
    if not bool(x.isfinite().all()):
        raise FieldFileError(f"{path}: fields that are not finite")
    return x.reshape(len(x), -1, x.size(-1)), data


def _checked_grid(data: Any) -> list[int]:
    """The shape of the grid in what a file says of its fields; ValueError or TypeError where it says none."""
    if not isinstance(data, dict) or not {"shape", "kinds", "spacing"} <= set(data):
        raise ValueError("no shape, kinds and spacing of a grid")
    shape, law = data["shape"], {"law", "seed", "num_samples", "parameters"}
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise TypeError(f"the shape of the grid is {shape!r:.60}")
    if "law" in data and not law <= set(data):
        raise ValueError(f"a law without {', '.join(sorted(law - set(data)))}")
    grid_graph([1] * len(shape), data["kinds"], data["spacing"])  # names what is no kind or spacing
    return shape


def grid_of(data: dict[str, Any]) -> Data:
    """The grid that a file or a card of weights describes."""
    return grid_graph(data["shape"], data["kinds"], data["spacing"])
