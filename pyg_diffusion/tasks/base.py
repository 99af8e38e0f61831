"""What a task is: a kind of data that recipes, weights and files are of."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:  # the command line asks tasks for their options, and must not wait for torch to do so
    from ..denoise import Denoiser
    from ..generate import GraphGenerator
    from ..train.datamodule import SignalDataModule
    from ..train.module import DenoiserModule
    from ..train.recipe import DataSection, Recipe
    from ..weights_io import Card


class Options(Protocol):
    """Where options are added: a parser, a group of one, or what stands for them."""

    def add_argument(self, *flags: str, **settings: Any) -> Any:
        """As `argparse.ArgumentParser.add_argument`."""


@dataclass(frozen=True)
class Command:
    """A command of `pyg-diffusion` that a task brings: its help, its options, and what it does; returns the exit status."""

    help: str
    add_arguments: Callable[[Options], None]
    run: Callable[[argparse.Namespace], int]


class Task(ABC):
    """One kind of data: how it is read, trained on, sampled, scored and drawn.

    The package finds tasks in `pyg_diffusion.tasks.TASKS`: its own, and those that other packages name in the entry point
    group `pyg_diffusion.tasks`, an instance each. The module that holds one imports nothing heavy; its methods do.

    Attributes:
        name: of the kind of data, in recipes (`data.kind`) and in cards.
        makes: what it makes, in the plural, for messages.
        networks: names in `nn.registry.NETWORKS`, the default first.
        has: attributes of its data that regularizers (`terms`) and miners (`mining`) may need.
        averages: what exact targets may average over (`posterior`); () where only the drawn signal is known.
        commands: of `pyg-diffusion` that it brings, by name.
    """

    name: ClassVar[str]
    makes: ClassVar[str]
    networks: ClassVar[tuple[str, ...]]
    has: ClassVar[tuple[str, ...]] = ()
    averages: ClassVar[tuple[str, ...]] = ()
    commands: ClassVar[Mapping[str, Command]] = {}

    def terms(self, *more: str) -> tuple[str, ...]:
        """Names of the regularizers that its data has, and those that need `more`."""
        from ..terms import terms_of

        return terms_of(*self.has, *more)

    # Training

    @property
    @abstractmethod
    def section(self) -> type[DataSection]:
        """The class of a recipe's `data`."""

    def check(self, recipe: Recipe) -> None:  # noqa: B027
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

    def check_card(self, card: Card) -> None:  # noqa: B027
        """Whether weights say what this task needs to know of them.

        Raises:
            ValueError: they do not.
        """

    @abstractmethod
    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> GraphGenerator[Any]:
        """What samples from such weights."""

    # The command line

    @abstractmethod
    def add_arguments(self, command: str, options: Options) -> None:
        """Its options of "sample", "evaluate" and "plot", beside those that all tasks have."""

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
