"""What matters in a diffusion on a graph? Every choice of a recipe varied alone, and all of them together by Optuna.

    python benchmarks/ablation.py --seeds 2 --steps 1000 --samples 500 --trials 8

Vortices on a 5x5 grid (`GridFields`, non-Gaussian). Every run trains the same small number of steps and samples `--samples`
fields by the default sampler; its score is the geometric mean of the spectrum, covariance and sliced Wasserstein errors,
each over its sampling floor (what as many held-out samples have against the same reference): 1 is as good as held-out
samples. Validation losses would not do, since another process has another loss. The reference of the search and that of the
final table differ.

The first part varies one choice at a time, with `--seeds` seeds that train and sample; the paired difference from the base
recipe, seed by seed, is given with its standard error. The second part searches all of them at once (TPE, Optuna), then
trains what it found with the same seeds. Needs `pip install optuna`. Prints a table, writes results/ablation.json after each
run (`--resume` goes on from there) and a .png.
"""

import argparse
import json
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
import torch
from machine import machine

from pyg_diffusion import FieldGenerator, laplacian_operator
from pyg_diffusion.datasets import GridFields
from pyg_diffusion.metrics.field_measures import compare_fields, sampling_floor
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.train import train

HERE = Path(__file__).parent
ERRORS = ("spectrum", "covariance", "sliced_wasserstein")
GRID = {"law": "vortices", "shape": [5, 5], "kinds": "path"}
BASE: dict[str, Any] = {
    "model.kind": "graph",
    "model.width": 32,
    "model.depth": 2,
    "model.global_attention": True,
    "process.gamma": 0.5,
    "process.lambda0": 0.5,
    "process.noise": "matched",
    "process.tau_min": 1e-5,
    "process.tau_max": 12.0,
    "train.time_sampling": "lognormal",
    "train.log_tau_mean": -3.0,
    "train.log_tau_std": 3.0,
}
BASE_NAME = "base: width 32, depth 2, γ = λ₀ = .5, matched, lognormal levels"
# name -> what differs from the base. MLP: wide enough to have as many parameters.
VARIANTS: dict[str, dict[str, Any]] = {
    BASE_NAME: {},
    "MLP of equal size": {"model.kind": "mlp", "model.width": 64, "model.depth": 2},
    "isotropic: γ = 0, λ₀ = 1": {"process.gamma": 0.0, "process.lambda0": 1.0},
    "GNN that predicts ε": {"model.kind": "eps"},
    "λ_E = .3 (energy to the truth)": {"train.regularizers": {"energy": 0.3}},
    "λ_G = .01 (smoothness)": {"train.regularizers": {"smoothness": 0.01}},
    "λ_A = .1 (alignment)": {"train.regularizers": {"alignment": 0.1}},
    "GNN without attention to all nodes": {"model.global_attention": False},
    "noise levels uniform in log τ": {"train.time_sampling": "uniform"},
    "objective F + 30 x₀": {"train.objectives": {"F": 1.0, "x0": 30.0}},
    "noise levels by loss": {"train.time_sampling": "importance"},
    "width 16": {"model.width": 16},
    "width 64": {"model.width": 64},
    "depth 1": {"model.depth": 1},
    "depth 4": {"model.depth": 4},
    "γ = 2": {"process.gamma": 2.0},
    "λ₀ = .1": {"process.lambda0": 0.1, "process.tau_max": 60.0},
    "white noise": {"process.noise": "white"},
    "least noise τ = .001 instead of 10⁻⁵": {"process.tau_min": 1e-3},
    **{
        f"times even in t, {name}": {"process.schedule": name, "train.time_sampling": "schedule"}
        for name in ("geometric", "linear", "constant", "cosine")
    },
    "ε, min-SNR weights": {"train.objectives": {"eps": 1.0}, "train.time_weight": "min_snr"},
    "x₀, EDM's weights, its times": {
        "train.objectives": {"x0": 1.0},
        "train.time_weight": "edm",
        "train.log_tau_mean": -2.4,
        "train.log_tau_std": 2.4,
    },
    "plain DDPM (configs/ddpm_fields.yaml)": {
        "model.kind": "eps",
        "process.gamma": 0.0,
        "process.lambda0": 1.0,
        "process.tau_min": 1e-4,
        "process.tau_max": 10.05,
        "process.schedule": "linear",
        "train.time_sampling": "schedule",
        "train.objectives": {"eps": 1.0},
    },
    "plain VE (configs/ve_fields.yaml)": {
        "model.kind": "score",
        "process.gamma": 0.0,
        "process.lambda0": 0.0,
        "process.noise": "white",
        "process.tau_max": 100.0,
        "train.time_sampling": "schedule",
        "train.objectives": {"eps": 1.0},
    },
}


