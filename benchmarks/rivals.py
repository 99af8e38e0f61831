"""Trainings of equal time that fields and signals are compared by: changes to a recipe, and a coarse and a fine one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyg_diffusion.train import Recipe, train
from pyg_diffusion.weights_io import load_pretrained

RECIPE, DDPM, TWO, UNET = "diffusion", "plain DDPM", "two resolutions", "U-Net of diffusers"
CHANGES: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    "isotropic noise": ("process.gamma=0.0", "process.lambda0=1.0"),
    DDPM: (
        "process.gamma=0.0",
        "process.lambda0=1.0",
        "process.noise=matched",
        "process.tau_min=1.0e-4",
        "process.tau_max=10.05",
        "process.schedule=linear",
        "model.kind=eps",
        "train.time_sampling=schedule",
        "train.objectives={eps: 1.0}",
    ),
}  # of the recipe of a case
ROWS = (*CHANGES, TWO, UNET)

MakeRecipe = Callable[[float, tuple[str, ...]], Recipe]  # (minutes, overrides)


def trained(name: str, recipe: MakeRecipe, minutes: float, folder: Path, factor: int) -> tuple[Path, dict[str, Any]]:
    """Weights of one row, and what a result says of them; two resolutions share the minutes evenly.

    Args:
        recipe: of the case.
        folder: of the row, new.
        factor: of the coarser resolution.
    """
    if name == TWO:
        coarse = train(recipe(minutes / 2, (f"data.coarsen={factor}",)), folder / "coarse", progress=False)
        fine = train(recipe(minutes / 2, (f"data.coarse={folder / 'coarse'}",)), folder / "fine", progress=False)
        steps, spent, result = f"{coarse.steps} + {fine.steps}", coarse.minutes + fine.minutes, fine
    else:
        result = train(recipe(minutes, CHANGES[name]), folder, progress=False)
        steps, spent = str(result.steps), result.minutes
    net = load_pretrained(result.weights)[0].net
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return result.weights, {"steps": steps, "minutes": spent, "parameters": parameters}
