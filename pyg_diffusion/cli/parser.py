"""The commands of `pyg-diffusion` and their options: those of all tasks, and of each task its own.

A command with options of tasks is parsed twice: once with the options of all, which tells the files and weights, and so the
task; then with those of that task alone. What is another task's is refused, and told whose it is.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .. import __version__
from ..console import UsageError
from ..tasks import TASKS, Options, Task, default_task, owner
from ..tasks.options import at_least, positive
from ..weights_path import WeightsError, weights_path

DESCRIPTION = "Graph-Laplacian diffusion: molecules in, conformers out; and fields, and whatever else there is a task for."


def add_train(p: Options) -> None:
    """Of `train`."""
    p.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="the recipe")
    p.add_argument("overrides", nargs="*", metavar="section.key=value", help="change the recipe, e.g. train.max_minutes=30")
    p.add_argument("-o", "--output", metavar="DIR", help="folder for weights, logs and resume state")
    p.add_argument("--resume", action="store_true", help="continue the run in DIR")
    p.add_argument("--schema", action="store_true", help="print the JSON schema of recipes, for editors, and end")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def add_sample(p: Options) -> None:
    """Of `sample`, whatever the weights make."""
    p.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="SMILES, InChI, or files of molecules, - reads stdin (docs/formats.md); .npy of matrices; a file of graphs for "
        "signals; fields take none",
    )
    p.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="OUT",
        help="SDF (.gz compresses), .xyz, .pdb, .csv, .parquet, ...; - is stdout; .h5 of signals, .npy of inverses",
    )
    p.add_argument("--seed", type=at_least(0), default=0, help="same seed, same samples")
    p.add_argument(
        "--weights", default=None, metavar="FILE", help="weights, run folder, or RUN:best; the shipped ones if not given"
    )
    p.add_argument("--report", default=None, metavar="REPORT.json", help="write counts and seconds, for evaluate --report")
    p.add_argument("--device", choices=["cpu", "cuda"], default=None, help="cuda where there is one, if not given")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def add_evaluate(p: Options) -> None:
    """Of `evaluate`, whatever the file holds."""
    p.add_argument("generated", metavar="GENERATED", help="as written by sample; - reads stdin")
    p.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        help="conformers or fields to compare with, or the matrices; fields of a known law need none: it is drawn from",
    )
    p.add_argument("-o", "--output", default=None, metavar="RESULT.json", help="write every figure as JSON")
    p.add_argument("--seed", type=at_least(0), default=0, help="of everything that is drawn for the comparison")


def add_plot(p: Options) -> None:
    """Of `plot`, whatever the source is."""
    p.add_argument(
        "source",
        metavar="SOURCE",
        help="a run's folder, JSON of evaluate, a trajectory, or a file of fields or matrices",
    )
    p.add_argument(
        "-o",
        "--output",
        default=None,
        metavar="PICTURE.png",
        help="beside the source if not given; .gif animates a trajectory",
    )


def add_view(p: Options) -> None:
    """Of `view`."""
    p.add_argument("inputs", nargs="+", metavar="FILE", help="conformers, of any format that is read; - reads stdin")
    p.add_argument("-o", "--output", required=True, metavar="PAGE.html", help="the page to write; - is stdout")
    p.add_argument("--most", type=at_least(1), default=100, metavar="N", help="conformers of a molecule to show at most")
    p.add_argument("--title", metavar="TEXT", help="of the page; the files' names if not given")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--strict", action="store_true", help="exit 1 if any record was skipped")


def add_serve(p: Options) -> None:
    """Of `serve`."""
    p.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in")
    p.add_argument("--port", type=at_least(0), default=8000, help="0 takes one that is free")
    p.add_argument(
        "--weights", default=None, metavar="FILE", help="weights, run folder, or RUN:best; the shipped ones if not given"
    )
    p.add_argument("--device", choices=["cpu", "cuda"], default=None, help="cuda where there is one, if not given")
    p.add_argument("--body-mb", type=positive, default=2.0, metavar="MB", help="size of a request")
    p.add_argument("--molecules", type=at_least(1), default=100, help="of a request")
    p.add_argument("--atoms", type=at_least(1), default=200, help="of a molecule, with hydrogens")
    p.add_argument("--conformers", type=at_least(1), default=1000, help="of a request")
    p.add_argument("--queue", type=at_least(1), default=64, help="requests that may wait")
    p.add_argument("--seconds", type=positive, default=300.0, help="that a request may take")


# command -> its help, the options that all tasks have, and whether tasks have options of their own
COMMON: dict[str, tuple[str, Callable[[Options], None], bool]] = {
    "train": ("Train a model by a recipe: of conformers from a prepared store, of fields, of matrices.", add_train, False),
    "sample": ("Generate conformers of molecules; with weights of fields, fields; of matrices, inverses.", add_sample, True),
    "evaluate": ("Score generated conformers, fields or inverses against reference ones.", add_evaluate, True),
    "plot": (
        "Draw a training run, an evaluation (of conformers with overlays), a trajectory, fields or matrices.",
        add_plot,
        True,
    ),
    "view": ("Write a page to look at conformers in a browser, which needs nothing else and no network.", add_view, False),
    "serve": ("Answer requests for conformers over HTTP, with a page to draw molecules.", add_serve, False),
}


class _Offered:
    """Takes a task's options into a group of a parser of all tasks: they are left out where not given, and where two tasks
    have an option of one name that of the first stays."""

    def __init__(self, parser: argparse.ArgumentParser, task: Task, owners: dict[str, list[Task]], for_help: bool):
        self.group = parser.add_argument_group(f"options of {task.name}")
        self.task, self.owners, self.for_help = task, owners, for_help
        self.shared: list[str] = []

    def add_argument(self, *flags: str, **settings: Any) -> None:
        if any(flag in self.owners for flag in flags):
            self.shared.append(flags[-1])
            self.group.description = f"and, as above, {', '.join(self.shared)}"
        else:
            self.group.add_argument(*flags, **settings if self.for_help else settings | {"default": argparse.SUPPRESS})
        for flag in flags:
            self.owners.setdefault(flag, []).append(self.task)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults where they tell something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = isinstance(action.default, int | float | str) and action.default not in (False, "", argparse.SUPPRESS)
        return super()._get_help_string(action) if plain else action.help


class _Argparse(argparse.ArgumentParser):
    """Says in one sentence what is wrong, without the hundred options that there are."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help says what there is)\n")


