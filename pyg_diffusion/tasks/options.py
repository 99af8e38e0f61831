"""Types of options, and the options that most tasks have of drawing."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..console import UsageError
from .base import Options

if TYPE_CHECKING:
    from ..sample import Sampler
    from ..weights_io import Card


def at_least(low: int) -> Callable[[str], int]:
    """argparse type: an integer >= low."""

    def integer(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is not >= {low}")
        return value

    return integer


def share(text: str) -> float:
    """argparse type: a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} does not lie in [0, 1]")
    return value


def positive(text: str) -> float:
    """argparse type: a number > 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not > 0")
    return value


def at_least_zero(text: str) -> float:
    """argparse type: a finite number >= 0."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not finite and >= 0")
    return value


def at_least_one(text: str) -> float:
    """argparse type: a finite number >= 1."""
    value = float(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not finite and >= 1")
    return value


def wish(text: str) -> tuple[str, float]:
    """argparse type: NAME=VALUE, the value a finite number."""
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (name and equals and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=NUMBER, such as radius_of_gyration=3.2")
    return name, number


class _Names:
    """The names of a registry, looked up when a help text shows them: that may import torch."""

    def __init__(self, registry: str):
        self.registry = registry

    def __call__(self) -> list[str]:
        module, _, name = self.registry.partition(":")
        return list(getattr(import_module(f"pyg_diffusion.{module}"), name))

    def __str__(self) -> str:
        return ", ".join(self())


class Named(argparse.Action):
    """Stores a name of a registry, "module:attribute" in the package, with options behind a colon; `%(names)s` in its help
    are those there are."""

    def __init__(self, *args: Any, registry: str, **settings: Any):
        super().__init__(*args, **settings)
        self.names = _Names(registry)

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        if values.partition(":")[0] not in self.names():
            raise argparse.ArgumentError(self, f"there is no {values!r}; there are {self.names}")
        setattr(namespace, self.dest, values)


def add_drawing(group: Options, steps: int, sampler: str) -> None:
    """Options of what draws by a sampler and can be steered.

    Args:
        steps, sampler: what it takes where nothing else is asked for.
    """
    group.add_argument(
        "--steps",
        type=at_least(2),
        default=None,
        help=f"times of every draw; {steps}, or as the recipe has it, if not given",
    )
    group.add_argument(
        "--sampler", action=Named, registry="sample.registry:SAMPLERS", default=None, metavar="NAME",
        help=f"one of %(names)s, options behind a colon as in ddim:0.5; {sampler}, or the recipe's, if not given",
    )  # fmt: skip
    group.add_argument("--eta", type=share, default=0.0, help="of the ddim sampler")
    group.add_argument(
        "--tolerance",
        type=positive,
        default=None,
        metavar="ERROR",
        help="of the ode sampler, which chooses its steps by it; 1e-3 if not given",
    )
    group.add_argument(
        "--grid",
        action=Named,
        registry="sample.registry:GRIDS",
        default=None,
        metavar="NAME",
        help="the times of a draw, one of %(names)s, options behind a colon as in tau:3.5; even in t if not given",
    )
    group.add_argument(
        "--temperature",
        type=at_least_zero,
        default=None,
        metavar="T",
        help="noise is scaled by its root, below 1: likelier; 1 if not given",
    )
    group.add_argument(
        "--compile", action="store_true", help="torch.compile the network: a minute or two once, for large jobs"
    )
    group.add_argument(
        "--ask", type=wish, action="append", default=[], metavar="NAME=VALUE", help="a property to condition on"
    )
    group.add_argument(
        "--guidance", type=float, default=1.0, metavar="W", help="how much to exaggerate what is asked; 1: not"
    )
    group.add_argument(
        "--guide", type=wish, action="append", default=[], metavar="TERM=WEIGHT",
        help="steer by a regularizer at this weight in kT, such as smoothness=0.1; a wrong name tells which there are",
    )  # fmt: skip


def add_recording(group: Options, what: str) -> None:
    """The options of what can show how it was drawn."""
    group.add_argument("--trajectory", default=None, metavar="PATH", help=f"write how each was drawn, S_t and D: {what}")
    group.add_argument(
        "--frames",
        type=int,
        default=None,
        metavar="N",
        help="frames of a trajectory, even in steps; every step if not given",
    )


def sampler_of(args: argparse.Namespace) -> "Sampler | None":
    """The sampler that the options name; None for the generator's own.

    Raises:
        UsageError: it has no such option, or one is given that belongs to another or has no effect on it.
    """
    if args.eta and args.sampler != "ddim":
        raise UsageError("--eta belongs to --sampler ddim")
    if args.tolerance is not None and args.sampler != "ode":
        raise UsageError("--tolerance belongs to --sampler ode")
    if args.sampler is None:
        return None
    from ..sample.registry import parse_grid, parse_sampler

    option = args.eta or args.tolerance
    try:
        sampler = parse_sampler(args.sampler + (f":{option}" if option else ""))
    except ValueError as error:
        raise UsageError(f"--sampler {args.sampler}: {error}") from error
    if sampler.adaptive and args.steps is not None:
        raise UsageError(f"--steps has no effect on --sampler {args.sampler}, which chooses its steps: give --tolerance")
    if args.grid is not None:
        try:
            parse_grid(args.grid, sampler)
        except ValueError as error:
            raise UsageError(f"--grid {args.grid}: {error}") from error
    return sampler


def drawing_options(args: argparse.Namespace, card: "Card") -> dict[str, Any]:
    """Arguments of a `GraphGenerator`.

    Raises:
        UsageError: the weights cannot do what is asked.
    """
    asked = dict(args.ask)
    if args.guidance != 1 and not asked:
        raise UsageError("--guidance goes with --ask")
    if unknown := sorted(set(asked) - set(card.model.get("conditions", ()))):
        raise UsageError(f"--ask {unknown[0]}: these weights were not trained with it (model.conditions in the recipe)")
    return {
        "sampler": sampler_of(args),
        "steps": args.steps,
        "device": args.device,
        "compile": args.compile,
        "grid": args.grid,
        "temperature": args.temperature,
    }


def guides(args: argparse.Namespace, known: Sequence[str]) -> Mapping[str, float]:
    """Terms to steer by.

    Raises:
        UsageError: one that there is not.
    """
    if set(dict(args.guide)) - set(known):
        raise UsageError(f"--guide takes {', '.join(known)}")
    return dict(args.guide)
