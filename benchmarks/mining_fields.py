"""What negatives are worth to an energy of fields, where the true one is known in closed form.

    python benchmarks/mining_fields.py --minutes 6 --seeds 2

Matérn fields on a periodic 8x8 grid are Gaussian, N(0, p(L)), so the energy whose slope is E[ε | S_t] is

    E_t(S) = ½ Σ_k σ(λ_k) / (φ²(λ_k) p(λ_k) + σ²(λ_k)) |Ŝ_k|².

The energy network of GraphNet features is trained for the same minutes of a core with each miner and seed. Then, at
τ = .01, .1 and 1 (mean over them), on held-out fields of the law made noisy ("on"), and on these plus noise of the law's own
spectrum up to twice as strong ("off", where only negatives have been):

- rank: Spearman's correlation of the learned energy with E_t, over fields;
- slope: |ε̂ - E[ε | S_t]| over |E[ε | S_t]|.

And the error of 500 samples, the geometric mean of spectrum, covariance and sliced Wasserstein distance over what as many
held-out fields have (`fields.py`). Works in pieces: what is made is kept. Prints the table, writes
results/mining_fields.json and .png. `--quick`: 20 steps each, to see that it runs.
"""

import argparse
import json
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from held_out import trained
from machine import core_time, machine
from scipy.stats import spearmanr
from torch import Tensor
from torch_geometric.data import Batch

from pyg_diffusion import FieldGenerator, laplacian_operator
from pyg_diffusion.datasets import GridFields
from pyg_diffusion.datasets.field_laws import matern_spectrum
from pyg_diffusion.denoise import Denoiser
from pyg_diffusion.metrics.field_measures import compare_fields, sampling_floor
from pyg_diffusion.mining import miners_of
from pyg_diffusion.spectral import GridOperator
from pyg_diffusion.tasks import TASKS
from pyg_diffusion.weights_io import load_pretrained

HERE = Path(__file__).parent
GRID: dict[str, Any] = {"law": "matern", "shape": [8, 8], "kinds": "cycle"}
TIMES = (0.01, 0.1, 1.0)
ERRORS = ("spectrum", "covariance", "sliced_wasserstein")
COLUMNS = ("rank on", "rank off", "slope on", "slope off", "samples")


