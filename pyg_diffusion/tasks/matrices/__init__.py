"""Matrices and their inverses, found by descent of learned landscapes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import Options, Task
from ..options import add_recording, at_least

if TYPE_CHECKING:
    from ...denoise import Denoiser
    from ...train.datamodule import SignalDataModule
    from ...train.recipe import DataSection, Recipe
    from ...weights_io import Card
    from .generator import MatrixInverter

LANDSCAPES, STEPS = 10, 10
SUFFIXES = (".h5", ".hdf5")  # of trajectories


class Matrices(Task):
    """Inverses `[n², 1]` of matrices, as signals on the rook's graph of the entries."""

    name = "matrices"
    makes = "inverses"
    networks = ("matrix_energy", "matrix_mlp_energy")

    @property
    def section(self) -> type[DataSection]:
        from .recipe import MatricesData

        return MatricesData

    def datamodule(self, recipe: Recipe) -> SignalDataModule:
        from .data import MatrixDataModule
        from .recipe import MatricesData

        assert isinstance(recipe.data, MatricesData)
        return MatrixDataModule(recipe.data, recipe.train.seed)

    def check(self, recipe: Recipe) -> None:
        from ...train.recipe import RecipeError, Sample

        if recipe.sample != Sample():
            raise RecipeError("sample: inverses are found by descent; sampler, steps, grid and temperature have no effect")

    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> MatrixInverter:
        from .generator import MatrixInverter

        return MatrixInverter(denoiser, card, **options)

    def add_arguments(self, command: str, options: Options) -> None:
        if command == "sample":
            options.add_argument(
                "--landscapes", type=at_least(2), default=LANDSCAPES, metavar="K", help="times from noise to signal"
            )
            options.add_argument("--descents", type=at_least(1), default=STEPS, metavar="K", help="steps on each landscape")
            add_recording(options, "HDF5")

    def sample(self, args: argparse.Namespace, denoiser: Denoiser, card: Card) -> int:
        from .sample import sample

        return sample(args, denoiser, card)

    def evaluate(self, args: argparse.Namespace) -> int:
        from .evaluate import evaluate

        return evaluate(args)

    def plot(self, args: argparse.Namespace, target: Path) -> None:
        from .plot import plot_evaluation, plot_matrices, plot_trajectory

        source = Path(args.source)
        {".npy": plot_matrices, ".json": plot_evaluation}.get(source.suffix, plot_trajectory)(source, target)

    def owns(self, path: Path) -> bool:
        if path.suffix == ".json":
            from ...files import json_of

            return json_of(path).get("kind") == self.name
        if path.suffix in SUFFIXES:
            from ..trajectories import kind_in

            return kind_in(path) == self.name
        return path.suffix == ".npy"


TASK = Matrices()
