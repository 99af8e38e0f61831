"""`pyg-diffusion sample` of what a `SignalGenerator` makes: drawn, written, reported."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ..console import Output, UsageError, say
from ..terms import bind
from .options import guides
from .signal_generator import SignalGenerator
from .trajectories import recording_of, write_trajectories

SUFFIXES = (".h5", ".hdf5")
T = TypeVar("T")


def sample_to_file(
    args: argparse.Namespace,
    make: Callable[[], SignalGenerator],
    count: int,
    terms: Sequence[str],
    draw: Callable[..., T],
    write: Callable[[T], None],
    facts: Mapping[str, Any],
) -> int:
    """Signals, as HDF5; returns the exit status.

    Args:
        make: the generator.
        count: how many are drawn.
        terms: that `--guide` takes.
        draw: called with the generator, and with `energy`, `progress` and `record` as keywords.
        write: what was drawn, to the output.
        facts: of the data, for trajectories.

    Raises:
        UsageError: options that cannot be kept.
    """
    if args.output == "-":
        raise UsageError(f"{args.task.makes} go to a file, -o OUT.h5")
    guiding = guides(args, terms)
    Output(args.output)  # can it be written?
    record = recording_of(args, SUFFIXES)
    report = Output(args.report) if args.report else None
    generator, what = make(), args.task.makes
    start = time.perf_counter()
    energy = partial(bind, guiding) if guiding else None
    with tqdm(desc=what, total=count, disable=args.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
        made = draw(generator, energy=energy, progress=bar.update, record=record)
    seconds, spent = time.perf_counter() - start, generator.evaluations
    write(made)
    if record is not None:
        write_trajectories(args.trajectory, generator.trajectories, facts)
        say(f"{args.trajectory}: {count} trajectories of {len(generator.trajectories[0].t)} frames")
    if report is not None:
        with report:
            report.write(json.dumps({what: count, "seconds": seconds, "evaluations": spent}, indent=1) + "\n")
    say(f"{args.output}: {count} {what}, {1e3 * seconds / count:.1f} ms and {spent} network evaluations each")
    return 0


def array_of(path: str) -> Any:
    """A `.npy` file of known values.

    Raises:
        UsageError: it is none.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--keep {path}: not a .npy array ({error})") from error