def recipe(changes: dict[str, Any], seed: int, steps: int, root: str) -> dict[str, Any]:
    """The base recipe with changes, as nested dictionaries."""
    values: dict[str, Any] = {
        "data": {"kind": "fields", "root": root, **GRID, "num_samples": 20_000, "val_samples": 64, "batch_size": 64},
        "optimizer": {"lr": 2e-3, "warmup": 50},
        "train": {"seed": seed, "max_steps": steps, "val_every": steps, "bf16": False, "threads": 1},
    }
    merged = {**BASE, **changes}
    if merged["model.kind"] == "mlp":
        del merged["model.global_attention"]
    for key, value in merged.items():
        section, name = key.split(".")
        values.setdefault(section, {})[name] = value
    return values


class Judge:
    """Trains and scores recipes against one reference set."""

    def __init__(self, root: str, samples: int, steps: int):
        self.root, self.samples, self.steps = root, samples, steps
        sets = {s: GridFields(root, num_samples=2 * samples, split=s, **GRID) for s in ("reference", "test")}
        self.operator = laplacian_operator(sets["test"][0], dtype=torch.float64)
        self.references = sets["reference"].fields.split(samples)  # one for the search, one for the table
        self.floors = [sampling_floor(sets["test"].fields, r, self.operator) for r in self.references]

    def score(self, changes: dict[str, Any], seed: int, which: int) -> dict[str, float]:
        """Errors over the floor, their geometric mean, seconds of training."""
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            result = train(recipe_from(recipe(changes, seed, self.steps, self.root)), Path(folder) / "run", progress=False)
            seconds = time.perf_counter() - start
            x = FieldGenerator.from_pretrained(result.weights).sample(self.samples, seed=seed)
        found = compare_fields(x, self.references[which], self.operator)
        ratios = {name: found[name] / self.floors[which][name] for name in ERRORS}
        mean = math.exp(np.mean([math.log(max(v, 1e-9)) for v in ratios.values()]))
        return {"score": mean, **ratios, "seconds": seconds}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """One point of the search space."""
    terms = {name: trial.suggest_float(f"λ_{name}", 1e-4, 1.0, log=True) for name in ("energy", "smoothness", "alignment")}
    used = {name: value for name, value in terms.items() if trial.suggest_categorical(f"use_{name}", [False, True])}
    return {
        "model.kind": trial.suggest_categorical("kind", ["graph", "eps", "mlp"]),
        "model.width": trial.suggest_categorical("width", [16, 32, 64]),
        "model.depth": trial.suggest_int("depth", 1, 4),
        "process.gamma": trial.suggest_float("γ", 0.0, 2.0),
        "process.lambda0": trial.suggest_float("λ₀", 0.1, 1.0, log=True),
        "train.log_tau_mean": trial.suggest_float("mean_log_τ", -5.0, 1.0),
        "train.time_sampling": trial.suggest_categorical("levels", ["lognormal", "uniform", "importance"]),
        "train.regularizers": used,
    }


