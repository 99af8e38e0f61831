"""`pyg-diffusion plot`: a run's curves, or a file of a task."""

import argparse
from pathlib import Path

from ..console import Output, UsageError, say
from ..extras import require


def run(args: argparse.Namespace) -> int:
    """Draws; returns the exit status."""
    require("matplotlib", "plot", "a picture")
    import matplotlib

    matplotlib.use("Agg")  # files, with or without a display
    source = Path(args.source)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if args.output:
        Output(args.output)  # can it be written?
    if source.is_dir():
        if args.given:
            raise UsageError(f"{', '.join(args.given)}: for an evaluation, and {source} is a run's folder")
        from ..plot import plot_run

        target = Path(args.output) if args.output else source / "training.png"
        plot_run(source, target)
    else:
        target = Path(args.output) if args.output else source.with_suffix(".png")
        args.task.plot(args, target)
    say(f"{target}: written")
    return 0
