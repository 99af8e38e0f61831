"""Conformers of the shipped weights (or others) beside ETKDGv3, by sampler and number of network evaluations.

    python benchmarks/conformers.py [REFERENCE.sdf.gz] [--weights FILE] [--runs ancestral:10 ancestral:20:MMFF94s
        ddim0.5:8:diversity=10 ...]

The measures are those of `pyg-diffusion evaluate`: 2K conformers for K references, nothing leaves the denominator. Prints
the table, writes benchmarks/results/conformers.json and .png.
"""

import argparse
import json
import math
import re
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from machine import machine

from pyg_diffusion import Generator
from pyg_diffusion.chem import Stereo, molecule_from_mol, read_sdf, with_positions
from pyg_diffusion.chem.finish import Finish
from pyg_diffusion.chem.similarity import representatives
from pyg_diffusion.metrics import compare, etkdg, evaluate, group_records, records_of
from pyg_diffusion.sample import DDIM, Ancestral, Exponential

HERE = Path(__file__).parent
SAMPLERS = {
    "exponential2": lambda: Exponential(2),
    "exponential1": lambda: Exponential(1),
    "ddim0.5": lambda: DDIM(0.5),
    "ancestral": Ancestral,
}
RUN = r"([^:]+):(\d+)(?::([^:=]+))?(?::diversity=([\d.]+))?(?::oversample=([\d.]+))?"
RUN_SYNTAX = "SAMPLER:EVALUATIONS[:RELAX][:diversity=W][:oversample=M]"
RUNS = ["ancestral:8:oversample=2", "ancestral:16", "ancestral:40", "ddim0.5:16", "exponential1:5", "exponential2:5"]


def ours(ensembles, counts, weights, run, seed, level=None):
    """(records, cost) of one sampler setting, with repulsion and relaxed afterwards where it says so."""
    parts = re.fullmatch(RUN, run)
    if parts is None:
        raise SystemExit(f"--runs {run}: expected {RUN_SYNTAX}")
    name, steps, relax, diversity, oversample = parts.groups()
    finish = Finish(relax or "")
    options = {"sampler": SAMPLERS[name](), "steps": int(steps), "device": "cpu", "confidence": oversample is not None}
    generator = Generator.from_pretrained(weights, **options)
    molecules = [molecule_from_mol(e.mol, e.name, conformers=False) for e in ensembles]
    start = time.perf_counter()
    draws = [math.ceil(float(oversample or 1) * count) for count in counts]
    results = generator.sample(
        molecules,
        draws,
        seed,
        level=level,
        diversity=float(diversity or 0),
        choose=lambda k, *drawn: representatives(ensembles[k].mol, drawn[0], counts[k], drawn[1]),
    )
    records = []
    for ensemble, molecule, result in zip(ensembles, molecules, results, strict=True):
        stereo = Stereo(molecule.tetra, molecule.ez, molecule.ez_type)
        finished, _ = finish(ensemble.mol, stereo, result.positions)
        if finished:
            records += records_of(with_positions(ensemble.mol, np.stack([f.pos for f in finished])), ensemble.name)
    seconds = time.perf_counter() - start
    made = max(1, len(records))
    return records, {
        "seconds per conformer": seconds / made,
        "threads": torch.get_num_threads(),
        "network evaluations per conformer": sum(r.evaluations for r in results) / made,
        "stereo right before resampling": sum(r.right_at_once for r in results) / sum(r.asked for r in results),
    }


def baseline(ensembles, counts, mmff, seed, oversample=1.0):
    """(records, cost) of ETKDGv3; oversampled, those are kept that stand best for all, as of ours."""
    records, seconds = [], 0.0
    for ensemble, count in zip(ensembles, counts, strict=True):
        mol, spent = etkdg(ensemble.mol, math.ceil(oversample * count), seed, mmff)
        seconds += spent
        if mol.GetNumConformers():
            start = time.perf_counter()
            positions = np.stack([c.GetPositions() for c in mol.GetConformers()])
            mol = with_positions(mol, positions[representatives(mol, positions, count)])
            seconds += time.perf_counter() - start
        records += records_of(mol, ensemble.name)
    return records, {"seconds per conformer": seconds / max(1, len(records)), "threads": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default=str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz"))
    parser.add_argument("--weights", default=None)
    parser.add_argument("--runs", nargs="+", default=RUNS, metavar=RUN_SYNTAX)
    parser.add_argument("--level", default=None, metavar="NAME", help="level of theory; the model's first if not given")
    parser.add_argument("--delta", type=float, nargs="+", default=[0.05, 0.1, 0.5])
    parser.add_argument("--busters", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=0, help="conformers per molecule instead of 2K")
    parser.add_argument("--molecules", type=int, default=0, help="only this many molecules, drawn by the seed")
    parser.add_argument("--etkdg-oversample", type=float, nargs="*", default=[], metavar="M", help="further baselines")
    parser.add_argument("--name", default="conformers", help="of the files under benchmarks/results")
    args = parser.parse_args()

    ensembles, skipped = group_records(read_sdf(args.reference))
    for row in skipped:
        print(f"skipped {row.name}: {row.reason}")
    if args.molecules:
        chosen = np.random.default_rng(args.seed).permutation(len(ensembles))[: args.molecules]
        ensembles = [ensembles[k] for k in sorted(chosen)]
    counts = [args.n or 2 * e.size for e in ensembles]
    jobs = [
        (f"ours {run}", lambda run=run: ours(ensembles, counts, args.weights, run, args.seed, args.level))
        for run in args.runs
    ]
    for m in [1.0, *args.etkdg_oversample]:
        drawn = "" if m == 1 else f", {m:g}x"
        jobs += [
            (f"{name}{drawn}", lambda mmff=mmff, m=m: baseline(ensembles, counts, mmff, args.seed, m))
            for name, mmff in (("ETKDGv3", False), ("+ MMFF94s", True))
        ]
    results, extra = {}, {}
    for name, job in jobs:
        records, extra[name] = job()
        results[name] = evaluate(ensembles, records, expected=counts, checked=args.busters, seed=args.seed)
    comparison = compare(results, args.delta, extra=extra)
    print(comparison.table())

    target = HERE / "results" / args.name
    target.parent.mkdir(exist_ok=True)
    text = {
        "machine": machine(),
        "arguments": {**vars(args), "reference": Path(args.reference).name},
        **comparison.as_dict(),
    }
    target.with_suffix(".json").write_text(json.dumps(text, indent=1) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, measure in zip(axes, ("AMR-R mean", "AMR-P mean"), strict=True):
        for name, row in comparison.rows.items():
            axis.scatter(row["seconds per conformer"], row[measure], label=name)
        axis.set(xlabel="seconds per conformer", ylabel=f"{measure}, Å", ylim=(0, None), xscale="log")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=7)
    figure.savefig(target.with_suffix(".png"), dpi=110)
    print(f"\n{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
