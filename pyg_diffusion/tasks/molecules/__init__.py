"""Molecules: conformers of what a SMILES or an SDF file describes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...console import UsageError
from ..base import Command, Options, Task
from . import options

if TYPE_CHECKING:
    from ...denoise import Denoiser
    from ...train.datamodule import SignalDataModule
    from ...train.module import DenoiserModule
    from ...train.recipe import DataSection, Recipe
    from ...weights_io import Card
    from .generator import ConformerGenerator

# As `chem.formats` has them; this module is read before RDKit is.
SUFFIXES = (
    ".sdf", ".sd", ".mol", ".xyz", ".extxyz", ".pdb", ".ent", ".mol2", ".smi", ".smiles", ".cxsmiles", ".inchi", ".csv",
    ".tsv", ".tab", ".parquet",
)  # fmt: skip


def _prepare(args: argparse.Namespace) -> int:
    from .commands import prepare
    from .frames import prepare_frames, trajectories

    return prepare_frames(args) if trajectories(args) else prepare(args)


def _finetune(args: argparse.Namespace) -> int:
    from .commands import finetune

    return finetune(args)


class Molecules(Task):
    """Conformers: positions `[N, 3]` in Å of the atoms of a molecular graph."""

    name = "molecules"
    makes = "conformers"
    networks = ("conformer", "hydrogen", "graph", "eps", "score", "mlp", "energy")
    has = ("x", "z", "edge_index", "edge_attr", "minima_pos")
    averages = ("rotations", "mirror", "labels", "ensemble")
    commands: ClassVar[Mapping[str, Command]] = {
        "prepare": Command(
            "Turn SDF files or tables of SMILES (packed or not) into one HDF5 store; resumes where it was interrupted.",
            options.add_prepare,
            _prepare,
        ),
        "finetune": Command(
            "Continue the shipped weights, or others, on the conformers of your own SDF files.",
            options.add_finetune,
            _finetune,
        ),
    }

    @property
    def section(self) -> type[DataSection]:
        from .recipe import MoleculesData

        return MoleculesData

    def check(self, recipe: Recipe) -> None:
        from .recipe import check

        check(recipe)

    def exact_targets(self, recipe: Recipe) -> tuple[str, ...]:
        from .recipe import exact_targets

        return exact_targets(recipe)

    def datamodule(self, recipe: Recipe) -> SignalDataModule:
        from .data import datamodule

        return datamodule(recipe)

    def module(self, recipe: Recipe) -> type[DenoiserModule]:
        from .data import module

        return module(recipe)

    def check_card(self, card: Card) -> None:
        from .laplacian import MoleculeLaplacian

        MoleculeLaplacian.of(card.data)

    def generator(self, denoiser: Denoiser, card: Card, **options: Any) -> ConformerGenerator:
        from .generator import ConformerGenerator

        return ConformerGenerator(denoiser, card, **options)

    def add_arguments(self, command: str, options_: Options) -> None:
        {"sample": options.add_sample, "evaluate": options.add_evaluate, "plot": options.add_plot}[command](options_)

    def sample(self, args: argparse.Namespace, denoiser: Denoiser, card: Card) -> int:
        from .commands import sample

        return sample(args, denoiser, card, self.terms())

    def evaluate(self, args: argparse.Namespace) -> int:
        from .commands import evaluate

        return evaluate(args)

    def plot(self, args: argparse.Namespace, target: Path) -> None:
        from .plot import plot_evaluation

        if args.source.lower().endswith((".sdf", ".xyz")):
            from .trajectory_plot import plot_trajectory

            if args.generated or args.reference:
                raise UsageError("--generated and --reference are for an evaluation")
            plot_trajectory(Path(args.source), target)
            return
        if bool(args.generated) != bool(args.reference):
            raise UsageError("--generated and --reference go together")
        plot_evaluation(Path(args.source), target, args.generated, args.reference)

    def owns(self, path: Path) -> bool:
        name = path.name.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")
        return name.endswith(SUFFIXES)


TASK = Molecules()
