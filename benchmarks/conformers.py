"""Conformers of the shipped weights (or others) beside other methods, by sampler and number of network evaluations.

    python benchmarks/conformers.py [REFERENCE.sdf.gz | STORE.h5] [--weights FILE | --train RECIPE] [--quick]
        [--runs ancestral:10 ancestral:20:MMFF94s ddim:0.5:8:diversity=10 ...]
        [--compare etkdg mmff mmff4 etkdg2 mmff2 openconf --openconf-python PYTHON]

The measures and the other methods are those of `pyg-diffusion evaluate`: 2K conformers for K references, nothing leaves the
denominator; seconds are of one core, whatever else the machine does. `--molecules M` takes the first M in the order drawn by
`--molecules-seed`, so that sampling seeds can be compared on the same molecules.

Works through the molecules in pieces, all methods on one before the next, and keeps each under `--checkpoint`: broken off,
or ended by `--minutes`, the same command goes on where it was, and more `--molecules` or methods add to it. Prints the table
of the molecules done, writes benchmarks/results/NAME.json and .png.
"""

import argparse
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from held_out import mol_of
from machine import machine
from trained import add_weights, results, weights_of

import pyg_diffusion
from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, read_sdf, with_positions
from pyg_diffusion.chem.acceptance import Acceptance
from pyg_diffusion.chem.finish import Finish
from pyg_diffusion.chem.records import Record
from pyg_diffusion.chem.similarity import representatives
from pyg_diffusion.data import MoleculeStore
from pyg_diffusion.metrics import (
    BASELINES,
    Evaluation,
    Geometry,
    MoleculeResult,
    UnusedRecord,
    compare,
    draw_each,
    evaluate,
    group_records,
    records_of,
)
from pyg_diffusion.sample import parse_sampler
from pyg_diffusion.weights_io import SHIPPED

HERE = Path(__file__).parent
RUN = (
    r"(.+?):(\d+|-)(?::([A-Za-z][^:=]*))?(?::grid=([a-z-]+))?(?::temperature=([\d.]+))?(?::diversity=([\d.]+))?"
    r"(?::oversample=([\d.]+))?"
)
RUN_SYNTAX = "SAMPLER:STEPS[:RELAX][:grid=NAME][:temperature=T][:diversity=W][:oversample=M], STEPS - for ode:TOLERANCE"
RUNS = ["ancestral:8:oversample=2", "ancestral:16", "ancestral:40", "ddim:0.5:16", "exponential1:5", "exponential2:5"]


@lru_cache(len(RUNS))
def generator(weights, sampler, steps, confidence, grid, temperature):
    """Loaded once for all pieces."""
    options = {"sampler": parse_sampler(sampler), "steps": steps, "device": "cpu", "confidence": confidence}
    options |= {"grid": grid, "temperature": temperature}
    return ConformerGenerator.from_pretrained(weights, **options)


def ours(ensembles, counts, weights, run, seed, level=None, first=0):
    """(records, sums of cost) of one sampler setting, with repulsion and relaxed afterwards where it says so."""
    parts = re.fullmatch(RUN, run)
    if parts is None:
        raise SystemExit(f"--runs {run}: expected {RUN_SYNTAX}")
    name, steps, relax, grid, temperature, diversity, oversample = parts.groups()
    finish = Finish(relax or "")
    count = None if steps == "-" else int(steps)
    model = generator(weights, name, count, oversample is not None, grid, float(temperature or 1))
    molecules = [molecule_from_mol(e.mol, e.name, conformers=False) for e in ensembles]
    start = time.process_time()
    draws = [math.ceil(float(oversample or 1) * count) for count in counts]
    results = model.sample(
        molecules,
        draws,
        seed,
        first,
        level=level,
        diversity=float(diversity or 0),
        choose=lambda k, *drawn: representatives(ensembles[k].mol, drawn[0], counts[k], drawn[1]),
    )
    records = []
    for ensemble, molecule, result in zip(ensembles, molecules, results, strict=True):
        finished, _ = finish(ensemble.mol, Acceptance(molecule), result.positions)
        if finished:
            records += records_of(with_positions(ensemble.mol, np.stack([f.pos for f in finished])), ensemble.name)
    return records, {
        "seconds": time.process_time() - start,
        "made": len(records),
        "evaluations": sum(r.evaluations for r in results),
        "right at once": sum(r.right_at_once for r in results),
        "sound at once": sum(r.sound_at_once for r in results),
        "drawn": sum(r.asked for r in results),
    }


