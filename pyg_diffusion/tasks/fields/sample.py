"""`pyg-diffusion sample` with weights of fields."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from tqdm import tqdm

from ...console import Output, UsageError, say
from ...data.field_file import write_fields
from ...denoise import Denoiser
from ...terms import bind
from ...weights_io import Card
from ..options import drawing_options, guides
from ..trajectories import recording_of, write_trajectories
from . import SUFFIXES
from .generator import FieldGenerator


def sample(args: argparse.Namespace, denoiser: Denoiser, card: Card, terms: Sequence[str]) -> int:
    """Fields, as HDF5; returns the exit status."""
    if args.inputs != ["-"]:
        raise UsageError(f"these weights make fields, which take no input; got {args.inputs[0]!r}")
    if args.output == "-":
        raise UsageError("fields go to a file, -o OUT.h5")
    guiding = guides(args, terms)
    fixed = None
    if args.keep:
        try:
            fixed = np.load(args.keep, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--keep {args.keep}: not a .npy array ({error})") from error
    Output(args.output)  # can it be written?
    record = recording_of(args, SUFFIXES)
    report = Output(args.report) if args.report else None
    generator = FieldGenerator(denoiser, card, **drawing_options(args, card))
    start = time.perf_counter()
    with tqdm(desc="fields", total=args.n, disable=args.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
        x = generator.sample(
            args.n,
            args.seed,
            dict(args.ask) or None,
            args.guidance,
            partial(bind, guiding) if guiding else None,
            fixed=fixed,
            progress=bar.update,
            record=record,
        )
    seconds, spent = time.perf_counter() - start, generator.evaluations
    write_fields(args.output, x, card.data)
    if record is not None:
        write_trajectories(args.trajectory, generator.trajectories, card.data)
        say(f"{args.trajectory}: {args.n} trajectories of {len(generator.trajectories[0].t)} frames")
    if report is not None:
        with report:
            report.write(json.dumps({"fields": args.n, "seconds": seconds, "evaluations": spent}, indent=1) + "\n")
    say(f"{args.output}: {args.n} fields, {1e3 * seconds / args.n:.1f} ms and {spent} network evaluations each")
    return 0
