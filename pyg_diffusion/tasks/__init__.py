"""Tasks, one folder for each kind of data; another package brings one by the entry point group `pyg_diffusion.tasks`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..registry import Registry
from .base import Command, Options, Task

if TYPE_CHECKING:
    from ..train.recipe import Recipe
    from ..weights_io import Card

TASKS: Registry[Task] = Registry(
    "tasks",
    {
        "molecules": "pyg_diffusion.tasks.molecules:TASK",
        "fields": "pyg_diffusion.tasks.fields:TASK",
        "matrices": "pyg_diffusion.tasks.matrices:TASK",
        "signals": "pyg_diffusion.tasks.signals:TASK",
    },
)


def default_task() -> Task:
    """The task of the package's own weights, and of files that no other claims."""
    return TASKS[next(iter(TASKS))]


def task_of(card: "Card") -> Task:
    """The task that weights are of.

    Raises:
        WeightsError: it is not installed, or the card lacks what the task needs to know.
    """
    from ..weights_io import WeightsError

    kind = str(card.data.get("kind"))
    if kind not in TASKS:
        raise WeightsError(f"these weights make {kind!r}, of which nothing is known here; there are {', '.join(TASKS)}")
    try:
        TASKS[kind].check_card(card)
    except ValueError as error:
        raise WeightsError(f"a damaged card, or one of another program: {error}") from error
    return TASKS[kind]


def owner(path: str | Path) -> Task:
    """The task that a file to evaluate or to plot is of."""
    return next((task for task in TASKS.values() if task.owns(Path(path))), default_task())


def recipe_from(values: dict[str, Any]) -> "Recipe":
    """A recipe of any task from nested dictionaries.

    Raises:
        RecipeError: naming the key or value that is wrong.
    """
    from ..train import recipe

    return recipe.recipe_from(values, TASKS)


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> "Recipe":
    """Read a YAML recipe of any task; every override is `section.key=value`, the value in YAML.

    Raises:
        RecipeError: naming the file, key or value that is wrong.
    """
    from ..train.recipe import read_recipe

    return read_recipe(path, overrides or [], TASKS)


__all__ = ["TASKS", "Command", "Options", "Task", "default_task", "load_recipe", "owner", "recipe_from", "task_of"]
