"""pyg-diffusion prepare | train | finetune | sample | evaluate | plot.

Exit status: 0 when anything was produced, 1 when nothing was (or, with --strict, when a record was skipped), 2 for wrong
usage. Results go to files or stdout; messages and progress to stderr.
"""

import argparse
import io
import sys
from collections.abc import Callable
from functools import partial

from .common import UsageError, say
from .evaluate import run_evaluate
from .parser import build_parser
from .plot import run_plot
from .prepare import run_prepare
from .sample import run_sample
from .train import run_finetune, run_train


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse, with free arguments allowed before, between and after the options (argparse alone drops the late ones)."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    free = {"train": "overrides", "sample": "inputs"}.get(args.command)
    if rest:
        if free is None or any(r.startswith("-") and r != "-" for r in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        setattr(args, free, [*getattr(args, free), *rest])
    if args.command == "sample":
        args.inputs = args.inputs or ["-"]
    return args


def _quietly(run: Callable[[], int]) -> int:
    """Runs it with RDKit's messages counted, and told at the end, each kind once."""
    try:
        from ..chem.rdkit_log import rdkit_counts
    except ImportError:  # fields and matrices need no RDKit
        return run()
    with rdkit_counts() as messages:
        code = run()
    for text, count in messages.items():
        say(f"RDKit: {text}" + (f" ({count} times)" if count > 1 else ""))
    return code


def main(argv: list[str] | None = None) -> int:
    """The `pyg-diffusion` program."""
    args = parse(argv)
    run: dict[str, Callable[[argparse.Namespace], int]] = {
        "prepare": run_prepare,
        "train": run_train,
        "finetune": run_finetune,
        "sample": run_sample,
        "evaluate": run_evaluate,
        "plot": run_plot,
    }
    if isinstance(sys.stdout, io.TextIOWrapper):  # names go out as they came in, whatever the locale
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        return _quietly(partial(run[args.command], args))
    except UsageError as error:
        say(f"pyg-diffusion {args.command}: {error}")
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (ValueError, OSError, RuntimeError) as error:  # the package's own errors say what is wrong and what to do
        say(f"pyg-diffusion {args.command}: {error}")
        return 1
