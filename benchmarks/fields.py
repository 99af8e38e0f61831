"""How good are generated fields? Diffusion against every baseline, on laws that are known.

    python benchmarks/fields.py [--cases 5x5 ...] [--train configs/fields_5x5.yaml | --weights FOLDER] [--quick]
    python benchmarks/fields.py --run 5x5:diffusion=runs/fields_5x5 [--store store/fields]
    python benchmarks/fields.py --cases 5x5 --run 5x5:diffusion=runs/fields_5x5 --run 5x5:ancestral=runs/fields_5x5@ancestral
    python benchmarks/fields.py --cases 32x32 --minutes 60 [--rows ...]  # what a user would take, for an hour of a core each

With `--minutes` each case trains, for as many minutes of a core, its recipe, the same network under isotropic noise (γ = 0)
and as plain DDPM, two resolutions, and a U-Net of diffusers of about as many parameters, where that is installed.
With neither weights nor a run, each case trains its own recipe for five minutes first. The first case is the table that an
earlier system left unfinished: 5x5 grid, 3-vectors, 100 samples. Each method makes several blocks of samples, each as large
as the reference; every figure is the mean over blocks, ± their standard deviation. "held out" are fresh samples of the law:
the sampling floor, and what the columns without a best value should agree with. "mean field" repeats the training mean and
"copies" returns training samples: generators that make nothing, to see what a metric rewards. `train mse` is the error to
the nearest training sample: far below the held-out row it says copied. Prints a table per case, writes results/fields.json
and .png.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from machine import core_time, machine
from rivals import RECIPE, ROWS, TWO, UNET, trained
from torch import Tensor
from trained import CONFIGS, QUICK, add_weights, results, weights_of
from unet import UNet

from pyg_diffusion import FieldGenerator
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.datasets import GridFields
from pyg_diffusion.metrics.field_measures import compare_fields
from pyg_diffusion.metrics.fields import BASELINES, nearest_mse, power_spectrum
from pyg_diffusion.sample import SAMPLERS, parse_sampler
from pyg_diffusion.spectral import ExactOperator
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.train import Recipe
from pyg_diffusion.weights_io import load_pretrained

ERRORS = ("spectrum", "covariance", "sliced_wasserstein", "marginal_wasserstein", "mmd", "smoothness_wasserstein")
FIGURES = ("mean_mse", "nearest_mse", "train_mse", "smoothness")
FLOOR = "held out"
# Mean MSE and graph smoothness of the earlier system on its own data, which is gone: for the record, not for comparison.
EARLIER = {"interpolation": (0.001100, 98.79), "uniform": (0.007637, 343.56), "gaussian": (0.008986, 1064.99)}


@dataclass
class Case:
    """A law on a grid, the size of one block and of the training set, and how many blocks are scored."""

    law: str
    shape: tuple[int, ...]
    samples: int
    train: int
    blocks: int
    kinds: str = "cycle"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """As a card has them."""
        return {"law": self.law, "shape": list(self.shape), "kinds": self.kinds, "parameters": self.parameters}

    def takes(self, row: str) -> bool:
        """Whether a row can be made of such a grid: blocks of 2, and for a U-Net a square that can be halved twice."""
        if row == UNET:
            return len(self.shape) == 2 and self.shape[0] == self.shape[1] and self.shape[0] % 4 == 0
        return row != TWO or all(n % 2 == 0 for n in self.shape)

    def draw(self, store: Path, split: str, count: int) -> GridFields:
        return GridFields(store, self.law, self.shape, count, split=split, kinds=self.kinds, **self.parameters)


CASES = {
    "old": Case("vortices", (5, 5), 100, 50_000, 20, "path"),
    "5x5": Case("vortices", (5, 5), 1000, 50_000, 4, "path"),
    "gaussian": Case("matern", (32, 32), 500, 10_000, 4),
    "32x32": Case("flow", (32, 32), 500, 10_000, 4),
    "64x64": Case("flow", (64, 64), 200, 4_000, 1),
    "16x16x16": Case("direction", (16, 16, 16), 200, 2_000, 4),
}
ALL = [name for name in CASES if name != "64x64"]  # of which there are two rows, with --minutes

RECIPES = {
    "old": "fields_5x5.yaml",
    "5x5": "fields_5x5.yaml",
    "gaussian": "fields_gaussian.yaml",
    "32x32": "fields_32x32.yaml",
    "64x64": "fields_32x32.yaml",
    "16x16x16": "fields_16x16x16.yaml",
}
SMALL = ("train.max_minutes=5",)


def misfit(facts: dict[str, Any], case: Case) -> dict[str, Any]:
    """What weights were trained on, where the case has something else."""
    return {name: facts.get(name) for name, value in case.facts.items() if facts.get(name) != value}


def trained_runs(args: argparse.Namespace, runs: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Give a row of diffusion to cases: to those that the weights fit, or with no weights at all to each that of its recipe.

    Returns:
        What a result says of the weights, by case.
    """
    if args.weights or args.train:
        found = weights_of(args)
        assert found.path is not None
        data = load_pretrained(found.path)[1].data
        weights = {name: found for name in args.cases if not misfit(data, CASES[name])}
        if not weights:
            raise SystemExit(f"these weights were trained on {data['law']} of shape {data['shape']}, which no case has")
    elif args.run:
        return {}
    else:
        few = (*QUICK, "data.num_samples=200", "data.val_samples=20")
        weights = {
            name: weights_of(args, CONFIGS / RECIPES[name], (*SMALL, f"data.shape={list(CASES[name].shape)}"), few)
            for name in args.cases
        }
    for name, found in weights.items():
        runs[name]["diffusion"] = str(found.path)
    return {name: found.about for name, found in weights.items()}