class Parser:
    """The command line.

    Args:
        for_help: show the defaults of all tasks' options; parsing, they would hide which were given.
    """

    def __init__(self, for_help: bool = False):
        self.parser = _Argparse(prog="pyg-diffusion", description=DESCRIPTION)
        self.parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
        self._commands = self.parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        self.owners: dict[str, dict[str, list[Task]]] = {}
        for name, (text, add, of_tasks) in COMMON.items():
            p = self.command(name, text)
            add(p)
            self.owners[name] = {}
            for task in TASKS.values() if of_tasks else ():
                task.add_arguments(name, _Offered(p, task, self.owners[name], for_help))
        for task in TASKS.values():
            for name, command in task.commands.items():
                command.add_arguments(self.command(name, command.help))

    def command(self, name: str, text: str) -> argparse.ArgumentParser:
        """A command's own parser."""
        p = self._commands.add_parser(name, help=text, description=text, formatter_class=_Help)
        p.add_argument("--debug", action="store_true", help="show where an error comes from")
        return p


FREE = {"train": "overrides", "sample": "inputs", "view": "inputs"}  # positional arguments that may stand among the options


def _parse_with(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse, with free arguments allowed before, between and after the options (argparse alone drops the late ones)."""
    args, rest = parser.parse_known_args(argv)
    if rest:
        free = FREE.get(args.command)
        if free is None or any(r.startswith("-") and r != "-" for r in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        setattr(args, free, [*getattr(args, free), *rest])
    return args


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse. Of the result, `task` is the task that the command is about, None where it is about none, and `given` are the
    options of the task that were given.

    Raises:
        SystemExit: wrong usage, which argparse tells, or --help.
        UsageError: an option of another task.
    """
    every = Parser(for_help="-h" in argv or "--help" in argv)
    args = _parse_with(every.parser, argv)
    if args.command not in COMMON or not COMMON[args.command][2]:
        args.task = None
        return args
    task = _task_of(args)
    given = {flag: tasks for flag, tasks in every.owners[args.command].items() if hasattr(args, _dest(flag))}
    for flag, tasks in given.items():
        if task not in tasks:
            raise UsageError(_refusal(flag, args.command, tasks, task))
    own = _Argparse(prog=f"pyg-diffusion {args.command}")
    own.add_argument("command")
    own.add_argument("--debug", action="store_true")
    COMMON[args.command][1](own)
    task.add_arguments(args.command, own)
    args = _parse_with(own, argv)
    args.task, args.given = task, list(given)
    if args.command == "sample":
        args.inputs = args.inputs or ["-"]
    return args


def _dest(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _refusal(flag: str, command: str, owners: list[Task], task: Task) -> str:
    others = " or ".join(other.makes for other in owners)
    here = {"sample": "these weights make", "evaluate": "this file holds", "plot": "this is of"}[command]
    what = {"sample": "--weights that make", "evaluate": "a file of", "plot": "a file of"}[command]
    return f"{flag} is for {others} (pyg-diffusion {command} with {what} {others}), and {here} {task.makes}"


def _task_of(args: argparse.Namespace) -> Task:
    """The task of the weights, or of the file."""
    if args.command == "sample":
        return default_task() if args.weights is None else _task_of_weights(args.weights)
    return owner(args.generated if args.command == "evaluate" else args.source)


def _task_of_weights(weights: str) -> Task:
    """By the card alone, since that needs no torch; whatever is wrong with it is said when the weights are loaded."""
    try:
        card = weights_path(weights).with_suffix(".json")
    except WeightsError:
        return default_task()
    for candidate in (card, card.with_suffix(".json.new")):
        try:
            kind = json.loads(candidate.read_text(encoding="utf-8"))["data"]["kind"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(kind, str) and kind in TASKS:
            return TASKS[kind]
    return default_task()
