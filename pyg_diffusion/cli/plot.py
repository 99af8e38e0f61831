"""`pyg-diffusion plot`."""

import argparse
from pathlib import Path

from .common import Output, UsageError, say


def run_plot(args: argparse.Namespace) -> int:
    import matplotlib

    matplotlib.use("Agg")  # files, with or without a display
    from ..plot import plot_evaluation, plot_fields, plot_run

    source = Path(args.source)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if bool(args.generated) != bool(args.reference):
        raise UsageError("--generated and --reference go together")
    if args.output:
        Output(args.output)  # can it be written?
    if source.is_dir():
        target = plot_run(source, Path(args.output) if args.output else source / "training.png")
    elif source.suffix in (".h5", ".hdf5"):
        target = plot_fields(source, Path(args.output) if args.output else source.with_suffix(".png"))
    else:
        target = plot_evaluation(
            source, Path(args.output) if args.output else source.with_suffix(".png"), args.generated, args.reference
        )
    say(f"{target}: written")
    return 0
