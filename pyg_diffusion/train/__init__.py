"""Training: as thin as Lightning allows. Knows no task, and needs no RDKit.

The names load on first use: recipes and what samples from weights need no Lightning, which the extra `train` installs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..deprecated import moved
from ..extras import require

if TYPE_CHECKING:
    from .module import DenoiserModule
    from .recipe import Recipe, RecipeError
    from .run import TrainResult, train

_HOMES = {
    "DenoiserModule": "module",
    "Recipe": "recipe",
    "RecipeError": "recipe",
    "TrainResult": "run",
    "train": "run",
}
__all__ = ["DenoiserModule", "Recipe", "RecipeError", "TrainResult", "train"]

_moved = moved(
    __name__,
    {
        "Config": "train.recipe:Recipe",
        "ConformerDataModule": "tasks.molecules.data",
        "FieldDataModule": "tasks.fields.data",
        "finetune_recipe": "tasks.molecules.finetune",
        "load_config": "tasks:load_recipe",
    },
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return _moved(name)
    if _HOMES[name] != "recipe":
        require("lightning", "train", "training")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
