"""Signals of one's own: digits on a grid and a Gaussian field on 2,000 sensors, against held-out signals.

    python benchmarks/signals.py --minutes 60          # five trainings of digits, four of sensors, an hour of a core each
    python benchmarks/signals.py --quick -o quick.json # some steps of small networks on few nodes: does it run?

Rows: the model of configs/signals_*.yaml; for as many minutes of a core the same network under isotropic noise (γ = 0), as
plain DDPM, in two resolutions, and on grids a U-Net of diffusers of about as many parameters, where that is installed; the
Gaussian prior, weights of the recipe that were never trained; and the floor, a second held-out set.
"""

import argparse
import json
import resource
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from machine import core_time, machine
from rivals import RECIPE, ROWS, UNET, trained
from torch import Tensor
from unet import UNet

from pyg_diffusion.metrics.classes import Judge, frechet_distance
from pyg_diffusion.metrics.field_measures import compare_fields
from pyg_diffusion.metrics.fields import nearest_mse
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.tasks.signals.data import SignalsDataModule
from pyg_diffusion.tasks.signals.evaluate import operator_of
from pyg_diffusion.tasks.signals.generator import GraphSignalGenerator
from pyg_diffusion.tasks.signals.plot import draw_signal
from pyg_diffusion.tasks.signals.source import parts_of
from pyg_diffusion.train import Recipe
from pyg_diffusion.weights_io import Card, build_denoiser

HERE = Path(__file__).parent
CASES = ("digits", "sensors")
FLOOR = "held out"
FACTORS = {"digits": 2, "sensors": 4}  # of the coarser resolution
QUICK = {
    "digits": ("model.width=16", "model.depth=1"),
    "sensors": (
        "model.width=8",
        "model.depth=1",
        "data.arguments={root: store/sensors, num_nodes: 60, num_samples: 100}",
    ),
}
SHOWN = 8  # signals of a row of the picture


def recipe_of(case: str, minutes: float, quick: bool, more: tuple[str, ...] = ()) -> Recipe:
    """The recipe of configs/, for so many minutes."""
    small = (*QUICK[case], "train.max_steps=5", "train.val_every=5", "train.max_minutes=0") if quick else ()
    length = () if quick else (f"train.max_minutes={minutes}",)
    recipe = load_recipe(HERE.parent / "configs" / f"signals_{case}.yaml", [*length, *small, *more])
    assert isinstance(recipe, Recipe)
    return recipe


def untrained(recipe: Recipe) -> GraphSignalGenerator:
    """The best linear denoiser under the fitted spectrum: it draws from the Gaussian prior."""
    data = recipe.task.datamodule(recipe)
    assert isinstance(data, SignalsDataModule)
    model = recipe.to_dict()["model"] | data.model_facts()
    card = Card(process=recipe.process.facts(), model=model, bf16=False, centered=False, **data.card_facts())
    return GraphSignalGenerator(build_denoiser(card, data.spectrum()), card, device="cpu")


class Scored:
    """Signals of a case, and what generated ones are measured by."""

    def __init__(self, recipe: Recipe):
        data = recipe.data.model_dump()
        self.names = recipe.model.conditions
        self.parts = parts_of(data | {"conditions": self.names})
        self.graph = self.parts.test.graphs[0]
        self.operator = operator_of(self.graph)
        self.train, self.truth = self.parts.train.stacked(), self.parts.test.stacked()
        self.asked = [{name: float(self.parts.test.scalars[name][k]) for name in self.names} for k in range(len(self.truth))]
        self.judge = Judge(self.train, self.parts.train.scalars[self.names[0]]) if self.names else None

    def draw(self, generator: GraphSignalGenerator) -> tuple[Tensor, float]:
        """As many as there are held out, asked what these are; and the seconds that one takes."""
        start = time.perf_counter()
        made = generator.sample(len(self.truth), condition=self.asked if self.names else None)
        return made, (time.perf_counter() - start) / len(made)

    def score(self, made: Tensor, classes: Tensor | None) -> dict[str, float]:
        """Every measure against the held-out signals."""
        row = compare_fields(made, self.truth[: len(made)], self.operator)
        row["nearest_training"] = nearest_mse(made, self.train)
        if self.judge is not None and classes is not None:
            row["agreement"] = self.judge.agreement(made, classes)
            row["frechet"] = frechet_distance(self.judge.features(made), self.judge.features(self.truth))
        return row


