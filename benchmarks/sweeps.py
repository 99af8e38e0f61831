"""What the benchmarks of samplers share: budgets of network evaluations, time grids, variants, tables.

Every network evaluation counts: a sampler of `calls` calls a step spends calls · steps + 1, `Exponential(3)` one more at its
start. Each budget is filled with the largest number of steps that fits; "-" where not even one does. Evaluations are counted
while they happen and must not exceed the budget. DDIM(0) is the same map as Exponential(1) and has no row (checked in
`sampling_exact.py`).

Variants of Exponential(2) show what a step size of its own in every mode is worth: "one ratio" takes r = h_prev/h from the
mean λ of the graph for all modes, "one h" also the h in the weight of D, which is inconsistent with the φ and σ of the
modes.
Grids: even in t (so in log τ), in τ^{1/power}, in the log-SNR of one λ, and fitted by `optimised_grid`, to other draws than
they are judged by, at 5 and 10 evaluations.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine
from matplotlib.axes import Axes
from torch import Tensor
from trained import add_weights, results, weights_of

from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.sample import (
    SAMPLERS,
    Counted,
    Exponential,
    Moment,
    Sampler,
    StepContext,
    log_snr_grid,
    parse_sampler,
    tau_grid,
    time_grid,
)
from pyg_diffusion.sample.guidance import Steered
from pyg_diffusion.sde import LinearSDE
from pyg_diffusion.spectral import DenseOperator, LaplacianOperator

RESULTS = Path(__file__).parent / "results"
BUDGETS, QUICK_BUDGETS = (2, 3, 5, 10, 20, 50, 100), (2, 3, 5, 10, 20)
JUDGED = (5, 10, 20)  # budgets of the verdict
FITTED = (5, 10)  # budgets of the grids

# Every sampler of the registry that follows a grid, with what takes another one and DDIM given it.
COMPARED = (
    *("ddim:0.5" if name == "ddim" else name for name in SAMPLERS if not parse_sampler(name).adaptive),
    "predictor-corrector:exponential2",
)
Make = Callable[[], Sampler]
Cells = dict[str, dict[str, float] | None]  # budget -> what was measured, None where not even one step fits
Measure = Callable[[Sampler, Counted, Tensor], dict[str, float]]


def makers(names: Sequence[str]) -> dict[str, Make]:
    """name -> a function that makes the sampler anew."""
    return {name: lambda name=name: parse_sampler(name) for name in names}


class OneRatio(Exponential):
    """Exponential(2) whose r = h_prev/h is that of the graph's mean λ in every mode; with `one_h` h is, too."""

    def __init__(self, one_h: bool = False):
        super().__init__(2)
        self.one_h = one_h

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        sde, s, t, operator = context.sde, context.s, context.t, context.operator
        assert isinstance(operator, DenseOperator)
        lam, exists = operator.eigenvalues, operator.mode_mask
        mean = ((lam * exists).sum(1) / exists.sum(1).clamp_min(1))[:, None]

        def gap(later: Tensor, earlier: Tensor, at: Tensor) -> Tensor:
            return sde.half_log_snr(later)(at) - sde.half_log_snr(earlier)(at)

        h = gap(s, t, mean)

        def on_d(lam: Tensor) -> Tensor:
            return -sde.mean(s)(lam) * torch.expm1(-(h if self.one_h else gap(s, t, lam)))

        terms = [(lambda lam: sde.std(s)(lam) / sde.std(t)(lam), x_t), (on_d, context.denoised)]
        if context.previous:
            before, d_before = context.previous[0]
            ratio = gap(t, before, mean) / h
            terms.append((lambda lam: on_d(lam) * 0.5 / ratio, context.denoised - d_before))
        return operator.combine(*terms)


VARIANTS: dict[str, Make] = {
    "h per mode": lambda: Exponential(2),
    "one ratio": OneRatio,
    "one h": lambda: OneRatio(one_h=True),
}


