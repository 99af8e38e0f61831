"""`pyg-diffusion sample` with weights of matrices."""

import argparse
import json
import sys
import time

import numpy as np
from tqdm import tqdm

from ...console import Output, UsageError, say
from ...denoise import Denoiser
from ...weights_io import Card
from ..trajectories import recording_of, write_trajectories
from . import SUFFIXES
from .files import read_matrices
from .generator import MatrixInverter


def sample(args: argparse.Namespace, denoiser: Denoiser, card: Card) -> int:
    """Inverses of the matrices of a file, as `.npy`; returns the exit status."""
    if len(args.inputs) != 1 or not args.inputs[0].endswith(".npy") or args.output == "-":
        raise UsageError("these weights invert matrices: give one A.npy [n, n] or [S, n, n], and -o INVERSES.npy")
    matrices = read_matrices(args.inputs[0])
    single = np.load(args.inputs[0], allow_pickle=False, mmap_mode="r").ndim == 2
    Output(args.output, args.inputs)  # can it be written?
    record = recording_of(args, SUFFIXES)
    report = Output(args.report) if args.report else None
    inverter = MatrixInverter(denoiser, card, args.landscapes, args.descents, device=args.device)
    start = time.perf_counter()
    with tqdm(desc="matrices", total=len(matrices), disable=args.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
        out = inverter.invert(matrices, args.seed, bar.update, record).numpy()
    seconds, spent = time.perf_counter() - start, inverter.evaluations
    with open(args.output, "wb") as stream:
        np.save(stream, out[0] if single else out)
    if record is not None:
        write_trajectories(args.trajectory, inverter.trajectories, card.data)
        say(f"{args.trajectory}: {len(matrices)} trajectories of {len(inverter.trajectories[0].t)} frames")
    if report is not None:
        with report:
            text = {"matrices": len(matrices), "seconds": seconds, "evaluations": spent}
            report.write(json.dumps(text, indent=1) + "\n")
    residual = np.abs(matrices @ out - np.eye(out.shape[-1])).max((-2, -1))
    each = f"{1e3 * seconds / len(matrices):.1f} ms and {spent} network evaluations each"
    say(f"{args.output}: {len(matrices)} inverses, {each}")
    say(f"{args.output}: largest entry of |A Y - I|: median {np.median(residual):.2g}, largest {residual.max():.2g}")
    return 0
