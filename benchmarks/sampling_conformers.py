"""Samplers by what they need most of, on the shipped conformer model: error against network evaluations.

    python benchmarks/sampling_conformers.py [--quick] [--out benchmarks/results/sampling_conformers]

How evaluations are counted, and what the variants and grids are, stands in `sweeps.py`. The molecules are those of
datasets/qm9_ensembles_20.sdf.gz.

a. paths: deterministic samplers, from one start each. Root mean square over atoms of the distance in Å to the end of
   Exponential(3) with 200 steps from that start, not aligned; the median over conformers beside it, because a few paths that
   fork off into another conformer rule the former. Floor: Exponential(2) with 200 steps. All in float32, as bf16 makes paths
   fork by itself: how far it takes the reference stands beside the floor.
b. ensembles: all samplers, and two on other grids. 2K conformers for K references, measures of `pyg-diffusion evaluate`,
   means over molecules. Wrong stereo is drawn again, `--attempts` tries in all; the yield before that and the evaluations
   with it stand beside. Samplers count as equally good where the difference of their molecules, paired, is below two
   standard errors.
c. overhead: `ConformerGenerator.sample` on the 2K conformers, and on one single conformer, with timers around
   Sampler.sample, net.forward and net.trunk; once on all, the fastest of 10 on one. Share outside the network = 1 -
   forward / Sampler.sample. Setting up (batches, eigenvectors, encoding) and the stereo check are the rest of the call.

Prints the tables and, for 5, 10 and 20 evaluations, the best sampler by each measure; writes OUT.json and OUT.png.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from sweeps import (
    BUDGETS,
    COMPARED,
    FITTED,
    JUDGED,
    QUICK_BUDGETS,
    VARIANTS,
    OnGrid,
    Run,
    best_in_sweep,
    draw_sweep,
    makers,
    number,
    on_grids,
    options,
    show,
    show_grids,
    show_sweep,
    show_verdict,
    steps_within,
    sweep,
    time_range,
)
from torch import Tensor
from torch_geometric.data import Batch

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, read_sdf, with_positions
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.metrics import Comparison, Evaluation, compare, evaluate, group_records, records_of
from pyg_diffusion.sample import Counted, Exponential, Sampler, optimised_grid, parse_sampler, tau_grid, time_grid
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.tasks.molecules.generator import TAU_RANGE

BUNDLED = Path(__file__).parent.parent / "datasets" / "qm9_ensembles_20.sdf.gz"
DETERMINISTIC = [name for name in COMPARED if parse_sampler(name).deterministic]
TIMED = ("ancestral", "exponential2", "exponential3", "predictor-corrector:exponential2")
MEASURES = {  # measure -> (value of a molecule, whether less is better, its key in the table)
    "AMR-R": (lambda m: m.amr_r, True, "AMR-R mean"),
    "AMR-P": (lambda m: m.amr_p(), True, "AMR-P mean"),
    "COV-R(0.1)": (lambda m: m.cov_r(0.1), False, "COV-R(0.1) mean"),
    "COV-P(0.1)": (lambda m: m.cov_p(0.1), False, "COV-P(0.1) mean"),
}
TOLD = [
    *(key for *_, key in MEASURES.values()),
    "COV-R(0.5) mean",
    "bond MAE",
    "yield",
    "right at once",
    "evaluations per conformer",
    "seconds per conformer",
]


class Task:
    """The molecules, their references and the model."""

    def __init__(self, weights: str | None, quick: bool, seed: int):
        self.generator = ConformerGenerator.from_pretrained(weights, device="cpu", confidence=False)  # the sampler alone
        references, _ = group_records(read_sdf(BUNDLED))
        self.references = references[:3] if quick else references
        self.molecules = [molecule_from_mol(r.mol, r.name, conformers=False) for r in self.references]
        self.counts = [2 if quick else 2 * r.size for r in self.references]
        self.seed, self.denoiser = seed, self.generator.denoiser
        self.ends = time_range(self.denoiser.sde, TAU_RANGE)

    def batch(self, each: int, seed: int) -> tuple[DenseOperator, Any, Tensor]:
        """(L, context, noise) of `each` starts per molecule."""
        batch = Batch.from_data_list([m.data(conformer=None) for m in self.molecules for _ in range(each)])
        operator = laplacian_operator(batch, DenseOperator.from_laplacian)
        assert isinstance(operator, DenseOperator)
        with torch.no_grad():
            context = self.denoiser.net.encode(batch, operator)
        return operator, context, torch.randn(operator.num_nodes, 3, generator=torch.Generator().manual_seed(seed))


def paths(task: Task, each: int, budgets: Sequence[int], fine: int) -> dict[str, Any]:
    denoiser, ends = task.denoiser, task.ends
    operator, context, noise = task.batch(each, task.seed)

    def run(sampler: Sampler, counted: Counted | Denoiser, grid: Tensor) -> Tensor:
        return sampler.sample(counted, operator, grid, lambda: noise, context)

    finest = time_grid(fine, *ends)
    shipped, denoiser.autocast = denoiser.autocast, False
    exact = run(Exponential(3), denoiser, finest)

    def measure(sampler: Sampler, counted: Counted | Denoiser, grid: Tensor) -> dict[str, float]:
        square = (run(sampler, counted, grid) - exact).square().sum(1, keepdim=True)
        each_one = (operator.graph_sum(square).squeeze(1) / operator.sizes).sqrt()
        return {"error": float(square.mean().sqrt()), "median": float(each_one.median())}

    out: dict[str, Any] = {
        "conformers": operator.num_graphs,
        "steps of the reference": fine,
        "floor": measure(Exponential(2), denoiser, finest),
        "samplers": sweep(makers(DETERMINISTIC), budgets, denoiser, measure, ends),
        "fitted": {},
    }
    rest = {name: make for name, make in VARIANTS.items() if name != "h per mode"}
    short = [budget for budget in budgets if budget <= 20]  # one of them does not converge; time is better spent elsewhere
    out["variants"] = {"h per mode": out["samplers"]["exponential2"], **sweep(rest, short, denoiser, measure, ends)}
    small, small_context, small_noise = task.batch(1, task.seed + 1)

    def fitted(steps: int) -> dict[str, Tensor]:
        found = optimised_grid(Exponential(2), denoiser, small, steps, small_noise, small_context, *ends).double()
        out["fitted"][str(steps + 1)] = found.tolist()
        return {"fitted to exponential2": found}

    out["grids"] = on_grids(("exponential1", "exponential2"), denoiser, measure, ends, fitted)
    denoiser.autocast = shipped
    out["moved by bf16"] = measure(Exponential(3), denoiser, finest) if shipped else None
    return out


def runs(task: Task, fitted: dict[str, list[float]], budgets: Sequence[int]) -> list[tuple[str, int, Sampler]]:
    """(name, budget, sampler) of what (b) compares: all samplers, and two on other grids where those were fitted."""
    out = [(name, budget, parse_sampler(name)) for name in COMPARED for budget in budgets]
    for budget in (b for b in FITTED if b in budgets and len(budgets) > 1):
        power = tau_grid(task.denoiser.sde, budget - 1, *task.ends, power=7.0)
        chosen = torch.tensor(fitted[str(budget)], dtype=torch.float64)
        for name in ("ancestral", "exponential2"):
            for what, grid in (("τ^(1/7)", power), ("fitted", chosen)):
                out.append((f"{name}, {what}", budget, OnGrid(parse_sampler(name), grid)))
    return out


def ensembles(
    task: Task, compared: list[tuple[str, int, Sampler]], attempts: int
) -> tuple[Comparison, dict[str, Evaluation]]:
    """The table of all runs, and their evaluations."""
    results, extra = {}, {}
    for name, budget, sampler in compared:
        steps = steps_within(sampler, budget)
        if not steps:
            continue
        task.generator.sampler, task.generator.steps = sampler, steps + 1
        start = time.perf_counter()
        found = task.generator.sample(task.molecules, task.counts, task.seed, max_attempts=attempts)
        seconds = time.perf_counter() - start
        records = []
        for reference, result in zip(task.references, found, strict=True):
            if len(result.positions):
                records += records_of(with_positions(reference.mol, result.positions), reference.name)
        key = f"{name} @ {budget}"
        results[key] = evaluate(task.references, records, expected=task.counts, checked=0)
        asked = sum(r.asked for r in found)
        extra[key] = {
            "sampler": name,
            "budget": budget,
            "evaluations per conformer": sum(r.evaluations for r in found) / asked,  # retries included
            "right at once": sum(r.right_at_once for r in found) / asked,
            "seconds per conformer": seconds / asked,
        }
    return compare(results, (0.05, 0.1, 0.5), extra=extra), results


def best_in_ensembles(results: dict[str, Evaluation], budget: int) -> dict[str, dict[str, Any]]:
    """measure -> the best sampler of a budget, and which ones are within two standard errors of the paired difference."""
    keys = [key for key in results if key.endswith(f" @ {budget}") and key.partition(" @ ")[0] in COMPARED]
    found = {}
    for measure, (value, less, _) in MEASURES.items():
        table = {key.partition(" @ ")[0]: np.array([value(m) for m in results[key].molecules]) for key in keys}
        solved = np.all([np.isfinite(row) for row in table.values()], axis=0)
        table = {key: row[solved] * (1 if less else -1) for key, row in table.items()}
        best = min(table, key=lambda key: table[key].mean())
        close = []
        for key, row in table.items():
            gap = row - table[best]
            if key != best and gap.mean() <= 2 * gap.std(ddof=1) / math.sqrt(len(gap)):
                close.append(key)
        found[measure] = {"best": best, "value": abs(float(table[best].mean())), "as good": close}
    return found


class Timers:
    """Seconds spent in functions put on in the place of others, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
                self.calls[name] = self.calls.get(name, 0) + 1

        return timed

    @contextmanager
    def within(self, net: Any, sampler: Any) -> Iterator[None]:
        """Timers on a network and a sampler."""
        sampler.sample = self.around("sampler", sampler.sample)
        net.forward, net.trunk = (self.around(k, getattr(net, k)) for k in ("forward", "trunk"))
        try:
            yield
        finally:
            del net.forward, net.trunk, sampler.sample

    def row(self, conformers: int) -> dict[str, float]:
        s, evaluations = self.seconds, self.calls["forward"] / self.calls["sampler"]
        return {
            "conformers": conformers,
            "batches": self.calls["sampler"],
            "network evaluations of a batch": evaluations,
            "seconds of ConformerGenerator.sample": s["call"],
            "seconds of Sampler.sample": s["sampler"],
            "ms per evaluation and conformer": 1e3 * s["sampler"] / (evaluations * conformers),
            "share outside net.forward": 1 - s["forward"] / s["sampler"],
            "share outside net.trunk": 1 - s["trunk"] / s["sampler"],
            "share of the call outside Sampler.sample": 1 - s["sampler"] / s["call"],
        }


