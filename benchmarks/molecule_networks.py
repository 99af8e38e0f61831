"""Networks for molecules at equal time: the conformer network, graph networks that predict F, ε, the score or an energy, the
MLP that knows no graph, and ETKDGv3, on held-out ensembles.

    python benchmarks/molecule_networks.py STORE.h5 [STORE.h5 ...] --minutes 60

Each is trained for the same minutes of a core on the stores, less `--molecules` molecules of three conformers or more,
and draws 2K conformers for K references by the ancestral sampler with 16 evaluations; seconds are of one core. The conformer
and graph networks have the harmonic noise of the shipped weights, the others that of configs/molecules_eps.yaml. Graph
networks have the sizes of that recipe, the conformer network those of configs/quick.yaml.

- AMR-R, AMR-P: as `pyg-diffusion evaluate`; a conformer without a partner counts as 1.5 Å;
- stereo: share of draws of the stereo that was asked for; sound: of those that have it and a geometry that can be;
- made: conformers of all that were asked for, after up to ten draws of each.

Works in pieces: a row is kept once it is made, and a training goes on where it was (runs/molecule_networks). Prints the
table, writes results/molecule_networks.json and .png. `--quick`: a few seconds each on the 20 ensembles of the package, and
two conformers of two molecules, to see that it runs.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import yaml
from conformer_ablation import MEASURES
from conformers import ours, rates
from held_out import Pieces, trained

from pyg_diffusion.metrics import BASELINES, Ensemble, draw_each, evaluate
from pyg_diffusion.weights_io import load_pretrained

HERE = Path(__file__).parent
RUN, ETKDG = "ancestral:16", "etkdg"
VE = yaml.safe_load((HERE.parent / "configs" / "molecules_eps.yaml").read_text())
SIZES = {"width": VE["model"]["width"], "heads": VE["model"]["heads"]}
EPS = {"process": VE["process"], "train": {"objectives": {"eps": 1.0}}}
# name -> what differs in the recipe
NETWORKS: dict[str, dict[str, Any]] = {
    "conformer": {"model": {"kind": "conformer", "width": 128, "depths": [2, 2]}},
    "graph": {"model": {"kind": "graph", **SIZES}},
    "graph, messages": {"model": {"kind": "graph", **SIZES, "attention": False}},
    "eps": {"model": {"kind": "eps", **SIZES}, **EPS},
    "score": {"model": {"kind": "score", **SIZES}, **EPS},
    "energy": {"model": {"kind": "energy", **SIZES}, **EPS},
    "mlp": {"model": {"kind": "mlp"}, **EPS},
}
COLUMNS = ("AMR-R", "AMR-P", "COV-R(0.5)", "stereo", "sound", "made", "seconds")


def recipe(name: str, store: Path, minutes: float, seed: int) -> dict[str, Any]:
    """What a network is trained by."""
    values: dict[str, dict[str, Any]] = {
        "data": {"store": [str(store)], "batch_size": 64},
        "process": {},
        "optimizer": {"lr": 2e-3, "warmup": 50},
        "train": {"seed": seed, "max_minutes": minutes, "max_steps": 10**6, "val_every": 500, "bf16": False, "threads": 1},
    }
    for section, changes in NETWORKS[name].items():
        values[section] = values.get(section, {}) | changes
    return values


def judged(ensembles: list[Ensemble], records: list, counts: list[int], cost: dict[str, Any], seed: int) -> dict[str, Any]:
    """A row: measures of each molecule, and rates."""
    found = evaluate(ensembles, records, expected=counts, seed=seed).molecules
    rows, drawn = rates(cost), "drawn" in cost
    return {
        "values": {measure: [of(m) for m in found] for measure, of in MEASURES.items()},
        "stereo": rows["stereo right before resampling"] if drawn else None,
        "sound": rows["stereo right and sound before resampling"] if drawn else None,
        "made": cost["made"] / sum(counts),
        "seconds": rows["seconds per conformer"],
    }


def one(name: str, store: Path, ensembles: list[Ensemble], args: argparse.Namespace) -> dict[str, Any]:
    """Train a network, or take ETKDGv3, and judge what it draws."""
    counts = [2 if args.quick else 2 * e.size for e in ensembles]
    if name == ETKDG:
        with BASELINES[ETKDG].open(None) as draw:
            made = draw_each(draw, ensembles, counts, args.seed)
        cost = {"seconds": made.seconds, "made": len(made.records)}
        return judged(ensembles, made.records, counts, cost, args.seed)
    weights = trained(recipe(name, store, args.minutes, args.seed), args.work / name.replace(", ", "_"))
    denoiser, card = load_pretrained(weights)
    records, cost = ours(ensembles, counts, weights, RUN, args.seed)
    size = sum(p.numel() for p in denoiser.net.parameters())
    facts = {"parameters": size, "steps": card.training["steps"], "minutes": card.training["minutes"]}
    return judged(ensembles, records, counts, cost, args.seed) | facts


def cells(row: dict[str, Any]) -> list[float | None]:
    """Those of `COLUMNS`."""
    values = row["values"]
    return [float(np.mean(values[c])) if c in values else row[c] for c in COLUMNS]


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(f"\n{'':18}" + "".join(f"{c:>12}" for c in COLUMNS) + f"{'steps':>8}{'parameters':>12}")
    for name, row in rows.items():
        told = "".join(f"{'-' if v is None else f'{v:.3f}':>12}" for v in cells(row))
        print(f"{name:18}{told}{row.get('steps', '-'):>8}{row.get('parameters', '-'):>12}")


def draw(rows: dict[str, dict[str, Any]], target: Path) -> None:
    """AMR of each, over seconds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, measure in zip(axes, ("AMR-R", "AMR-P"), strict=True):
        for name, row in rows.items():
            axis.scatter(row["seconds"], np.mean(row["values"][measure]), label=name)
        axis.set(xlabel="seconds of one core per conformer", ylabel=f"{measure}, Å", ylim=(0, None), xscale="log")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=7)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make the rows that are not there yet, print, write."""
    pieces = Pieces(__doc__ or "", "molecule_networks", 60.0, 100, ("seed",))
    known = [*NETWORKS, ETKDG]
    pieces.parser.add_argument("--networks", nargs="+", choices=known, default=known)
    pieces.parser.add_argument("--seed", type=int, default=0)
    args, store, ensembles = pieces.begin()
    rows = pieces.rows
    for name in args.networks:
        if name not in rows:
            rows[name] = one(name, store, ensembles, args)
            pieces.keep()
            print(f"{name}: AMR-R {np.mean(rows[name]['values']['AMR-R']):.3f}", flush=True)
    show(rows)
    draw(rows, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