def unet(scored: Scored, parameters: int, minutes: float, quick: bool) -> tuple[Tensor, dict[str, Any]]:
    """Signals of a U-Net of about so many parameters, asked what the held-out ones are; and what it took."""
    train, test = (part.scalars[scored.names[0]].long() if scored.names else None for part in scored.parts[::2])
    model = UNet(scored.train, parameters, minutes, train, 5 if quick else None)
    start = time.perf_counter()
    made = model.sample(len(scored.truth), test, **({"steps": 5} if quick else {}))
    return made, {"seconds": (time.perf_counter() - start) / len(made), **model.facts}


def run(
    case: str, minutes: float, quick: bool, folder: Path, names: list[str]
) -> tuple[dict[str, Any], dict[str, Tensor], Scored]:
    """Rows of a case, and what was drawn."""
    recipe = recipe_of(case, minutes, quick)
    scored = Scored(recipe)
    classes = scored.parts.test.scalars.get(scored.names[0]) if scored.names else None
    rows: dict[str, dict[str, float]] = {}
    drawn: dict[str, Tensor] = {"held out": scored.truth}
    made, seconds = scored.draw(untrained(recipe))
    rows["Gaussian prior"] = scored.score(made, classes) | {"seconds": seconds}
    parameters = 0
    for name in names:
        if name == UNET:
            if "grid_shape" not in scored.graph:
                continue
            made, told = unet(scored, parameters, minutes, quick)
        else:
            weights, told = trained(
                name,
                lambda share, more: recipe_of(case, share, quick, more),
                minutes,
                folder / f"{case}_{name.replace(' ', '_')}",
                FACTORS[case],
            )
            parameters = parameters or told["parameters"]
            made, seconds = scored.draw(GraphSignalGenerator.from_pretrained(weights, device="cpu"))
            told["seconds"] = seconds
        rows[name], drawn[name] = scored.score(made, classes) | told, made
    val = scored.parts.val
    held = val.stacked()[: len(scored.truth)]
    rows[FLOOR] = scored.score(held, val.scalars[scored.names[0]][: len(held)] if scored.names else None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"nodes": scored.truth.size(1), "train": len(scored.train), "test": len(scored.truth), "peak_mb": peak}
    return {"rows": rows, **facts}, drawn, scored


def table(rows: dict[str, dict[str, float]]) -> str:
    """In Markdown, a method in a row."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method, row in rows.items():
        cells = [f"{row[name]:.3g}" if isinstance(row.get(name), float) else str(row.get(name, "-")) for name in names]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(cases: dict[str, tuple[dict[str, Tensor], Scored]], target: Path) -> None:
    """The first signals of every row of every case."""
    lines = [(case, name, x, scored) for case, (drawn, scored) in cases.items() for name, x in drawn.items()]
    figure, axes = plt.subplots(
        len(lines), SHOWN, figsize=(1.3 * SHOWN, 1.7 * len(lines)), layout="constrained", squeeze=False
    )
    for line, (case, name, x, scored) in zip(axes, lines, strict=True):
        limit = float(scored.truth.abs().max())
        for k, axis in enumerate(line):
            title = ", ".join(f"{value:g}" for value in scored.asked[k].values())
            row = f"{case}, {name}\n" if k == 0 else "\n"
            draw_signal(axis, scored.graph, x[k].numpy(), limit, row + title)
    figure.savefig(target, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--minutes", type=float, default=60.0, help="of a core, of every training")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="that are trained; all that can be")
    parser.add_argument("--quick", action="store_true", help="everything small")
    parser.add_argument("--runs", type=Path, default=Path("runs/signals"), help="folder of the trainings, new ones")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "signals.json")
    args = parser.parse_args()
    core_time()
    torch.manual_seed(0)
    result: dict[str, Any] = {"machine": machine(), "minutes": args.minutes, "quick": args.quick, "cases": {}}
    names = args.rows or [name for name in ROWS if name != UNET or find_spec("diffusers")]
    names = [RECIPE, *(name for name in names if name != RECIPE)]  # whose size the U-Net is to have
    drawn = {}
    for case in args.cases:
        found, made, scored = run(case, args.minutes, args.quick, args.runs, names)
        result["cases"][case], drawn[case] = found, (made, scored)
        print(f"\n{case}: {found['train']} to train on, {found['test']} held out\n\n{table(found['rows'])}", flush=True)
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    picture(drawn, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