def overhead(task: Task, budget: int, repeats: int) -> dict[str, dict[str, float]]:
    """sampler -> seconds and shares, for all conformers and for one."""
    out = {}
    for what, molecules, n in (("all", task.molecules, task.counts), ("one conformer", task.molecules[:1], [1])):
        for name in TIMED:
            rows = []
            for _ in range(1 if what == "all" else repeats):
                timers, sampler = Timers(), parse_sampler(name)
                task.generator.sampler, task.generator.steps = sampler, steps_within(sampler, budget) + 1
                with timers.within(task.denoiser.net, sampler):
                    timers.around("call", task.generator.sample)(molecules, n, task.seed, max_attempts=1)
                rows.append(timers.row(int(sum(n))))
            out[f"{name}, {what}"] = min(rows, key=lambda row: row["seconds of Sampler.sample"])
    return out


def show_paths(found: dict[str, Any], budgets: Sequence[int]) -> None:
    show_sweep("(a) conformers: RMS distance in Å to the exact path's end", found["samplers"], budgets)
    print(f"floor {number(found['floor']['error'])} (median {number(found['floor']['median'])})", end="")
    moved = found["moved by bf16"]
    print(f"; bf16 moves the reference by {number(moved['error'])} (median {number(moved['median'])})" if moved else "")
    show_sweep("(a) median over conformers of the same, Å", found["samplers"], budgets, "median")
    show_sweep("(a) Exponential(2), what h per mode is worth: RMS, Å", found["variants"], budgets)
    show_sweep("(a) the same, median over conformers, Å", found["variants"], budgets, "median")
    show_grids("(a) grids, Å", found["grids"], ["error", "median"])


