"""A recipe run from the command line, and what is said of it."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..console import say

if TYPE_CHECKING:
    from ..train.recipe import Recipe


def run_recipe(recipe: "Recipe", output: str, resume: bool, quiet: bool, again: Sequence[str]) -> int:
    """Train; returns the exit status.

    Args:
        output: the run's folder.
        again: the arguments to resume it with, besides those of its folder and of `quiet`.
    """
    from ..train import train

    result = train(recipe, output, resume=resume, progress=not quiet)
    if not result.main:
        return 130 if result.interrupted else 0
    say(f"{result.weights}: {result.steps} steps, {result.minutes:.1f} min, validation loss {result.val_loss:.4f}")
    if result.best_loss < result.val_loss:
        say(f"{result.weights.parent}:best: validation loss {result.best_loss:.4f}")
    if result.interrupted:
        command = ["pyg-diffusion", *again, "-o", output, "--resume", *["--quiet"] * quiet]
        say(f"interrupted; to continue:\n{shlex.join(command)}")
    return 130 if result.interrupted else 0