def sized(name: str, args: argparse.Namespace) -> Case:
    """A case at the size that is asked for."""
    case = CASES[name]
    if args.quick:
        return replace(case, samples=20, train=200, blocks=1)
    return replace(case, blocks=args.blocks or case.blocks, samples=args.samples or case.samples)


def compared(
    args: argparse.Namespace, runs: dict[str, dict[str, str]]
) -> tuple[dict[str, dict[str, UNet]], dict[str, dict[str, Any]]]:
    """Train every row of every case for as many minutes: those of this package join the runs.

    Returns:
        The U-Nets, and what a result says of each row, by case.
    """
    names = args.rows or [name for name in ROWS if name != UNET or find_spec("diffusers")]
    names = [RECIPE, *(name for name in names if name != RECIPE)]  # whose size the U-Net is to have
    unets: dict[str, dict[str, UNet]] = {}
    told: dict[str, dict[str, Any]] = {}
    for name in args.cases:
        case, told[name], unets[name] = sized(name, args), {}, {}
        few = (*QUICK, "data.num_samples=200", "data.val_samples=20") if args.quick else ()
        sizes = () if args.quick else (f"data.num_samples={case.train}",)
        shape = (f"data.shape={list(case.shape)}", f"data.root={args.store}", *sizes, *few)

        def recipe(minutes: float, more: tuple[str, ...], name: str = name, shape: tuple[str, ...] = shape) -> Recipe:
            length = () if args.quick else (f"train.max_minutes={minutes}", "train.max_steps=1000000")
            return load_recipe(CONFIGS / RECIPES[name], [*shape, *length, *more])

        for row in filter(case.takes, names):
            print(f"{name}: {row}", flush=True)
            folder = Path(args.train_dir) / f"{name}_{row.replace(' ', '_')}"
            if row == UNET:
                size, known = told[name][RECIPE]["parameters"], case.draw(args.store, "train", case.train).fields
                unets[name][row] = UNet(known, size, args.minutes, most=5 if args.quick else None)
                told[name][row] = unets[name][row].facts
            else:
                weights, told[name][row] = trained(row, recipe, args.minutes, folder, 2)
                runs[name][row] = str(weights)
    return unets, told


def diffusion(source: str, case: Case) -> FieldGenerator:
    """Of a trained run, FOLDER[@SAMPLER[@GRID]], which must be of the case's law and of enough of it."""
    run_dir, sampler, grid = [*source.split("@"), "", ""][:3]
    chosen = parse_sampler(sampler) if sampler else None
    generator = FieldGenerator.from_pretrained(run_dir, sampler=chosen, grid=grid or None)
    facts = generator.card.data
    if wrong := misfit(facts, case):
        wanted = case.facts
        raise SystemExit(f"{run_dir}: trained on {wrong}, but the case has { ({k: wanted[k] for k in wrong}) }")
    if facts["num_samples"] < 10 * case.samples:
        raise SystemExit(f"{run_dir}: trained on {facts['num_samples']} fields; the case needs {10 * case.samples} or more")
    return generator


