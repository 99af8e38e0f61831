"""Do conformers follow a radius of gyration that is asked of them? Classifier-free guidance on a real property.

    python benchmarks/guidance.py [datasets/qm9_ensembles_20.sdf.gz] [--weights FILE | --train configs/conditioned.yaml]

No such weights are shipped: without any given, a model is trained for ten minutes on the bundled molecules first.

The molecules' reference conformers (GFN2-xTB, not in the training data) have radii of gyration R of their own, by which
the conformers of one molecule differ. Asked for each R, the model generates `--each` conformers at every guidance weight w:
0 ignores what is asked, 1 is the conditional model, above 1 exaggerates. For all of them: mean |R - asked| in Å; and, with
each molecule's mean taken away from both, the slope and the correlation of generated R on asked R. A model that knows the
molecule but ignores the wish has slope 0. `outside` asks for 5 % more and 5 % less than the largest and smallest R of a
molecule. `bonds`: mean deviation of bond lengths from the references' means, which is what a wish costs. The intervals are
two standard errors by bootstrap over molecules.
Prints a table, writes results/guidance.json and .png.
"""

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from machine import machine
from trained import CONFIGS, DATASETS, add_weights, results, weights_of

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.data import Molecule

SMALL = ("data.store=store/qm9_3000.h5", "train.max_minutes=10")  # of configs/conditioned.yaml, on bundled molecules
WEIGHTS = (0.0, 1.0, 2.0, 4.0)


def radius(positions: np.ndarray) -> np.ndarray:
    """R of conformers `[k, N, 3]`."""
    centred = positions - positions.mean(1, keepdims=True)
    return np.sqrt((centred**2).sum(2).mean(1))