def rates(cost):
    """Rows of the table from the sums of a method's cost."""
    made, drawn = max(1, cost["made"]), max(1, cost.get("drawn", 0))
    rows = {"seconds per conformer": cost["seconds"] / made}
    if "drawn" in cost:
        rows["network evaluations per conformer"] = cost["evaluations"] / made
        rows["stereo right before resampling"] = cost["right at once"] / drawn
        rows["stereo right and sound before resampling"] = cost["sound at once"] / drawn
    return rows


class Store:
    """Pieces that are done, one JSON file each, and what they were made with.

    Raises:
        SystemExit: the folder holds pieces made with other settings.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        card = folder / "settings.json"
        known = json.loads(card.read_text()) if card.exists() else settings
        other = sorted(key for key in {*known, *settings} if known.get(key) != settings.get(key))
        if other:
            raise SystemExit(f"{folder}: holds pieces of other {', '.join(other)}; give another --checkpoint, or remove it")
        card.write_text(json.dumps(settings, indent=1) + "\n")

    def path(self, method: str, first: int) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.=]+', '_', method)}_{first:05d}.json"

    def save(self, method: str, first: int, evaluation: Evaluation, cost: dict) -> None:
        molecules = [{f.name: getattr(m, f.name) for f in fields(m)} for m in evaluation.molecules]
        for row in molecules:
            shape = row["geometry"]
            row["geometry"] = None if shape is None else {f.name: getattr(shape, f.name) for f in fields(shape)}
            row["rmsd"] = row["rmsd"].tolist()
        text = {
            "molecules": molecules,
            "unmatched": [[u.index, u.name, u.reason] for u in evaluation.unmatched],
            "eligible": evaluation.eligible,
            "refused": evaluation.refused,
            "cost": cost,
        }
        target = self.path(method, first)
        target.with_suffix(".part").write_text(json.dumps(text))
        target.with_suffix(".part").replace(target)  # whole or not at all

    def load(self, method: str, first: int) -> tuple[Evaluation, dict]:
        text = json.loads(self.path(method, first).read_text())
        molecules = []
        for row in text["molecules"]:
            if row["geometry"] is not None:
                counted = {k: Counter(v) if isinstance(v, dict) else v for k, v in row["geometry"].items()}
                row["geometry"] = Geometry(**counted)
            row |= {"status": tuple(row["status"]), "rmsd": np.array(row["rmsd"], float).reshape(-1, len(row["status"]))}
            row |= {key: Counter(row[key]) for key in ("pb_tests", "messages")}
            molecules.append(MoleculeResult(**row))
        unmatched = [UnusedRecord(*u) for u in text["unmatched"]]
        return Evaluation(molecules, unmatched, eligible=text["eligible"], refused=text["refused"]), text["cost"]

    def merged(self, method: str, firsts: Sequence[int], busters: int, seed: int) -> tuple[Evaluation, dict]:
        """All pieces of a method as one evaluation, and the sums of its cost."""
        pieces = [self.load(method, first) for first in firsts]
        cost = Counter()
        for _, spent in pieces:
            cost.update(spent)
        parts = [evaluation for evaluation, _ in pieces]
        return Evaluation(
            [m for part in parts for m in part.molecules],
            [u for part in parts for u in part.unmatched],
            cap=busters,
            seed=seed,
            eligible=sum(part.eligible for part in parts),
            refused=sum(part.refused for part in parts),
        ), dict(cost)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default=str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz"))
    add_weights(parser)
    parser.add_argument("--runs", nargs="*", default=RUNS, metavar=RUN_SYNTAX)
    parser.add_argument("--compare", nargs="*", choices=list(BASELINES), default=["etkdg", "mmff"], metavar="NAME")
    parser.add_argument("--openconf-python", metavar="PYTHON", help="the interpreter of an environment that has openconf")
    parser.add_argument("--level", default=None, metavar="NAME", help="level of theory; the model's first if not given")
    parser.add_argument("--delta", type=float, nargs="+", default=[0.05, 0.1, 0.5])
    parser.add_argument("--busters", type=int, default=0, help="conformers of each method for PoseBusters and strain")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    parser.add_argument("--n", type=int, default=0, help="conformers per molecule instead of 2K")
    parser.add_argument("--molecules", type=int, default=0, help="only this many, the first of the order drawn")
    parser.add_argument("--molecules-seed", type=int, default=0, help="of the order of the molecules")
    parser.add_argument("--piece", type=int, default=10, help="molecules between two checkpoints")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no piece after so long")
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of the pieces; below runs/ by name, seed and training if not given"
    )
    parser.add_argument("--name", default="conformers", help="of the files under benchmarks/results")
    args = parser.parse_args()
    if args.quick:
        args.molecules, args.runs, args.compare = args.molecules or 2, args.runs[:1], args.compare[:1]
    return args


def references(reference: str) -> Iterator[Record]:
    """Reference conformers of an SDF file or of a store."""
    if not reference.endswith(".h5"):
        yield from read_sdf(reference)
        return
    store = MoleculeStore(reference)
    for k in range(len(store)):
        yield from records_of(mol_of(store[k]), store[k].name or store[k].smiles)


def main() -> None:
    args = arguments()
    judged, begun = weights_of(args), time.monotonic()
    args.weights = judged.path
    ensembles, skipped = group_records(references(args.reference))
    for row in skipped:
        print(f"skipped {row.name}: {row.reason}")
    order = np.random.default_rng(args.molecules_seed).permutation(len(ensembles))[: args.molecules or None]
    ensembles = [ensembles[k] for k in order]
    counts = [args.n or 2 * e.size for e in ensembles]
    each = args.busters / len(ensembles)
    weights = Path(args.weights or SHIPPED)
    settings = {key: getattr(args, key) for key in ("level", "seed", "n", "molecules_seed", "piece")}
    settings |= {
        "reference": Path(args.reference).name,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else str(weights),
        "busters per molecule": each,
        "version": pyg_diffusion.__version__,
    }
    own = f"_{Path(str(judged.path)).name}" if args.train else ""
    name = f"{args.name}_seed{args.seed}{own}{'_quick' if args.quick else ''}"
    store = Store(args.checkpoint or Path("runs") / name, settings)
    done: list[int] = []
    with ExitStack() as stack:
        draws = {
            BASELINES[name].label: stack.enter_context(BASELINES[name].open(args.openconf_python)) for name in args.compare
        }
        methods = [*(f"ours {run}" for run in args.runs), *draws]
        for first in range(0, len(ensembles), args.piece):
            piece, wanted = ensembles[first : first + args.piece], counts[first : first + args.piece]
            missing = [method for method in methods if not store.path(method, first).exists()]
            if missing and time.monotonic() - begun > 60 * args.minutes:
                break
            for method in missing:
                if method in draws:
                    made = draw_each(draws[method], piece, wanted, args.seed)
                    records, cost = made.records, {"seconds": made.seconds, "made": len(made.records)}
                    for name, reason in made.problems:
                        print(f"{method}: {name}: {reason}")
                else:
                    run = method.removeprefix("ours ")
                    records, cost = ours(piece, wanted, args.weights, run, args.seed, args.level, first)
                checked = round(each * (first + len(piece))) - round(each * first)
                found = evaluate(piece, records, expected=wanted, checked=checked, seed=args.seed)
                store.save(method, first, found, cost)
            done.append(first)
    if not done:
        raise SystemExit("no piece was finished by every method; give more --minutes")
    found_by, extra = {}, {}
    for method in methods:
        found_by[method], cost = store.merged(method, done, args.busters, args.seed)
        extra[method] = rates(cost)
    comparison = compare(found_by, args.delta, extra=extra)
    print(comparison.table())
    if comparison.molecules < len(ensembles):
        print(f"\n{comparison.molecules} of {len(ensembles)} molecules done; the same command goes on")
    write(args, comparison, judged.about)


def write(args: argparse.Namespace, comparison, about: dict) -> None:
    target = results(args) / args.name
    told = {key: value for key, value in vars(args).items() if key not in ("minutes", "checkpoint", "openconf_python")}
    told["reference"] = Path(args.reference).name
    text = {"machine": machine(), "arguments": told, "weights": about, **comparison.as_dict()}
    target.with_suffix(".json").write_text(json.dumps(text, indent=1, allow_nan=False) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, measure in zip(axes, ("AMR-R mean", "AMR-P mean"), strict=True):
        known = {name: row for name, row in comparison.rows.items() if np.isfinite(row[measure] or np.nan)}
        for name, row in known.items():
            axis.scatter(row["seconds per conformer"], row[measure], label=name)
        axis.set(xlabel="seconds of one core per conformer", ylabel=f"{measure}, Å", ylim=(0, None))
        if known:  # weights that solve nothing are in the table all the same
            axis.set_xscale("log")
        axis.grid(alpha=0.3)
    if axes[1].get_legend_handles_labels()[0]:
        axes[1].legend(fontsize=7)
    figure.savefig(target.with_suffix(".png"), dpi=110)
    print(f"\n{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
