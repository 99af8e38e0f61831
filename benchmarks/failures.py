"""Which molecules fail? Recall and precision by class of molecule, ours beside ETKDGv3, and pictures of the worst.

    python benchmarks/failures.py [REFERENCE.sdf.gz] [--weights FILE | --train RECIPE] [--quick] [-n 50]
        [--molecules 150] [--name failures_qm9]

A molecule counts in every class that it belongs to. "missed" is the share of references without any conformer nearer than
`--missed` Å. Prints the table (worst class of ours first), writes benchmarks/results/NAME.json, and NAME.png with overlays
of the eight worst molecules: reference dark, nearest generated conformer light.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from conformers import RUN_SYNTAX, ours
from machine import machine
from rdkit import Chem
from rdkit.Chem import rdMolAlign, rdMolDescriptors
from trained import add_weights, results, weights_of

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.heavy import heavy_atoms
from pyg_diffusion.metrics import BASELINES, draw_each, evaluate, group_records
from pyg_diffusion.metrics.result import OK
from pyg_diffusion.tasks.molecules.plot import draw_overlay

HERE = Path(__file__).parent


def ring_sizes(mol: Chem.Mol) -> list[int]:
    return [len(ring) for ring in mol.GetRingInfo().AtomRings()]


def has(smarts: str) -> Callable[[Chem.Mol], bool]:
    pattern = Chem.MolFromSmarts(smarts)
    return lambda mol: mol.HasSubstructMatch(pattern)


def turns(low: int, high: int) -> Callable[[Chem.Mol], bool]:
    return lambda mol: low <= rdMolDescriptors.CalcNumRotatableBonds(mol) <= high


CLASSES: dict[str, Callable[[Chem.Mol], bool]] = {
    "all": lambda mol: True,
    "no ring": lambda mol: not ring_sizes(mol),
    "ring of 3 or 4": lambda mol: any(n < 5 for n in ring_sizes(mol)),
    "saturated ring of 5 or 6": has("[R;!a;r5,r6;CX4]@[R;!a;CX4]@[R;!a;CX4]"),
    "ring of 7 or 8": lambda mol: any(6 < n < 9 for n in ring_sizes(mol)),
    "macrocycle (9 or more)": lambda mol: any(n > 8 for n in ring_sizes(mol)),
    "fused or bridged rings": has("[R2]"),
    "aromatic": has("a"),
    "conjugated, not aromatic": has("[#6;!a]=[*;!a]-[*;!a]=[*;!a]"),
    "amide": has("[CX3](=O)[NX3]"),
    "acid or ester": has("[CX3](=O)[OX2,OX1-]"),
    "alcohol": has("[CX4][OX2H]"),
    "sulfonyl": has("S(=O)=O"),
    "phosphorus": has("[#15]"),
    "halogen": has("[F,Cl,Br,I]"),
    "charged": has("[+,-]"),
    "stereocentre": lambda mol: bool(Chem.FindMolChiralCenters(mol)),
    "rotatable bonds 0": turns(0, 0),
    "rotatable bonds 1-2": turns(1, 2),
    "rotatable bonds 3-5": turns(3, 5),
    "rotatable bonds 6-9": turns(6, 9),
    "rotatable bonds 10 or more": turns(10, 1000),
}


def draw(worst: list, ensembles: list, target: Path) -> None:
    """The worst reference of each molecule on the conformer nearest to it."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.6), layout="constrained")
    for axis, (k, result, records) in zip(axes.flat, worst, strict=False):
        ensemble = ensembles[k]
        i = int(np.argmax(result.recall_minima))
        bare = heavy_atoms(ensemble.mol)
        placed = [heavy_atoms(r.mol) for r in records]
        distances = [rdMolAlign.GetBestRMS(p, bare, -1, bare.GetConformers()[i].GetId()) for p in placed]
        j = int(np.argmin(distances))
        rdMolAlign.GetBestRMS(placed[j], bare, -1, bare.GetConformers()[i].GetId())  # leaves it superposed
        order = list(placed[j].GetSubstructMatch(bare)) or list(range(bare.GetNumAtoms()))
        near = placed[j].GetConformer().GetPositions()[order]
        title = f"{Chem.MolToSmiles(bare)[:34]}\n{distances[j]:.2f} Å"
        draw_overlay(axis, bare, bare.GetConformers()[i].GetPositions(), near, title)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default=str(HERE.parent / "datasets" / "qm9_ensembles_20.sdf.gz"))
    add_weights(parser)
    parser.add_argument("--run", default="ancestral:8:oversample=2", metavar=RUN_SYNTAX)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=0, help="conformers per molecule instead of 2K")
    parser.add_argument("--molecules", type=int, default=0, help="only this many, drawn by the seed")
    parser.add_argument("--missed", type=float, default=0.5, help="Å")
    parser.add_argument("--name", default="failures", help="of the files under benchmarks/results")
    args = parser.parse_args()
    weights = weights_of(args)
    args.weights = weights.path
    ensembles, _ = group_records(read_sdf(args.reference))
    if count := args.molecules or 3 * args.quick:
        chosen = np.random.default_rng(args.seed).permutation(len(ensembles))[:count]
        ensembles = [ensembles[k] for k in sorted(chosen)]
    counts = [args.n or 2 * e.size for e in ensembles]
    with BASELINES["etkdg"].open() as draw_one:
        made = {
            "ours": ours(ensembles, counts, args.weights, args.run, args.seed)[0],
            "ETKDGv3": draw_each(draw_one, ensembles, counts, args.seed).records,
        }
    scored = {name: evaluate(ensembles, records, expected=counts).molecules for name, records in made.items()}
    solved = [k for k in range(len(ensembles)) if all(OK in scored[name][k].status for name in made)]
    if not solved:
        raise SystemExit("no molecule was solved by both methods: these weights make nothing sound; train longer")
    bare = [heavy_atoms(e.mol) for e in ensembles]
    rows = {}
    for label, member in CLASSES.items():
        mine = [k for k in solved if member(bare[k])]
        if mine:
            rows[label] = {"molecules": len(mine)}
            for name, found in scored.items():
                rows[label][f"{name} AMR-R"] = float(np.mean([found[k].amr_r for k in mine]))
                rows[label][f"{name} AMR-P"] = float(np.mean([found[k].amr_p() for k in mine]))
                missed = [float((found[k].recall_minima > args.missed).mean()) for k in mine]
                rows[label][f"{name} missed"] = float(np.mean(missed))
    columns = list(rows["all"])
    print(f"{'':28} " + " ".join(f"{c:>14}" for c in columns))
    for label in sorted(rows, key=lambda r: -rows[r]["ours AMR-R"]):
        print(f"{label:28} " + " ".join(f"{rows[label][c]:>14.3g}" for c in columns))
    print(f"{len(ensembles) - len(solved)} of {len(ensembles)} molecules not solved by both are left out")
    target = results(args) / args.name
    text = {
        "machine": machine(),
        "weights": weights.about,
        "arguments": {**vars(args), "reference": Path(args.reference).name},
        "rows": rows,
    }
    target.with_suffix(".json").write_text(json.dumps(text, indent=1) + "\n")
    ranked = sorted(solved, key=lambda k: -scored["ours"][k].amr_r)[:8]
    names: dict[str, list] = {}
    for record in made["ours"]:
        names.setdefault(record.name, []).append(record)
    draw([(k, scored["ours"][k], names[ensembles[k].name]) for k in ranked], ensembles, target.with_suffix(".png"))
    print(f"{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