def summary(runs: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    """Geometric mean of the scores, and their difference from the base in the logarithm, seed by seed."""
    scores = np.log([r["score"] for r in runs])
    gap = scores - np.log([r["score"] for r in base[: len(runs)]])

    def error(x: np.ndarray) -> float | None:
        return float(x.std(ddof=1) / len(x) ** 0.5) if len(x) > 1 else None

    return {
        "score": float(np.exp(scores.mean())),
        "error": error(scores),
        "difference": float(gap.mean()),
        "difference_error": error(gap),
        "runs": runs,
    }


def show(variants: dict[str, Any]) -> None:
    """The table."""
    print(f"\n{'':52}{'score':>7} ±{'se':>5}{'diff':>8} ±{'se':>5}  spectrum  cov  sliced W  s/run  seeds")
    for name, row in variants.items():
        errors = [f"{math.nan if row[k] is None else row[k]:5.2f}" for k in ("error", "difference_error")]
        means = [float(np.mean([r[e] for r in row["runs"]])) for e in (*ERRORS, "seconds")]
        print(
            f"{name:52}{row['score']:7.2f} ±{errors[0]}{row['difference']:+8.2f} ±{errors[1]}"
            f"{means[0]:10.2f}{means[1]:6.2f}{means[2]:9.2f}{means[3]:7.0f}{len(row['runs']):7}"
        )


class Runs:
    """What has been run so far, kept in a file, and what is run next while there is time."""

    def __init__(self, args: argparse.Namespace, judge: Judge, result: dict[str, Any]):
        self.args, self.judge, self.result = args, judge, result
        self.end = time.perf_counter() + 60 * args.minutes
        self.variants, self.search = result["variants"], result["search"]

    @property
    def in_time(self) -> bool:
        return time.perf_counter() < self.end

    def write(self) -> None:
        self.args.output.write_text(json.dumps(self.result, indent=1, ensure_ascii=False) + "\n")

    def complete(self, variant: str, changes: dict[str, Any], seed: int) -> None:
        """Runs a variant with a seed, unless it has been run or the time is up."""
        runs = self.variants.get(variant, {"runs": []})["runs"]
        if len(runs) == seed and self.in_time:
            runs = [*runs, self.judge.score(changes, seed, 1)]
            base = runs if variant == BASE_NAME else self.variants[BASE_NAME]["runs"]
            self.variants[variant] = summary(runs, base)
            self.write()
            print(f"{variant}: {runs[-1]['score']:.2f}", flush=True)

    def objective(self, trial: optuna.Trial) -> float:
        changes = suggest(trial)
        if trial.number == len(self.search):  # else a trial of before: TPE has a seed and suggests the same again
            score = self.judge.score(changes, 100 + trial.number, 0)["score"]
            self.search.append({"score": score, **trial.params})
            self.write()
        return self.search[trial.number]["score"]

    def find(self) -> None:
        """The search, and what it finds as one more variant."""
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        for _ in range(self.args.trials):
            if len(study.trials) < len(self.search) or self.in_time:
                study.optimize(self.objective, n_trials=1)
        if study.trials:
            best = self.result["best"] = suggest(optuna.trial.FixedTrial(study.best_params))
            print("found:", {k: v for k, v in best.items() if BASE.get(k) != v})
            for seed in range(self.args.seeds):
                self.complete(f"found by {len(self.search)} trials", best, seed)
        if len(study.trials) > 1:
            importance = self.result["importance"] = optuna.importance.get_param_importances(study)
            print("importance:", ", ".join(f"{k} {v:.2f}" for k, v in list(importance.items())[:6]))


def main() -> None:
    """Run what is not in the results yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=30, help="of the search")
    parser.add_argument("--minutes", type=float, default=math.inf, help="nothing further is begun after these")
    parser.add_argument("--resume", action="store_true", help="keep what the output holds of the same options")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "ablation.json")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    chosen = {"steps": args.steps, "samples": args.samples, "base": BASE}
    result: dict[str, Any] = {"machine": machine(), "options": chosen, "variants": {}, "search": []}
    if args.resume and args.output.is_file():
        before = json.loads(args.output.read_text())
        if before["options"] != result["options"]:
            parser.error(f"{args.output} was made with {before['options']}; give the same, or no --resume")
        result = before
    with tempfile.TemporaryDirectory() as root:
        runs = Runs(args, Judge(root, args.samples, args.steps), result)
        for seed in range(args.seeds):  # all variants before the next seed: whatever the time allows is a fair table
            for name, changes in VARIANTS.items():
                runs.complete(name, changes, seed)
        runs.find()
    runs.write()
    show(result["variants"])
    draw(result, args.output.with_suffix(".png"))


def draw(result: dict[str, Any], target: Path) -> None:
    """Scores with their seeds, and the search."""
    variants = result["variants"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 0.32 * len(variants) + 1.6), layout="constrained")
    for k, row in enumerate(variants.values()):
        scores = [r["score"] for r in row["runs"]]
        left.scatter(scores, [k] * len(scores), s=14, color="#9a9a9a")
        left.scatter([row["score"]], [k], s=36, color="#c0392b", marker="|", linewidths=3)
    left.set_yticks(range(len(variants)), list(variants), fontsize=7)
    left.invert_yaxis()
    left.axvline(1.0, color="black", lw=1)
    left.set(xscale="log", xlabel="error over the sampling floor (dots: seeds)")
    trials = result["search"]
    right.plot([t["score"] for t in trials], ".", color="#9a9a9a")
    right.plot(np.minimum.accumulate([t["score"] for t in trials] or [1.0]), color="#c0392b")
    right.set(xlabel="trial of the search", ylabel="error over the floor", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
