"""Training: as thin as Lightning allows. Knows no task, and needs no RDKit."""

from ..deprecated import moved
from .module import DenoiserModule
from .recipe import Recipe, RecipeError
from .run import TrainResult, train

__all__ = ["DenoiserModule", "Recipe", "RecipeError", "TrainResult", "train"]

__getattr__ = moved(
    __name__,
    {
        "Config": "train.recipe:Recipe",
        "ConformerDataModule": "tasks.molecules.data",
        "FieldDataModule": "tasks.fields.data",
        "finetune_recipe": "tasks.molecules.finetune",
        "load_config": "tasks:load_recipe",
    },
)