def main() -> None:
    parser = options(__doc__ or "", "sampling_conformers")
    parser.add_argument("--starts", type=int, default=2, help="per molecule in (a)")
    parser.add_argument("--attempts", type=int, default=3, help="draws of one conformer in (b) until its stereo is right")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run, budgets, judged = Run(args), QUICK_BUDGETS if args.quick else BUDGETS, (5,) if args.quick else JUDGED
    task = Task(args.weights, args.quick, args.seed)

    first = paths(task, 1 if args.quick else args.starts, budgets, 20 if args.quick else 200)
    show_paths(first, budgets)
    run.stamp("paths")
    second, evaluations = ensembles(task, runs(task, first["fitted"], judged), args.attempts)
    title = f"(b) conformers: {second.molecules} molecules, {second.common} solved by all"
    body = [[name, *(number(row[key]) for key in TOLD)] for name, row in second.rows.items()]
    show(title, ["sampler @ evaluations", *TOLD], body)
    run.stamp("ensembles")
    third = overhead(task, 10, 2 if args.quick else 10)
    keys = list(next(iter(third.values())))
    show("(c) 10 evaluations", ["sampler", *keys], [[n, *(number(r[k]) for k in keys)] for n, r in third.items()])
    run.stamp("overhead")
    verdict = {
        str(budget): {
            "paths, RMS": best_in_sweep(first["samplers"], budget),
            "paths, median": best_in_sweep(first["samplers"], budget, "median"),
            **best_in_ensembles(evaluations, budget),
        }
        for budget in judged
    }
    show_verdict(verdict)
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    draw_sweep(axis, first, "median", "shipped conformer model", "distance to the exact path's end, median, Å")
    axis.legend(fontsize=7)
    figure.savefig(run.write(paths=first, ensembles=second.as_dict(), overhead=third, verdict=verdict), dpi=110)


if __name__ == "__main__":
    main()
