"""The recipe that continues given weights on a user's own conformers."""

from typing import Any

from ...nn.registry import NETWORKS
from ...train.recipe import Recipe, apply_overrides
from ...weights_io import SHIPPED, load_pretrained
from .. import recipe_from
from .laplacian import LaplacianOptions


def finetune_recipe(
    store: str, level: str, weights: str | None = None, minutes: float = 10.0, overrides: list[str] | None = None
) -> Recipe:
    """Model and process of the weights, gentle rates, and the store's level of theory as the one sampled by default.

    Args:
        store: prepared with `level`, which a model that tells levels apart learns beside those it knows.
        weights: a file or a run's folder; the package's own if None.
        minutes: of training.
        overrides: `section.key=value`.

    Raises:
        WeightsError: weights that cannot be used.
        RecipeError: they make no molecules, or an override is wrong.
    """
    source = weights or SHIPPED
    _, card = load_pretrained(source)
    kind = NETWORKS[card.model.get("kind", next(iter(NETWORKS)))]
    model = {name: value for name, value in card.model.items() if name not in kind.facts}
    if model.get("levels"):
        model["levels"] = [level, *(name for name in model["levels"] if name != level)]
    values: dict[str, Any] = {
        "data": {
            "kind": "molecules",
            "store": [store],
            "val_fraction": 0.1,
            "hydrogens": card.data.get("hydrogens", "first"),
            **{name: card.data[name] for name in LaplacianOptions.model_fields if name in card.data},
        },
        "process": {k: v for k, v in card.process.items() if k != "knots"},
        "model": model,
        "optimizer": {"lr": 3e-4, "muon_lr": 3e-3, "warmup": 20, "ema": 0.99},
        "train": {"init_from": source, "max_minutes": minutes, "val_every": 100},
    }
    return recipe_from(apply_overrides(values, overrides or []))
