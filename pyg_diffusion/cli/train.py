"""`pyg-diffusion train` and `finetune`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from .common import Skipped, UsageError, say


def run_train(args: argparse.Namespace) -> int:
    from ..train import load_config
    from ..train.config import ConfigError

    try:
        config = load_config(args.config, args.overrides)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    return _train(config, args, ["train", args.config, *args.overrides])


def _train(config: Any, args: argparse.Namespace, again: list[str]) -> int:
    """Run a recipe; `again` are the arguments to resume it with, besides those that both commands have."""
    from ..train import train

    result = train(config, args.output, resume=args.resume, progress=not args.quiet)
    if not result.main:
        return 130 if result.interrupted else 0
    say(f"{result.weights}: {result.steps} steps, {result.minutes:.1f} min, validation loss {result.val_loss:.4f}")
    if result.interrupted:
        command = ["pyg-diffusion", *again, "-o", args.output, "--resume", *["--quiet"] * args.quiet]
        say(f"interrupted; to continue:\n{shlex.join(command)}")
    return 130 if result.interrupted else 0


def run_finetune(args: argparse.Namespace) -> int:
    from ..chem.prepare import prepare
    from ..train import finetune_recipe
    from ..train.checkpoint import LAST, PREVIOUS
    from ..train.config import ConfigError

    store = Path(args.output) / "data.h5"
    try:
        config = finetune_recipe(str(store), args.level, args.weights, args.minutes, args.set)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if not (args.resume and store.is_file()):
        if any((Path(args.output) / name).exists() for name in (LAST, PREVIOUS)):
            raise UsageError(f"{args.output} already holds a run; give --resume to continue it, or another folder")
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write {args.output}: {error.strerror or error}") from error
        report = prepare(args.inputs, str(store), progress=not args.quiet, level=args.level)
        skipped = Skipped()
        for row in report.skipped:
            skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
        for line in report.remarks():
            say(line)
        skipped.summary(report.records - len(report.skipped), "records")
        say(f"{store}: {report.molecules} molecules, {report.conformers} conformers")
    again = ["finetune", *args.inputs, "--level", args.level, "--minutes", f"{args.minutes:g}"]
    again += [] if args.weights is None else ["--weights", args.weights]
    return _train(config, args, again + [word for change in args.set for word in ("--set", change)])
