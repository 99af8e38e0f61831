"""Moved to `train.recipe`, what it says of each kind of data to `tasks`."""

from ..deprecated import moved
from .recipe import Recipe

__getattr__ = moved(
    __name__,
    {
        "Config": "train.recipe:Recipe",
        "ConfigError": "train.recipe:RecipeError",
        "FieldsConfig": "tasks.fields.recipe:FieldsData",
        "MatricesConfig": "tasks.matrices.recipe:MatricesData",
        "MoleculesConfig": "tasks.molecules.recipe:MoleculesData",
        "OptimizerConfig": "train.recipe:Optimizer",
        "ProcessConfig": "train.recipe:Process",
        "TrainConfig": "train.recipe:Train",
        "apply_overrides": "train.recipe",
        "from_dict": "tasks:recipe_from",
        "load_config": "tasks:load_recipe",
    },
)


def exact_targets(config: Recipe) -> tuple[str, ...]:
    """`Recipe.exact_targets`."""
    return config.exact_targets
