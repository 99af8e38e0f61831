"""What is each idea of the conformer model worth? One left out at a time, at equal budget, judged by the conformers.

    python benchmarks/conformer_ablation.py STORE.h5 [STORE.h5 ...] --reference REFERENCE.sdf.gz --steps 1500 --seeds 1

- isotropic: γ = 0 and λ₀ = 1 in place of harmonic noise γ L, so no mode is treated like another;
- one power: the preconditioning filter (Wiener) knows the mean power of the modes and not p(λ), as in EDM;
- no heat kernels: attention bias and atom features without exp(-sL);
- no levels: conformers of all levels of theory (the stores must hold several) without being told apart; sampled, a mixture;
- even in t, NAME: the noise levels trained at, and the sampler's times, even in t under this schedule (the base draws log τ
  from a normal distribution; the process is the same);
- plain DDPM, plain VE: processes and losses of configs/ddpm_molecules.yaml and ve_molecules.yaml;
- min-SNR, EDM: the weight of noise levels in the loss; reference energy: ½‖M^½(Ŝ₀ - S*)‖² of the drawn conformer beside it.

Every run has the same network, stores, seed and number of steps, and samples 2K conformers for K references by the
ancestral sampler with 16 evaluations. Differences from the base are paired by molecule, with their standard error over
molecules; a second seed tells what training varies by. Prints a table, writes results/conformer_ablation.json after each run
(`--resume` goes on from there) and a .png.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from conformers import ours, rates
from machine import machine

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.data import MoleculeStore
from pyg_diffusion.metrics import evaluate, group_records
from pyg_diffusion.metrics.result import MoleculeResult
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import recipe_from
from pyg_diffusion.tasks.molecules.data import ConformerDataModule
from pyg_diffusion.train import train

HERE = Path(__file__).parent
RUN = "ancestral:16"
BASE = "base"


def recipe_sections(name: str) -> dict[str, Any]:
    """Process and loss of a recipe in configs/."""
    values = yaml.safe_load((HERE.parent / "configs" / name).read_text())
    return {
        "process": values["process"],
        "train": {k: values["train"][k] for k in ("time_sampling", "objectives", "exact_targets")},
    }


# name -> what differs in the recipe
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "isotropic": {"process": {"gamma": 0.0, "lambda0": 1.0, "tau_max": 6.0}},  # beyond e⁻⁶ of the signal there is none
    "one power": {},
    "no heat kernels": {},
    "no levels": {"model": {"levels": []}},
    **{
        f"even in t, {name}": {"process": {"schedule": name}, "train": {"time_sampling": "schedule"}}
        for name in ("geometric", "linear", "constant", "cosine")
    },
    **{f"plain {name}": recipe_sections(f"{name.lower()}_molecules.yaml") for name in ("DDPM", "VE")},
    "min-SNR": {"train": {"objectives": {"eps": 1.0}, "time_weight": "min_snr"}},
    "EDM": {"train": {"objectives": {"x0": 1.0}, "time_weight": "edm"}},
    "reference energy": {"train": {"regularizers": {"reference": 0.1}}},
}
MISSED = 1.5  # Å, for a conformer or reference without a partner
# name -> of one molecule
MEASURES: dict[str, Callable[[MoleculeResult], float]] = {
    "AMR-R": lambda m: min(m.amr_r, MISSED),
    "AMR-P": lambda m: min(m.amr_p(MISSED), MISSED),
    "COV-R(0.1)": lambda m: m.cov_r(0.1),
    "COV-P(0.1)": lambda m: m.cov_p(0.1),
    "COV-R(0.5)": lambda m: m.cov_r(0.5),
}


class OnePower(ConformerDataModule):
    """Its spectrum is the mean power of the modes."""

    def spectrum(self, sample: int = 4000) -> PowerSpectrum:
        fitted = super().spectrum(sample)
        mean = fitted.log_power.exp().mean().log()
        return PowerSpectrum(fitted.log_lambda, mean.repeat(len(fitted.log_lambda)), floor=1.0)


def patches(name: str) -> ExitStack:
    """What a recipe cannot leave out, left out while this is open."""
    stack = ExitStack()
    if name == "one power":
        stack.enter_context(patch("pyg_diffusion.tasks.molecules.data.ConformerDataModule", OnePower))
    if name == "no heat kernels":
        stack.enter_context(patch("pyg_diffusion.nn.conformer_net.heat", lambda s: torch.zeros_like))
    return stack


def one_run(name: str, seed: int, args: argparse.Namespace, levels: list[str], ensembles: list) -> dict[str, Any]:
    """Train and judge one variant."""
    counts = [2 * e.size for e in ensembles]
    sections: dict[str, dict[str, Any]] = {
        "data": {"store": args.stores, "repeat": args.repeat},
        "model": {"width": args.width, "depths": [2, 2], "levels": levels},
        "process": {},
        "optimizer": {"lr": 2e-3, "muon_lr": 0.02, "warmup": 100},
        "train": {"seed": seed, "max_steps": args.steps, "val_every": args.steps, "threads": 1},
    }
    for section, changes in VARIANTS[name].items():
        sections[section] |= changes
    with tempfile.TemporaryDirectory() as folder, patches(name):
        start = time.perf_counter()
        weights = train(recipe_from(sections), Path(folder) / "run", progress=False).weights
        seconds = time.perf_counter() - start
        records, cost = ours(ensembles, counts, weights, RUN, seed)
    found = evaluate(ensembles, records, expected=counts, seed=seed).molecules
    values = {measure: [of(m) for m in found] for measure, of in MEASURES.items()}
    return {"values": values, "stereo": rates(cost)["stereo right before resampling"], "seconds": seconds}


def show(variants: dict[str, list[dict[str, Any]]]) -> None:
    """Means, and below them the paired difference from the base with its standard error over molecules."""
    names = list(MEASURES)
    print(f"\n{'':18}{'seeds':>6}" + "".join(f"{n:>19}" for n in names) + f"{'stereo':>8}{'s':>6}")
    base = variants[BASE]
    for name, runs in variants.items():
        cells = []
        for measure in names:
            values = np.mean([r["values"][measure] for r in runs], axis=0)
            gap = values - np.mean([r["values"][measure] for r in base[: len(runs)]], axis=0)
            error = gap.std(ddof=1) / len(gap) ** 0.5
            cells.append(f"{values.mean():.3f} {gap.mean():+.3f}±{error:.3f}")
        stereo, seconds = (np.mean([r[k] for r in runs]) for k in ("stereo", "seconds"))
        print(f"{name:18}{len(runs):6}" + "".join(f"{c:>19}" for c in cells) + f"{stereo:8.3f}{seconds:6.0f}")


def draw(variants: dict[str, list[dict[str, Any]]], target: Path) -> None:
    """AMR of each variant; dots are seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.4 * len(variants) + 1.4), layout="constrained", sharey=True)
    for axis, measure in zip(axes, ("AMR-R", "AMR-P"), strict=True):
        for k, runs in enumerate(variants.values()):
            means = [np.mean(r["values"][measure]) for r in runs]
            axis.scatter(means, [k] * len(means), s=14, color="#9a9a9a")
            axis.scatter(np.mean(means), k, s=80, color="#c0392b", marker="|", linewidths=3)
        axis.set(xlabel=f"{measure}, Å")
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(variants)), list(variants))
    axes[0].invert_yaxis()
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run what is not in the results yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="STORE.h5")
    parser.add_argument("--repeat", type=int, nargs="+", default=[], help="passes over each store in one epoch")
    parser.add_argument("--reference", default=str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="the base always")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--resume", action="store_true", help="keep what the output holds of the same options")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "conformer_ablation.json")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    ensembles, _ = group_records(read_sdf(args.reference))
    present = {level for path in args.stores for level in MoleculeStore(path).levels if level}
    levels = sorted(present, key=lambda name: (name != "GFN2-xTB", name))  # the references' level is sampled
    options = {
        "stores": [Path(path).name for path in args.stores],
        "repeat": args.repeat,
        "reference": Path(args.reference).name,
        "steps": args.steps,
        "width": args.width,
    }
    result: dict[str, Any] = {"machine": machine(), "options": options, "variants": {}}
    if args.resume and args.output.is_file():
        before = json.loads(args.output.read_text())
        if before["options"] != options:
            parser.error(f"{args.output} was made with {before['options']}; give the same, or no --resume")
        result = before
    variants = result["variants"]
    for seed in range(args.seeds):
        for name in (name for name in VARIANTS if name == BASE or name in args.variants):
            runs = variants.setdefault(name, [])
            if len(runs) == seed and (name != "no levels" or len(levels) > 1):
                runs.append(one_run(name, seed, args, levels, ensembles))
                args.output.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{name}: AMR-R {np.mean(runs[-1]['values']['AMR-R']):.3f}", flush=True)
    made = {name: runs for name, runs in variants.items() if runs}
    show(made)
    draw(made, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