class OnGrid(Sampler):
    """Another sampler on times of its own in the place of those it is handed."""

    def __init__(self, sampler: Sampler, grid: Tensor):
        self.sampler, self.grid, self.calls, self.memory = sampler, grid, sampler.calls, sampler.memory

    def step(self, x_t: Tensor, context: StepContext) -> Tensor:
        return self.sampler.step(x_t, context)

    def iterate(
        self,
        denoiser: Denoiser | Steered,
        operator: LaplacianOperator,
        grid: Tensor,
        noise: Callable[[], Tensor],
        context: Any = None,
        temperature: float = 1.0,
    ) -> Iterator[Moment]:
        assert len(grid) == len(self.grid)
        return super().iterate(denoiser, operator, self.grid, noise, context, temperature)


def steps_within(sampler: Sampler, evaluations: int) -> int:
    """The largest number of steps within so many network calls; 0 where there is none."""
    starter = isinstance(sampler, Exponential) and sampler.order == 3
    return max(0, (evaluations - 1 - starter) // sampler.calls)


def time_range(sde: LinearSDE, taus: Sequence[float]) -> tuple[float, float]:
    """(start, end) in t of a range of τ, such as the one that the generator samples over."""
    end, start = sde.schedule.t(torch.tensor(taus, dtype=torch.float64)).clamp(0, 1).tolist()
    return start, end


def sweep(
    samplers: Mapping[str, Make],
    budgets: Sequence[int],
    denoiser: Denoiser,
    measure: Measure,
    ends: tuple[float, float],
) -> dict[str, Cells]:
    """sampler -> budget -> `measure` of a run on even times, with the steps and evaluations spent."""
    rows: dict[str, Cells] = {}
    for name, make in samplers.items():
        rows[name] = {}
        for budget in budgets:
            steps = steps_within(make(), budget)
            if not steps:
                rows[name][str(budget)] = None
                continue
            counted = Counted(denoiser)
            found = measure(make(), counted, time_grid(steps, *ends).double())
            assert counted.evaluations <= budget, f"{name}: {counted.evaluations} evaluations within {budget}"
            rows[name][str(budget)] = {**found, "steps": steps, "evaluations": counted.evaluations}
    return rows


def grids(sde: LinearSDE, steps: int, ends: tuple[float, float]) -> dict[str, Tensor]:
    """The grids that need no fit."""
    return {
        "even in t": time_grid(steps, *ends).double(),
        "even in τ": tau_grid(sde, steps, *ends, power=1.0),
        "even in τ^(1/3.5)": tau_grid(sde, steps, *ends, power=3.5),
        "even in τ^(1/7)": tau_grid(sde, steps, *ends, power=7.0),
        "log-SNR, λ = 0.1": log_snr_grid(sde, steps, 0.1, *ends),
        "log-SNR, λ = 2": log_snr_grid(sde, steps, 2.0, *ends),
    }


def on_grids(
    samplers: Sequence[str],
    denoiser: Denoiser,
    measure: Measure,
    ends: tuple[float, float],
    fitted: Callable[[int], dict[str, Tensor]],
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """grid -> sampler -> budget -> `measure`; `fitted` gives further grids of a number of steps."""
    out: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for budget in FITTED:
        for name, grid in {**grids(denoiser.sde, budget - 1, ends), **fitted(budget - 1)}.items():
            for sampler in samplers:
                row = measure(parse_sampler(sampler), Counted(denoiser), grid)
                out.setdefault(name, {}).setdefault(sampler, {})[str(budget)] = row
    return out


def best_in_sweep(rows: Mapping[str, Cells], budget: int, key: str = "error", slack: float = 0.0) -> dict[str, Any]:
    """The best sampler of a budget, those within `slack` of it, and the next one behind."""
    values = {name: cell[key] for name, row in rows.items() if (cell := row.get(str(budget)))}
    order = sorted(values, key=lambda name: values[name])
    best, behind = order[0], [name for name in order[1:] if values[name] > values[order[0]] + slack]
    return {
        "best": best,
        "value": values[best],
        "as good": [name for name in order[1:] if name not in behind],
        "next": behind[0] if behind else None,
        "next value": values[behind[0]] if behind else None,
    }


# Tables and files


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(header), *map(list, rows)]
    width = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        print("  ".join([line[0].ljust(width[0]), *(c.rjust(w) for c, w in zip(line[1:], width[1:], strict=True))]).rstrip())


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.1e}"


