"""How samples were drawn: the options of it, and the HDF5 file of what lies on a grid.

attrs   format, version, data (JSON: what a card says of the data)
K/      of sample K: t, tau [F], signal, denoised [F, N, C], and, where the modes are known, eigenvalues [M] and snr [F, M]
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import torch

from ..console import Output, UsageError
from ..data.sealed import is_damaged, sealed_file
from ..sample import Recording, Trajectory

FORMAT = "pyg_diffusion.trajectory"
VERSION = 1
ALWAYS, OF_MODES = ("t", "tau", "signal", "denoised"), ("eigenvalues", "snr")


def recording_of(args: argparse.Namespace, suffixes: Sequence[str]) -> Recording | None:
    """What `--trajectory` and `--frames` ask for.

    Args:
        suffixes: of the files that are written.

    Raises:
        UsageError: they do not go together, or it cannot be done.
    """
    if args.trajectory is None:
        if args.frames is not None:
            raise UsageError("--frames goes with --trajectory")
        return None
    if not args.trajectory.lower().endswith(tuple(suffixes)):
        raise UsageError(f"--trajectory {args.trajectory}: these are written as {' or '.join(suffixes)}")
    if args.output != "-" and Path(args.output).absolute() == Path(args.trajectory).absolute():
        raise UsageError(f"--trajectory {args.trajectory}: that is the output")
    Output(args.trajectory, args.inputs)  # can it be written?
    try:
        return Recording(args.frames)
    except ValueError as error:
        raise UsageError(f"--frames {args.frames}: {error}") from error


def write_trajectories(path: str | os.PathLike, found: Sequence[Trajectory], data: Mapping[str, Any]) -> None:
    """Write trajectories of signals of this kind of data; moved into place when whole."""
    with sealed_file(path) as file:
        file.attrs["format"], file.attrs["version"], file.attrs["data"] = FORMAT, VERSION, json.dumps(dict(data))
        for k, trajectory in enumerate(found):
            for name in (*ALWAYS, *OF_MODES):
                value = getattr(trajectory, name)
                if value is not None:
                    file[f"{k}/{name}"] = value.numpy()


def kind_in(path: Path) -> str | None:
    """The kind of data that a file holds trajectories of; None where it holds none."""
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["data"])["kind"] if file.attrs.get("format") == FORMAT else None
    except Exception:  # HDF5 in a damaged file may raise anything
        return None


def read_trajectories(path: str | os.PathLike) -> tuple[list[Trajectory], dict[str, Any]]:
    """(trajectories, what their data are).

    Raises:
        ValueError: not such a file, or a damaged one.
    """
    try:
        if is_damaged(path):
            raise ValueError("truncated, or changed since it was written")
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise ValueError(f"not of version {VERSION}")
            data = json.loads(file.attrs["data"])
            found = []
            for k in range(len(file)):
                group = file[str(k)]
                found.append(Trajectory(**{name: torch.from_numpy(group[name][...]) for name in group}))
            if not found or not all(len(one.signal) == len(one.denoised) == len(one.t) for one in found):
                raise ValueError("frames are missing")
    except Exception as error:  # as above
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a file of trajectories, or a damaged one ({reason})") from error
    return found, data
