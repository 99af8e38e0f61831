"""`pyg-diffusion train | sample | evaluate | plot | view | serve`, and what tasks bring: prepare, finetune.

Exit status: 0 when anything was produced, 1 when nothing was (or, with --strict, when a record was skipped), 2 for wrong
usage. Results go to files or stdout; messages and progress to stderr.
"""

import argparse
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from ..console import UsageError, say
from .parser import parse


def _quietly(run: Callable[[], int]) -> int:
    """Runs it with RDKit's messages counted, and told at the end, each kind once."""
    try:
        from ..chem.rdkit_log import rdkit_counts
    except ImportError:  # not everything needs RDKit
        return run()
    with rdkit_counts() as messages:
        code = run()
    for text, count in messages.items():
        say(f"RDKit: {text}" + (f" ({count} times)" if count > 1 else ""))
    return code


def _run(args: argparse.Namespace) -> int:
    from ..tasks import TASKS
    from . import plot, sample, serve, train, view

    common = {"train": train.run, "sample": sample.run, "plot": plot.run, "view": view.run, "serve": serve.run}
    if args.command in common:
        return common[args.command](args)
    if args.task is not None:
        return args.task.evaluate(args)
    return next(task.commands[args.command] for task in TASKS.values() if args.command in task.commands).run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """The `pyg-diffusion` program."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in argv if not word.startswith("-")), "")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names go out as they came in, whatever the locale
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        return _quietly(partial(_run, parse(argv)))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (UsageError, ValueError, OSError, RuntimeError) as error:  # the package's own say what is wrong and what to do
        if "--debug" in argv:
            say(traceback.format_exc().rstrip())
        say(f"pyg-diffusion {command}: {error}")
        return 2 if isinstance(error, UsageError) else 1
