"""`pyg-diffusion prepare`."""

import argparse

from .common import Skipped, UsageError, say, status


def run_prepare(args: argparse.Namespace) -> int:
    from ..chem.ensembles import EnsembleOptions
    from ..chem.prepare import NothingUsable, held_out_path, prepare
    from ..chem.splits import Split

    skipped = Skipped()
    made, level = None, args.level
    if args.split_by and args.split is None:
        raise UsageError("--split-by goes with --split")
    try:
        split = None if args.split is None else Split(args.split, args.split_by or "inchikey")
    except ValueError as error:
        raise UsageError(f"--split: {error}") from error
    try:
        if args.conformers:
            made, level = EnsembleOptions(args.conformers, level or "GFN2-xTB", args.window, keep=args.keep), ""
        report = prepare(args.inputs, args.output, args.workers, not args.quiet, made, level, split)
    except NothingUsable as error:
        report = error.report
    for row in report.skipped:
        skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
    for line in report.remarks():
        say(line)
    skipped.summary(report.records - len(report.skipped), "records")
    if not report.molecules:
        say("nothing usable; no store was written")
        return 1
    say(f"{args.output}: {report.molecules} molecules, {report.conformers} conformers, {report.seconds:.1f} s")
    if split is None and held_out_path(args.output).exists():
        say(f"{held_out_path(args.output)}: left by an earlier run with --split; it may share molecules with the new store")
    if split is not None:
        held_out = f"{report.held_out_molecules} molecules, {report.held_out_conformers} conformers"
        say(f"{held_out_path(args.output)}: {held_out}, held out by {split.by}")
    return status(report.molecules > 0, bool(report.skipped), args.strict)