def score(made: Tensor, reference: Tensor, train: Tensor, operator: ExactOperator) -> dict[str, list[float]]:
    """(mean, standard deviation) over blocks of every metric."""
    rows = []
    for block in made.split(len(reference)):
        row = compare_fields(block, reference, operator)
        rows.append(row | {"train_mse": nearest_mse(block, train)})
    return {name: [float(np.mean(v)), float(np.std(v))] for name in rows[0] for v in [[row[name] for row in rows]]}


def run_case(case: Case, store: Path, runs: dict[str, str], others: Mapping[str, UNet]) -> dict:
    """All methods of one case: metrics, seconds per sample, spectra."""
    count = case.samples * case.blocks
    train, reference, held_out = (
        case.draw(store, split, n) for split, n in (("train", case.train), ("reference", case.samples), ("test", count))
    )
    operator = laplacian_operator(train[0], dtype=torch.float64)
    assert isinstance(operator, ExactOperator)
    known = train.fields
    methods: dict[str, Callable[[], Tensor]] = {
        FLOOR: lambda: held_out.fields,
        "mean field": lambda: known.double().mean(0).expand(count, -1, -1),
        "copies": lambda: known[torch.arange(count) % len(known)],
    }
    for name, make in BASELINES.items():
        methods[name] = lambda make=make: make(known, count)  # type: ignore[misc]
    generators = {name: diffusion(source, case) for name, source in runs.items()}
    for name, generator in generators.items():
        methods[name] = lambda generator=generator: generator.sample(count)  # type: ignore[misc]
    for name, other in others.items():
        methods[name] = lambda other=other: other.sample(count)  # type: ignore[misc]
    result: dict[str, Any] = {"samples": case.samples, "train": case.train, "blocks": case.blocks, "law": case.law}
    result |= {"shape": case.shape, "kinds": case.kinds, "parameters": case.parameters, "methods": {}}
    bands = operator.eigenvalues[0].argsort().tensor_split(min(256, operator.num_nodes))

    def by_band(values: Tensor) -> list[float]:
        return [float(values[band].mean()) for band in bands]

    result["eigenvalues"] = by_band(operator.eigenvalues[0])
    result["reference_spectrum"] = by_band(power_spectrum(held_out.fields, operator).mean(1))
    for name, make_all in methods.items():
        start = time.perf_counter()
        made = make_all()
        seconds = (time.perf_counter() - start) / count
        row: dict[str, Any] = score(made, reference.fields, known, operator)
        row["seconds_per_sample"] = None if name == FLOOR else seconds
        row["evaluations_per_sample"] = generators[name].evaluations if name in generators else None
        row["spectrum_by_band"] = by_band(power_spectrum(made, operator).mean(1))
        result["methods"][name] = row
    return result


def show(name: str, case: dict) -> None:
    """Errors as multiples of the floor, the figures that have no best value, seconds."""
    shape = "x".join(map(str, case["shape"]))
    print(f"\n{name}: {case['law']} on {shape} ({case['kinds']}), blocks of {case['samples']}, {case['train']} to train on")
    titles = [title.replace("_", " ").replace("wasserstein", "W2") for title in (*ERRORS, *FIGURES)]
    print(f"{'':>14} " + " ".join(f"{title:>15}" for title in titles) + f" {'s / sample':>11} {'evaluations':>11}")
    floor = case["methods"][FLOOR]
    for method, row in case["methods"].items():
        errors = [f"{row[k][0] / floor[k][0]:.2f} ± {row[k][1] / floor[k][0]:.2f}" for k in ERRORS]
        figures = [f"{row[k][0]:.4g}" for k in FIGURES]
        spent = row["seconds_per_sample"]
        cells = " ".join(f"{cell:>15}" for cell in (*errors, *figures))
        asked = row.get("evaluations_per_sample")
        print(f"{method:>14} {cells} {'-' if spent is None else f'{spent:.2g}':>11} {asked or '-':>11}")
    print("floor itself:  " + ", ".join(f"{k} {floor[k][0]:.4g}" for k in ERRORS))


