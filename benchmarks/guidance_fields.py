"""Do fields follow an amplitude that is asked of them? Classifier-free guidance on a field's own scale.

    python benchmarks/guidance_fields.py [--weights FOLDER | --train RECIPE] [--quick]

Without weights a model is trained by configs/fields_conditioned.yaml first, five minutes on one core.
The law is a Gaussian random field of amplitude a, drawn anew for every training field. For each asked a and weight w the
model makes `--each` fields; `rms` is the root of their mean square, which for the law is a on average. `error`: the mean
over asked values of |rms - a|. `spread`: standard deviation of single fields' rms over that of the law's fields of the same
a: 1 where only the amplitude is held, and the field is as free as it should be. One value, 2.5, lies outside the training
range and counts in neither.
Prints a table, writes results/guidance_fields.json and .png.
"""

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from machine import machine
from trained import CONFIGS, QUICK, add_weights, results, weights_of

from pyg_diffusion import FieldGenerator
from pyg_diffusion.datasets import GridFields
from pyg_diffusion.sample import Ancestral

ASKED = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
WEIGHTS = (0.0, 1.0, 1.5, 2.0)


def scales(x: torch.Tensor) -> np.ndarray:
    """Root mean square of each field `[S, N, C]`."""
    return x.double().square().mean((1, 2)).sqrt().numpy()


def show_head(known: np.ndarray) -> None:
    """The table's first lines, the second of the law itself."""
    print(
        f"{'w':>4} {'error':>7} {'slope':>7} {'spread':>7} {'evaluations':>11}  rms at "
        + " ".join(f"{a:6.2f}" for a in ASKED)
    )
    print(
        f"{'law':>4} {'':>7} {1.0:7.3f} {1.0:7.2f} {'':>11}         "
        + " ".join(f"{a * np.sqrt((known**2).mean()):6.3f}" for a in ASKED)
    )


def options() -> argparse.ArgumentParser:
    """What it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights(parser)
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="results/guidance_fields.json if not given")
    return parser


def main() -> None:
    """Sample, measure, print, write."""
    parser = options()
    args = parser.parse_args()
    weights = weights_of(
        args, CONFIGS / "fields_conditioned.yaml", quick=(*QUICK, "data.num_samples=200", "data.val_samples=20")
    )
    args.output, args.each = args.output or results(args) / "guidance_fields.json", 4 if args.quick else args.each
    steps = {"steps": 5} if args.quick else {}
    generator = FieldGenerator.from_pretrained(weights.path, sampler=Ancestral(), **steps)
    if "amplitude" not in generator.card.model.get("conditions", []):
        parser.error("these weights are not conditioned on amplitude; --train configs/fields_conditioned.yaml makes some")
    data = generator.card.data
    rest = {k: v for k, v in data["parameters"].items() if k != "amplitude"}
    with tempfile.TemporaryDirectory() as root:
        law = GridFields(
            root, data["law"], data["shape"], 2000, split="test", kinds=data["kinds"], spacing=data["spacing"], **rest
        )
        known = scales(law.fields)  # of amplitude 1; the law is linear in it
    rows = {}
    show_head(known)
    for w in WEIGHTS:
        made = [scales(generator.sample(args.each, args.seed, {"amplitude": a}, w)) for a in ASKED]
        rms = np.array([np.sqrt((m**2).mean()) for m in made])
        inside = np.array(ASKED) <= data["parameters"]["amplitude"][1]
        wanted = np.array(ASKED) * np.sqrt((known**2).mean())
        row = {
            "error": float(np.abs(rms - wanted)[inside].mean()),
            "slope": float(np.polyfit(wanted[inside], rms[inside], 1)[0]),
            "spread": float(
                np.mean([m.std() / (a * known.std()) for m, a in zip(made, ASKED, strict=True)][: int(inside.sum())])
            ),
            "rms": rms.tolist(),
            "evaluations per field": generator.evaluations,
        }
        rows[str(w)] = row
        print(
            f"{w:4.1f} {row['error']:7.3f} {row['slope']:7.3f} {row['spread']:7.2f} {generator.evaluations:>11}         "
            + " ".join(f"{v:6.3f}" for v in rms)
        )
    result = {
        "machine": machine(),
        "trained": weights.about,
        "asked": ASKED,
        "each": args.each,
        "law": data,
        "weights": rows,
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    axis.plot([0, 2.6], [0, 2.6], color="black", lw=1)
    for w, row in rows.items():
        axis.plot(ASKED, row["rms"], "o-", ms=4, label=f"w = {w}")
    axis.axvspan(*data["parameters"]["amplitude"], color="#9a9a9a", alpha=0.2, label="trained on")
    axis.set(xlabel="asked amplitude", ylabel="root mean square of the generated fields")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(args.output.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
