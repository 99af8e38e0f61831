"""What a recipe says of fields."""

from typing import Any, Literal

from pydantic import Field

from ...train.recipe import Counted, DataSection, Recipe, RecipeError, Seed
from ..resolution import ResolutionOptions, check_resolution


class FieldsData(ResolutionOptions, DataSection):
    """Fields of `datasets.GridFields`."""

    kind: Literal["fields"] = "fields"
    root: str = "store/fields"
    """where they are kept"""
    law: str = "matern"
    """their law (`datasets.GridFields`)"""
    shape: list[int] = Field([32, 32])
    """nodes along each axis"""
    kinds: str = "cycle"
    """of the axes: cycle or path, for all or for each"""
    spacing: float = 1.0
    """between nodes"""
    parameters: dict[str, Any] = Field({})
    """of the law; a pair [low, high] varies one"""
    seed: Seed = 0
    """of the fields"""
    num_samples: Counted = 10_000
    """how many to train on"""
    val_samples: Counted = 1_000
    """how many to validate on"""

    def essence(self) -> dict[str, Any]:
        essence = super().essence()
        del essence["root"]
        return essence


def check(recipe: Recipe) -> None:
    """Raises RecipeError where sections do not go together."""
    check_resolution(recipe)
    data = recipe.data
    assert isinstance(data, FieldsData)
    if not recipe.exact_targets:
        return
    where = f"train.exact_targets: {', '.join(recipe.exact_targets)}:"
    if "cycle" not in data.kinds:
        raise RecipeError(f"{where} there is no periodic axis; leave it [] or auto")
    if data.coarse:
        raise RecipeError(f"{where} a coarser resolution that is known tells where a field lies; leave it [] or auto")