def plot(record: dict, path: Path) -> None:
    """Errors over the floor, and the power spectra, a row of panels per case."""
    cases = record["cases"]
    figure, axes = plt.subplots(len(cases), 2, figsize=(14, 3.6 * len(cases)), layout="constrained", squeeze=False)
    for (bars, curves), (name, case) in zip(axes, cases.items(), strict=True):
        floor, methods = case["methods"][FLOOR], [m for m in case["methods"] if m != FLOOR]
        for k, method in enumerate(methods):
            height = [case["methods"][method][e][0] / floor[e][0] for e in ERRORS]
            bars.bar(
                np.arange(len(ERRORS)) + (k - len(methods) / 2) * 0.8 / len(methods),
                height,
                0.8 / len(methods),
                label=method,
            )
            if method not in ("mean field", "copies"):
                curves.plot(case["eigenvalues"], case["methods"][method]["spectrum_by_band"], ".", ms=3, label=method)
        curves.plot(case["eigenvalues"], case["reference_spectrum"], "k.", ms=3, label=FLOOR)
        bars.axhline(1.2, color="black", lw=0.8, ls="--")
        bars.set(yscale="log", ylabel="error / sampling floor", title=f"{name}: {case['law']}")
        bars.set_xticks(range(len(ERRORS)), [e.replace("_", "\n") for e in ERRORS], fontsize=7)
        curves.set(yscale="log", xlabel="λ", ylabel="power", title="power spectrum")
        for axis in (bars, curves):
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, help="all, if none is named")
    add_weights(parser)
    parser.add_argument("--run", action="append", default=[], metavar="CASE:NAME=FOLDER[@SAMPLER[@GRID]]", help="a row")
    parser.add_argument("--minutes", type=float, help="of a core, of every training: rows of what a user would take")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="of --minutes; all, with that of diffusers if it is there")
    parser.add_argument("--store", type=Path, default=Path("store/fields"), help="where the fields are kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, help="instead of the cases' own number")
    parser.add_argument("--samples", type=int, help="of a block, instead of the cases' own number")
    parser.add_argument("--out", type=Path, help="results/fields.json if not given")
    args = parser.parse_args()
    args.cases = args.cases or (["5x5"] if args.quick else ALL)
    args.out = args.out or results(args) / ("fields_compared.json" if args.minutes else "fields.json")
    torch.set_num_threads(args.threads)
    runs: dict[str, dict[str, str]] = {name: {} for name in args.cases}
    for text in args.run:
        head, _, source = text.partition("=")
        case, _, name = head.partition(":")
        if (
            case not in runs
            or not name
            or not source
            or source.partition("@")[2].partition("@")[0].partition(":")[0] not in ("", *SAMPLERS)
        ):
            parser.error(
                f"--run takes CASE:NAME=FOLDER[@SAMPLER[@GRID]] with a case of {', '.join(runs)} and a sampler of "
                f"{', '.join(SAMPLERS)}; got {text!r}"
            )
        runs[case][name] = source
    told: dict[str, dict[str, Any]] = {}
    unets: dict[str, dict[str, UNet]] = {}
    if args.minutes:
        core_time()
        weights = {}
        unets, told = compared(args, runs)
    else:
        weights = trained_runs(args, runs)
    before = json.loads(args.out.read_text())["cases"] if args.out.is_file() else {}  # cases that are not run now stay
    record: dict[str, Any] = {"machine": machine(), "earlier system (mean MSE, smoothness)": EARLIER, "cases": before}
    for name in args.cases:
        case = sized(name, args)
        record["cases"][name] = run_case(case, args.store, runs[name], unets.get(name, {}))
        record["cases"][name] |= {"weights": weights[name]} if name in weights else {}
        record["cases"][name] |= {"trained": told[name]} if name in told else {}
        show(name, record["cases"][name])
        if not runs[name]:
            print(f"no diffusion row: train on this law and pass --run {name}:diffusion=FOLDER")
    args.out.parent.mkdir(exist_ok=True)
    plot(record, args.out.with_suffix(".png"))
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
