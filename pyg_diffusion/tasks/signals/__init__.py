"""Signals of your own, on one graph or on many."""

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
    from .generator import GraphSignalGenerator


class Signals(Task):
    """Signals `[N, C]` on graphs, of a file or of any PyG data set."""

    name = "signals"
    makes = "signals"
    networks = ("graph", "eps", "score", "mlp", "energy")

    @property
    def section(self) -> type[DataSection]:
        from .recipe import SignalsData

        return SignalsData

    def check(self, recipe: Recipe) -> None:
        from .recipe import check

        check(recipe)

    def datamodule(self, recipe: Recipe) -> SignalDataModule:
        from .data import SignalsDataModule
        from .recipe import SignalsData

        assert isinstance(recipe.data, SignalsData)
        return SignalsDataModule(recipe.data, recipe.train.seed, recipe.model.conditions)

    def check_card(self, card: Card) -> None:
        if not {"channels", "unit", "classes", "arrays"} <= set(card.data):
            raise ValueError("the data of signals must have channels, unit, classes and arrays")

    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> GraphSignalGenerator:
        from .generator import GraphSignalGenerator

        return GraphSignalGenerator(denoiser, card, **options)

    def add_arguments(self, command: str, options: Options) -> None:
        if command == "sample":
            options.add_argument(
                "-n",
                type=at_least(1),
                default=10,
                metavar="N",
                help="signals, of each input where there are; 10 if not given",
            )
            add_drawing(options, 50, "exponential2")
            options.add_argument(
                "--keep", metavar="KNOWN", help="known values, NaN where free: .npy of one signal, or a file of signals"
            )
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
        from .plot import plot_signals, plot_trajectory

        source = Path(args.source)
        if source.suffix == ".json":
            plot_evaluation(source, target, "signals")
        else:
            (plot_trajectory if kind_in(source) else plot_signals)(source, target)

    def owns(self, path: Path) -> bool:
        if path.suffix == ".json":
            from ...files import json_of

            return json_of(path).get("kind") == self.name
        from ..trajectories import kind_in

        if kind_in(path) is not None:
            return kind_in(path) == self.name
        from ...data.signal_file import holds_signals

        return holds_signals(path)


TASK = Signals()