def recipe(miner: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """What is trained."""
    limits = {"max_steps": 20} if args.quick else {"max_minutes": args.minutes, "max_steps": 10**6}
    return {
        "data": {
            "kind": "fields", "root": str(args.work), **GRID, "num_samples": 20_000, "val_samples": 64, "batch_size": 64,
        },
        "process": {"gamma": 0.0, "lambda0": 0.0, "noise": "white", "tau_min": 1e-4, "tau_max": 100.0},
        "model": {"kind": "energy", "width": 8 if args.quick else 32, "depth": 2},
        "optimizer": {"lr": 2e-3, "warmup": 50},
        "train": {
            "seed": seed, "time_sampling": "uniform", "objectives": {"eps": 1.0}, "miner": miner, "bf16": False,
            "threads": 1, "val_every": 10**6, "checkpoint_minutes": 2, **limits,
        },
    }  # fmt: skip


class Judge:
    """Held-out fields, and the law in closed form."""

    def __init__(self, root: Path, count: int):
        sets = {s: GridFields(str(root), num_samples=count, split=s, **GRID) for s in ("reference", "test")}
        self.fields, self.reference = sets["test"].fields, sets["reference"].fields
        self.one = laplacian_operator(sets["test"][0], dtype=torch.float64)
        assert isinstance(self.one, GridOperator)
        self.power = matern_spectrum(self.one)
        self.batch = Batch.from_data_list([sets["test"][k] for k in range(count)])
        self.operator = laplacian_operator(self.batch)
        self.floor = sampling_floor(self.fields, self.reference, self.one)
        generator = torch.Generator().manual_seed(0)
        x = self.fields.flatten(0, 1)
        self.noise = torch.randn(x.shape, generator=generator)
        strength = 2 * torch.rand(count, 1, 1, generator=generator).expand(-1, self.fields.size(1), -1).flatten(0, 1)
        off = self.operator.apply(lambda lam: self.power(lam).sqrt(), torch.randn(x.shape, generator=generator))
        self.signals = {"on": x.float(), "off": x.float() + strength * off.float()}

    def energies(self, denoiser: Denoiser, x: Tensor, tau: float) -> dict[str, np.ndarray | float]:
        """Rank correlation and error of the slope at one time."""
        count = self.operator.num_graphs
        log_tau = torch.full((count, 1), tau).log()
        parts = denoiser.parts(denoiser.sde.schedule.t(log_tau.exp()))
        signal = self.operator.apply(parts.phi, x) + self.operator.apply(parts.sigma, self.noise)

        def share(lam: Tensor) -> Tensor:
            phi, sigma = parts.phi(lam), parts.sigma(lam)
            power = self.power(lam).reshape(*lam.shape, *[1] * (phi.dim() - lam.dim()))  # of every channel
            return sigma / (phi.square() * power + sigma.square())

        true_slope = self.operator.apply(share, signal)
        true = 0.5 * self.operator.graph_sum(signal * true_slope).sum(1)
        energy, slope = denoiser.net.slope(signal, log_tau, self.operator, denoiser.net.encode(self.batch, self.operator))
        return {
            "rank": float(spearmanr(energy.numpy(), true.numpy()).statistic),
            "slope": float((slope - true_slope).norm() / true_slope.norm()),
        }

    def __call__(self, weights: Path) -> dict[str, float]:
        """The columns."""
        generator = FieldGenerator.from_pretrained(weights, device="cpu")
        row = {}
        for where, x in self.signals.items():
            found = [self.energies(generator.denoiser, x, tau) for tau in TIMES]
            row |= {f"{name} {where}": float(np.mean([f[name] for f in found])) for name in ("rank", "slope")}
        made = compare_fields(generator.sample(len(self.fields), seed=0), self.reference, self.one)
        row["samples"] = math.exp(np.mean([math.log(max(made[e] / self.floor[e], 1e-9)) for e in ERRORS]))
        return row


def show(runs: dict[str, list[dict[str, float]]]) -> None:
    """The table."""
    print(f"\n{'':14}{'seed':>5}" + "".join(f"{c:>11}" for c in COLUMNS) + f"{'steps':>8}")
    for miner, seeds in runs.items():
        for seed, run in enumerate(seeds):
            print(f"{miner:14}{seed:5}" + "".join(f"{run[c]:11.3g}" for c in COLUMNS) + f"{run['steps']:8.0f}")


def draw(runs: dict[str, list[dict[str, float]]], target: Path) -> None:
    """Each column; dots are seeds."""
    figure, axes = plt.subplots(1, len(COLUMNS), figsize=(2.6 * len(COLUMNS), 3), layout="constrained")
    for axis, name in zip(axes, COLUMNS, strict=True):
        for k, seeds in enumerate(runs.values()):
            axis.scatter([k] * len(seeds), [run[name] for run in seeds])
        axis.set_xticks(range(len(runs)), list(runs), rotation=45, ha="right", fontsize=7)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make what is not there yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(miners_of(TASKS["fields"].has))
    parser.add_argument("--miners", nargs="+", choices=known, default=[m for m in known if m != "published"])
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="see above")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "mining_fields", help="what is under way")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "mining_fields.json")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    core_time()
    options = {"minutes": args.minutes, "quick": args.quick}
    result: dict[str, Any] = {"machine": machine(), "options": options, "runs": {}}
    if args.output.is_file():
        before = json.loads(args.output.read_text())
        if before["options"] != options:
            parser.error(f"{args.output} was made with {before['options']}; give the same, or another --output and --work")
        result = before
    judge = Judge(args.work, 50 if args.quick else 500)
    runs: dict[str, list[dict[str, float]]] = result["runs"]
    for seed in range(1 if args.quick else args.seeds):
        for miner in args.miners:
            done, run = runs.setdefault(miner, []), args.work / f"{miner}_{seed}"
            if len(done) > seed:
                continue
            weights = trained(recipe(miner, seed, args), run)
            done.append({**judge(weights), "steps": load_pretrained(weights)[1].training["steps"]})
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
            print(f"{miner}, seed {seed}: rank {done[-1]['rank off']:.3f}", flush=True)
    show(runs)
    draw(runs, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
