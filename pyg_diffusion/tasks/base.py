"""What a task is: a kind of data that recipes, weights and files are of."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # the command line asks tasks for their options, and must not wait for torch to do so
    from ..denoise import Denoiser
    from ..generate import GraphGenerator
    from ..train.datamodule import SignalDataModule
    from ..train.module import DenoiserModule
    from ..train.recipe import DataSection, Recipe
    from ..weights_io import Card


class Task(ABC):
    """One kind of data: how it is read, trained on, sampled, scored and drawn.

    The package finds tasks in `pyg_diffusion.tasks.TASKS`: its own, and those that other packages name in the entry point group
    `pyg_diffusion.tasks`, an instance each. The module that holds one imports nothing heavy; its methods do.

    Attributes:
        name: of the kind of data, in recipes (`data.kind`) and in cards.
        makes: what it makes, in the plural, for messages.
        networks: names in `nn.registry.NETWORKS`, the default first.
        terms: regularizers that it has, in training and to steer by.
        example: arguments of `pyg-diffusion sample` that would use it, for messages.
    """

    name: ClassVar[str]
    makes: ClassVar[str]
    networks: ClassVar[tuple[str, ...]]
    terms: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""

    # Training

    @property
    @abstractmethod
    def section(self) -> type[DataSection]:
        """The class of a recipe's `data`."""

    def check(self, recipe: Recipe) -> None:
        """Whether the sections of a recipe go together.

        Raises:
            RecipeError: they do not, and why.
        """

    def exact_targets(self, recipe: Recipe) -> tuple[str, ...]:
        """What the targets average over where the recipe says "auto" (`posterior`)."""
        return ()

    @abstractmethod
    def datamodule(self, recipe: Recipe) -> SignalDataModule:
        """The signals to train on."""

    def module(self, recipe: Recipe) -> type[DenoiserModule]:
        """The class that trains; another than the common one where a network has a loss of its own."""
        from ..train.module import DenoiserModule

        return DenoiserModule

    # Weights

    def check_card(self, card: Card) -> None:
        """Whether weights say what this task needs to know of them.

        Raises:
            ValueError: they do not.
        """

    @abstractmethod
    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> GraphGenerator[Any]:
        """What samples from such weights."""

    # The command line

    @abstractmethod
    def add_arguments(self, command: str, group: argparse._ArgumentGroup) -> None:
        """Its options of "sample", "evaluate" and "plot", beside those that all tasks have.

        An option is one with no default but None or argparse.SUPPRESS, so that it is known whether it was given.
        """

    @abstractmethod
    def sample(self, args: argparse.Namespace, denoiser: Denoiser, card: Card) -> int:
        """`pyg-diffusion sample` with weights of this task; returns the exit status."""

    @abstractmethod
    def evaluate(self, args: argparse.Namespace) -> int:
        """`pyg-diffusion evaluate` of a file of this task; returns the exit status."""

    @abstractmethod
    def plot(self, args: argparse.Namespace, target: Path) -> None:
        """`pyg-diffusion plot` of a file of this task."""

    @abstractmethod
    def owns(self, path: Path) -> bool:
        """Whether a file to evaluate or to plot is of this task."""