def lengths(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Bond lengths `[k, bonds]` of conformers `[k, N, 3]`."""
    return np.linalg.norm(positions[:, bonds[0]] - positions[:, bonds[1]], axis=2)


@dataclass
class Reference:
    """A molecule, R of its conformers, its bonds `[2, bonds]` and their mean lengths."""

    molecule: Molecule
    radii: np.ndarray
    bonds: np.ndarray
    lengths: np.ndarray


def references(path: str, limit: int) -> list[Reference]:
    """Of an SDF file whose conformers of one molecule have one name and atom order."""
    groups: dict[str, list] = {}
    for record in read_sdf(path):
        if record.mol is not None:
            groups.setdefault(record.name, []).append(record.mol)
    data = []
    for mols in list(groups.values())[:limit]:
        positions = np.stack([mol.GetConformer().GetPositions() for mol in mols])
        bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mols[0].GetBonds()]).T
        data.append(Reference(molecule_from_mol(mols[0]), radius(positions), bonds, lengths(positions, bonds).mean(0)))
    return data


def generate(
    generator: ConformerGenerator, data: list[Reference], asked: list[np.ndarray], weight: float, each: int, seed: int
):
    """Generated R `[asks, each]` per molecule, NaN for missing conformers; mean |bond - reference's| over all bonds; network
    evaluations per conformer."""
    pairs = [(item, r) for item, radii in zip(data, asked, strict=True) for r in radii]
    wishes = [{"radius_of_gyration": float(r)} for _, r in pairs]
    results = generator.sample([item.molecule for item, _ in pairs], each, seed, condition=wishes, guidance=weight)
    made, bonds = np.full((len(results), each), np.nan), []
    for row, result, (item, _) in zip(made, results, pairs, strict=True):
        row[: len(result.positions)] = radius(result.positions)
        bonds.append(abs(lengths(result.positions, item.bonds) - item.lengths).mean())
    ends = np.cumsum([0, *map(len, asked)])
    evaluations = sum(result.evaluations for result in results) / max(1, sum(len(result.positions) for result in results))
    return [made[a:b] for a, b in pairwise(ends)], float(np.nanmean(bonds)), evaluations


def measures(made: list[np.ndarray], asked: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """(mean |R - asked|, slope, correlation) over the chosen molecules."""
    gaps, xs, ys = [], [], []
    for k in chosen:
        wish = np.repeat(asked[k][:, None], made[k].shape[1], 1)
        gaps.append(np.nanmean(abs(made[k] - wish)))
        if len(asked[k]) > 1:
            xs.append((wish - wish.mean()).ravel())
            ys.append((made[k] - np.nanmean(made[k])).ravel())
    x, y = np.concatenate(xs), np.concatenate(ys)
    good = np.isfinite(y)
    x, y = x[good], y[good]
    return np.array([np.mean(gaps), (x * y).sum() / (x * x).sum(), (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())])


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(WEIGHTS), figsize=(3.2 * len(WEIGHTS), 3.2), sharex=True, sharey=True, layout="constrained"
    )
    for axis, weight in zip(axes, WEIGHTS, strict=True):
        row = next(r for r in rows if r["guidance"] == weight and r["asked"] == "references")
        x, y = np.array(row["points"]).T
        axis.plot(x, y, ".", ms=3, alpha=0.5)
        lim = [min(x.min(), y.min()), max(x.max(), y.max())]
        axis.plot(lim, lim, color="black", lw=0.8)
        axis.set(title=f"w = {weight:g}: slope {row['slope'][0]:.2f}", xlabel="asked R - mean of the molecule [Å]")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("generated R - mean [Å]")
    figure.savefig(path, dpi=150)


def options() -> argparse.ArgumentParser:
    """What it takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "references",
        nargs="?",
        default=str(DATASETS / "qm9_ensembles_20.sdf.gz"),
        help="SDF with several conformers per molecule",
    )
    add_weights(parser)
    parser.add_argument("--each", type=int, default=4, help="conformers per asked value")
    parser.add_argument("--limit", type=int, default=100, help="molecules at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="results/guidance.json if not given")
    return parser


def main() -> None:
    parser = options()
    args = parser.parse_args()
    weights = weights_of(args, CONFIGS / "conditioned.yaml", SMALL)
    generator = ConformerGenerator.from_pretrained(weights.path, unsound="keep" if args.quick else "refuse")
    if "radius_of_gyration" not in generator.card.model.get("conditions", []):
        parser.error("these weights are not conditioned on radius_of_gyration; --train configs/conditioned.yaml makes some")
    args.out = args.out or results(args) / "guidance.json"
    data = references(args.references, 2 if args.quick else args.limit)
    inside = [item.radii for item in data]
    outside = [np.array([0.95 * radii.min(), 1.05 * radii.max()]) for radii in inside]
    rows = []
    for name, asked in (("references", inside), ("outside", outside)):
        for weight in WEIGHTS:
            made, bonds, evaluations = generate(generator, data, asked, weight, args.each, args.seed)
            everything = np.arange(len(data))
            value = measures(made, asked, everything)
            rng = np.random.default_rng(0)
            resampled = [measures(made, asked, rng.choice(everything, len(data))) for _ in range(200)]
            spread = 2 * np.std(resampled, axis=0)
            row = {
                "asked": name,
                "guidance": weight,
                "missing": float(np.mean(np.isnan(np.concatenate(made)))),
                "bonds": bonds,
                "evaluations per conformer": evaluations,
            }
            for k, key in enumerate(("mean_error", "slope", "correlation")):
                row[key] = [float(value[k]), float(spread[k])]
            if name == "references":
                row["points"] = [
                    [float(a - w.mean()), float(b - np.nanmean(m))]
                    for w, m in zip(asked, made, strict=True)
                    for a, values in zip(w, m, strict=True)
                    for b in values
                    if np.isfinite(b)
                ]
            rows.append(row)
    spread = np.concatenate([r - r.mean() for r in inside]).std()
    print(f"{len(data)} molecules, {sum(map(len, inside))} references, R within a molecule varies by {spread:.3f} Å (std)")
    cost = f"{'bonds':>9} {'missing':>8} {'evaluations':>11}"
    print(f"{'asked':>11} {'w':>4} {'mean |R - asked|':>20} {'slope':>14} {'correlation':>14} {cost}")
    for r in rows:
        cells = [f"{r[k][0]:.3f} ± {r[k][1]:.3f}" for k in ("mean_error", "slope", "correlation")]
        cost = f"{r['bonds']:>7.4f} Å {100 * r['missing']:>6.1f} % {r['evaluations per conformer']:>11.1f}"
        print(f"{r['asked']:>11} {r['guidance']:>4g} {cells[0]:>20} {cells[1]:>14} {cells[2]:>14} {cost}")
    plot(rows, args.out.with_suffix(".png"))
    for r in rows:
        r.pop("points", None)
    record = {
        "machine": machine(),
        "weights": weights.about,
        "training": generator.card.training,
        "molecules": len(data),
        "rows": rows,
    }
    record["training"] = {k: v for k, v in record["training"].items() if k in ("stores", "steps", "minutes", "conformers")}
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
