"""How many draws does the gate turn away, of which molecules, and what does it cost?

    python benchmarks/gate_draws.py FILE.smi|FILE.sdf.gz ... [--molecules 200] [-n 3]
        [--weights FILE | --train RECIPE] [--quick]

For each file, molecules drawn by the seed: the share of first draws of right stereo, and sound too; the kinds of fault of
the others; molecules without any conformer, and conformers missing, after all attempts; and the same without the gate's
redrawing, where what is unsound would have been given out. Then what the gate takes per conformer, and the confidence of
draws that it passes and that it turns away. Prints the table, writes benchmarks/results/gate_draws.json and .png.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from machine import machine
from trained import add_weights, results, weights_of

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import Soundness, molecule_from_mol, read_records
from pyg_diffusion.data import Molecule

HERE = Path(__file__).parent


def drawn_by_seed(path: str, count: int, seed: int) -> list[Molecule]:
    """Molecules of a file without their conformers."""
    usable = [r for r in read_records(path, need_3d=False) if r.mol is not None]
    chosen = sorted(np.random.default_rng(seed).permutation(len(usable))[:count])
    return [molecule_from_mol(usable[k].mol, usable[k].name, conformers=False) for k in chosen]


def measure(molecules: list[Molecule], n: int, weights: str | None, seed: int) -> dict:
    options = {"device": "cpu", "unsound": "keep"}
    plain = ConformerGenerator.from_pretrained(weights, **options).sample(molecules, n, seed, max_attempts=1)
    kinds, seconds, looked_at = Counter[str](), 0.0, 0
    passed, turned_away = [], []
    for molecule, result in zip(molecules, plain, strict=True):
        if not len(result.positions):
            continue
        start = time.perf_counter()
        gate = Soundness(molecule)
        gate.excess(result.positions)
        seconds += time.perf_counter() - start
        looked_at += len(result.positions)
        for faults in gate.faults(result.positions):
            kinds.update({fault.kind for fault in faults})
        for words, value in zip(result.faults, result.confidence, strict=True):
            (turned_away if words else passed).append(float(value))
    start = time.perf_counter()
    made = ConformerGenerator.from_pretrained(weights, device="cpu").sample(molecules, n, seed)
    spent = time.perf_counter() - start
    asked = sum(r.asked for r in made)
    return {
        "molecules": len(molecules),
        "conformers": asked,
        "stereo right at once": sum(r.right_at_once for r in made) / asked,
        "right and sound at once": sum(r.sound_at_once for r in made) / asked,
        "kinds of fault at once": {kind: number / asked for kind, number in kinds.most_common()},
        "unsound draws made anew, per conformer": sum(r.redrawn for r in made) / asked,
        "conformers missing": 1 - sum(len(r.positions) for r in made) / asked,
        "molecules refused": sum(not len(r.positions) for r in made) / len(molecules),
        "refused": {m.name: f"{m.smiles}: {r.problem}" for m, r in zip(molecules, made, strict=True) if r.problem},
        "gate, ms per conformer": 1000 * seconds / max(1, looked_at),
        "sampling, ms per conformer": 1000 * spent / asked,
        "confidence of sound, of unsound": [float(np.mean(c)) if c else None for c in (passed, turned_away)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(HERE.parent / "datasets" / "zinc_100.smi")])
    parser.add_argument("--molecules", type=int, default=200)
    parser.add_argument("-n", type=int, default=3, help="conformers of each")
    add_weights(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="gate_draws", help="of the files under benchmarks/results")
    args = parser.parse_args()
    weights, rows = weights_of(args), {}
    count = min(args.molecules, 4) if args.quick else args.molecules
    for path in args.files:
        name = Path(path).name.split(".")[0]
        rows[name] = measure(drawn_by_seed(path, count, args.seed), args.n, weights.path, args.seed)
        print(name)
        for key, value in rows[name].items():
            print(f"    {key:40} {value:.4g}" if isinstance(value, float) else f"    {key:40} {value}")
    target = results(args) / args.name
    text = {"machine": machine(), "weights": weights.about, "arguments": {**vars(args), "files": list(rows)}, "rows": rows}
    target.with_suffix(".json").write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    shown = ("stereo right at once", "right and sound at once", "conformers missing", "molecules refused")
    for k, key in enumerate(shown):
        axis.barh(np.arange(len(rows)) + 0.2 * k, [row[key] for row in rows.values()], height=0.18, label=key)
    axis.set(yticks=np.arange(len(rows)) + 0.3, yticklabels=list(rows), xlabel="share")
    axis.legend(fontsize=7)
    figure.savefig(target.with_suffix(".png"), dpi=110)
    print(f"{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