def show_sweep(title: str, rows: Mapping[str, Cells], budgets: Sequence[int], key: str = "error") -> None:
    body = [[name, *(number((row.get(str(b)) or {}).get(key)) for b in budgets)] for name, row in rows.items()]
    show(title, ["network evaluations", *map(str, budgets)], body)


def show_grids(title: str, rows: Mapping[str, Any], keys: Sequence[str]) -> None:
    for sampler in next(iter(rows.values())):
        header = [f"{key} @ {budget}" for budget in FITTED for key in keys]
        body = [[name, *(number(row[sampler][str(b)][k]) for b in FITTED for k in keys)] for name, row in rows.items()]
        show(f"{title}: {sampler}", ["grid", *header], body)


def show_verdict(verdict: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """budget -> measure -> the best sampler, as `best_in_sweep` has it."""
    print("\nbest sampler by each measure")
    for budget, measures in verdict.items():
        for measure, row in measures.items():
            text = f"{budget:>4} evaluations, {measure:<14} {row['best']} ({number(row['value'])})"
            text += f"; not told apart: {', '.join(row['as good'])}" if row["as good"] else ""
            text += f"; next {row['next']} ({number(row['next value'])})" if row.get("next") else ""
            print(text)


def draw_sweep(axis: Axes, part: Mapping[str, Any], key: str, title: str, label: str) -> None:
    """Error against evaluations, a line for each sampler."""
    for k, name in enumerate(COMPARED):
        row = [cell for cell in part["samplers"].get(name, {}).values() if cell]
        if row:
            style = "-" if name.startswith(("ancestral", "ddim", "exponential")) else "--"
            axis.loglog(
                [c["evaluations"] for c in row], [c[key] for c in row], style, marker="o", ms=3, label=name, c=f"C{k}"
            )
    floor = part.get("floor")
    if floor is not None:
        axis.axhline(floor[key] if isinstance(floor, dict) else floor, color="k", lw=0.8, ls=":", label="floor")
    axis.set(xlabel="network evaluations", ylabel=label, title=title)
    axis.set_ylim(top=min(axis.get_ylim()[1], 10.0))
    axis.grid(alpha=0.3)


def options(description: str, name: str) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", default=str(RESULTS / name), help="path of the results, without ending")
    add_weights(parser, quick=False)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser


class Run:
    """One run of a benchmark: its time, and its record in the end."""

    def __init__(self, args: argparse.Namespace):
        self.weights = weights_of(args)
        args.weights = self.weights.path
        self.args, self.began, self.machine = args, time.perf_counter(), machine()
        print(f"{self.machine['cpu']}, {self.machine['threads']} thread(s), torch {self.machine['torch']}")

    def stamp(self, what: str) -> None:
        print(f"[{what}: {time.perf_counter() - self.began:.0f} s since the start]", flush=True)

    def write(self, **parts: Any) -> Path:
        """Writes OUT.json and says where a plot belongs."""
        target = Path(self.args.out)
        target = results(self.args) / target.name if target.parent == RESULTS else target
        target.parent.mkdir(parents=True, exist_ok=True)
        weights = self.args.weights and Path(self.args.weights).name
        record = {
            "machine": self.machine,
            "weights": self.weights.about,
            "arguments": {**vars(self.args), "out": target.name, "weights": weights},
            "seconds": round(time.perf_counter() - self.began, 1),
            **parts,
        }
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        target.with_name(target.name + ".json").write_text(text, encoding="utf-8")
        self.stamp("done")
        print(f"{target}.json\n{target}.png")
        return target.with_name(target.name + ".png")
