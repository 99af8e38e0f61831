"""Does the confidence of a conformer tell how wrong it is?

    python benchmarks/confidence.py [REFERENCE.sdf.gz] [--weights FILE | --train RECIPE] [--quick] [--steps 8] [--seed 0]

2K conformers for K references. The true error of a conformer is its RMSD to the nearest reference. Spearman's rank
correlation of confidence with minus the error, over all conformers and within molecules (mean), with the standard error from
resampling molecules; beside it, what needs no model: minus the number of rotatable bonds. Then the mean error of the surest
100, 75, 50 and 25 %. Prints the table, writes benchmarks/results/confidence.json and .png.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from machine import machine
from rdkit.Chem import rdMolDescriptors
from scipy.stats import spearmanr
from trained import add_weights, results, weights_of

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol, read_sdf, with_positions
from pyg_diffusion.chem.heavy import heavy_atoms
from pyg_diffusion.chem.similarity import representatives
from pyg_diffusion.metrics import evaluate, group_records, records_of
from pyg_diffusion.tasks.molecules.embed import OVERSAMPLE

HERE = Path(__file__).parent


def correlation(score: list[np.ndarray], error: list[np.ndarray], draws: int = 500) -> dict[str, float]:
    """Spearman's ρ of score with minus error, one array per molecule."""
    rng = np.random.default_rng(0)

    def pooled(chosen: np.ndarray) -> float:
        return -float(spearmanr(np.concatenate([score[k] for k in chosen]), np.concatenate([error[k] for k in chosen]))[0])

    every = np.arange(len(score))
    spread = [pooled(rng.choice(every, len(every))) for _ in range(draws)]
    inside = [
        -spearmanr(s, e)[0] for s, e in zip(score, error, strict=True) if len(s) > 3 and np.ptp(s) > 0 and np.ptp(e) > 0
    ]
    within = float(np.mean(inside)) if inside else float("nan")
    return {"pooled": pooled(every), "standard error": float(np.std(spread)), "within molecules": within}


def options() -> argparse.ArgumentParser:
    """What it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default=str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz"))
    add_weights(parser)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = options().parse_args()
    weights = weights_of(args)
    ensembles, _ = group_records(read_sdf(args.reference))
    ensembles = ensembles[:4] if args.quick else ensembles
    steps = {} if args.steps is None else {"steps": args.steps}
    generator = ConformerGenerator.from_pretrained(weights.path, device="cpu", **steps)
    molecules = [molecule_from_mol(e.mol, e.name, conformers=False) for e in ensembles]
    counts = [2 * e.size for e in ensembles]
    made = generator.sample(  # as `embed_multiple_confs` and the command do
        molecules,
        [round(OVERSAMPLE * count) for count in counts],
        args.seed,
        choose=lambda k, *drawn: representatives(ensembles[k].mol, drawn[0], counts[k], drawn[1]),
    )
    records = []
    for ensemble, result in zip(ensembles, made, strict=True):
        records += records_of(with_positions(ensemble.mol, result.positions), ensemble.name)
    scored = evaluate(ensembles, records).molecules
    solved = [k for k in range(len(ensembles)) if len(made[k].positions)]
    if not solved:
        raise SystemExit("no draw of these weights was sound, so there is nothing to be sure of; train longer")
    error = [scored[k].precision_minima[np.isfinite(scored[k].precision_minima)] for k in solved]
    assert all(len(e) == len(made[k].positions) for e, k in zip(error, solved, strict=True))
    sure = [made[k].confidence for k in solved]
    turns = [rdMolDescriptors.CalcNumRotatableBonds(heavy_atoms(ensembles[k].mol)) for k in solved]
    trivial = [np.full(len(e), -float(n)) for n, e in zip(turns, error, strict=True)]
    rows = {"confidence": correlation(sure, error), "fewer rotatable bonds": correlation(trivial, error)}
    for name, row in rows.items():
        print(f"{name:24} " + ", ".join(f"{k} {v:.3f}" for k, v in row.items()))
    every, ranked = np.concatenate(error), np.argsort(-np.concatenate(sure))
    kept = {
        f"{share:.0%}": float(every[ranked[: max(1, round(share * len(every)))]].mean()) for share in (1, 0.75, 0.5, 0.25)
    }
    print("mean error of the surest, Å: " + ", ".join(f"{k} {v:.3f}" for k, v in kept.items()))
    target = results(args) / "confidence"
    text = {
        "machine": machine(),
        "weights": weights.about,
        "reference": Path(args.reference).name,
        "steps": generator.steps,
        "oversample": OVERSAMPLE,
        "seed": args.seed,
    }
    text |= {"molecules": len(solved), "conformers": len(every), "rows": rows, "mean error of the surest": kept}
    target.with_suffix(".json").write_text(json.dumps(text, indent=1) + "\n")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.scatter(np.concatenate(sure), every, s=4, alpha=0.4)
    left.set(xlabel="confidence", ylabel="RMSD to the nearest reference, Å", yscale="log")
    right.plot(
        np.arange(1, len(every) + 1) / len(every), np.cumsum(every[ranked]) / np.arange(1, len(every) + 1), label="ours"
    )
    best = np.sort(every)
    right.plot(np.arange(1, len(every) + 1) / len(every), np.cumsum(best) / np.arange(1, len(every) + 1), label="perfect")
    right.set(xlabel="share kept, surest first", ylabel="mean error, Å", ylim=(0, None))
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(target.with_suffix(".png"), dpi=110)
    print(f"{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
