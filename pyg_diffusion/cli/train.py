"""`pyg-diffusion train` and `finetune`."""

import argparse
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
    return _train(config, args, f"train {args.config}")


def _train(config: Any, args: argparse.Namespace, again: str) -> int:
    """Run a recipe; `again` is what to say after the program's name to resume it."""
    from ..train import train

    result = train(config, args.output, resume=args.resume, progress=not args.quiet)
    if not result.main:
        return 130 if result.interrupted else 0
    say(f"{result.weights}: {result.steps} steps, {result.minutes:.1f} min, validation loss {result.val_loss:.4f}")
    if result.interrupted:
        say(f"interrupted; 'pyg-diffusion {again} -o {args.output} --resume' continues")
    return 130 if result.interrupted else 0


def run_finetune(args: argparse.Namespace) -> int:
    from ..chem.prepare import prepare
    from ..train import finetune_recipe
    from ..train.config import ConfigError

    store = Path(args.output) / "data.h5"
    try:
        config = finetune_recipe(str(store), args.level, args.weights, args.minutes, args.set)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if not (args.resume and store.is_file()):
        if (Path(args.output) / "last.ckpt").exists():
            raise UsageError(f"{args.output} already holds a run; give --resume to continue it, or another folder")
        store.parent.mkdir(parents=True, exist_ok=True)
        report = prepare(args.inputs, str(store), progress=not args.quiet, level=args.level)
        skipped = Skipped()
        for row in report.skipped:
            skipped.add(f"{row.name} ({row.file}, record {row.record})", row.reason)
        for line in report.remarks():
            say(line)
        skipped.summary(report.records - len(report.skipped), "records")
        say(f"{store}: {report.molecules} molecules, {report.conformers} conformers")
    return _train(config, args, f"finetune {' '.join(args.inputs)}")
