"""Fields on grids, of a law that is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import Options, Task
from ..options import add_drawing, add_recording, at_least

if TYPE_CHECKING:
    from ...denoise import Denoiser
    from ...train.datamodule import SignalDataModule
    from ...train.recipe import DataSection, Recipe
    from ...weights_io import Card
    from .generator import FieldGenerator

SUFFIXES = (".h5", ".hdf5")


class Fields(Task):
    """Signals `[N, C]` on a grid, of one of the laws of `datasets.GridFields`."""

    name = "fields"
    makes = "fields"
    networks = ("graph", "eps", "score", "mlp", "energy")
    averages = ("translations",)

    @property
    def section(self) -> type[DataSection]:
        from .recipe import FieldsData

        return FieldsData

    def check(self, recipe: Recipe) -> None:
        from .recipe import check

        check(recipe)

    def datamodule(self, recipe: Recipe) -> SignalDataModule:
        from .data import FieldDataModule
        from .recipe import FieldsData

        assert isinstance(recipe.data, FieldsData)
        return FieldDataModule(recipe.data, recipe.train.seed, recipe.model.conditions, recipe.exact_targets)

    def check_card(self, card: Card) -> None:
        if not {"shape", "kinds", "spacing", "channels"} <= set(card.data):
            raise ValueError("the data of fields must have shape, kinds, spacing and channels")

    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> FieldGenerator:
        from .generator import FieldGenerator

        return FieldGenerator(denoiser, card, **options)

    def add_arguments(self, command: str, options: Options) -> None:
        if command == "sample":
            options.add_argument("-n", type=at_least(1), default=10, metavar="N", help="fields, 10 if not given")
            add_drawing(options, 50, "exponential2")
            options.add_argument("--keep", metavar="FIELD.npy", help="known values, NaN where free")
            add_recording(options, "HDF5")
        if command == "evaluate":
            options.add_argument("--baselines", action="store_true", help="score simple generators beside it")

    def sample(self, args: argparse.Namespace, denoiser: Denoiser, card: Card) -> int:
        from .sample import sample

        return sample(args, denoiser, card, self.terms())

    def evaluate(self, args: argparse.Namespace) -> int:
        from .evaluate import evaluate

        return evaluate(args)

    def plot(self, args: argparse.Namespace, target: Path) -> None:
        from ..scores_plot import plot_evaluation
        from ..trajectories import kind_in
        from .plot import plot_fields, plot_trajectory

        source = Path(args.source)
        if source.suffix not in SUFFIXES:
            plot_evaluation(source, target, "fields")
        else:
            (plot_trajectory if kind_in(source) else plot_fields)(source, target)

    def owns(self, path: Path) -> bool:
        if path.suffix == ".json":
            from ...files import json_of

            return json_of(path).get("kind") == self.name
        if path.suffix not in SUFFIXES:
            return False
        from ...data.signal_file import holds_signals
        from ..trajectories import kind_in

        return kind_in(path) in (None, self.name) and not holds_signals(path)


TASK = Fields()
