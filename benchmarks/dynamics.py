"""Molecular dynamics as training data: the Ramachandran distribution of alanine dipeptide, simulated twice and learned once.

    python benchmarks/dynamics.py                            # 50 ns, twice; half an hour of training; the table
    python benchmarks/dynamics.py --steps simulate --ns 50 --minutes 60   # goes on where it was, an hour at most for each
    python benchmarks/dynamics.py --quick                    # a minute: does it run?

`pip install 'pyg_diffusion[train,plot,md]'` (openmm, mdtraj). The first ten nanoseconds of each are left out (--burn-in):
both begin at one embedded structure, in αL, which a simulation may leave only after nanoseconds. The first is what the model
learns from; its last tenth is held out. Rows: both simulations, the model by configs/dynamics_dipeptide.yaml, and ETKDGv3
with MMFF94s.

* Jensen-Shannon divergence in bits of histograms of (φ, ψ), 15° wide, against each simulation as a whole. All rows but the
  simulations' own have as many samples as the model; the second simulation is thinned to that.
* F - F(β) = -kT log(p/p(β)) at 300 K, in kJ/mol, of αR (φ < 0°, -120° <= ψ < 50°) and αL (0° <= φ < 130°); β is the rest:
  C7eq, C5 and PII.
* Errors are those of a jackknife over ten blocks of a row's samples, of simulations in order of time, so that slow exchange
  counts; of the divergence with the reference as it is.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from dynamics_simulation import (
    FRAME_PS,
    KELVIN,
    SEGMENT,
    SETTINGS,
    SMILES,
    built,
    nanoseconds_a_day,
    segments,
    simulate,
    torsions,
    write_topology,
)
from machine import core_time, machine
from rdkit import Chem
from trained import CONFIGS, trained

from pyg_diffusion.chem.frames import prepare_frames
from pyg_diffusion.data import MoleculeStore
from pyg_diffusion.metrics.baselines import etkdg
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator

HERE = Path(__file__).parent
BINS, BLOCKS = 24, 10
KT = 8.314462618e-3 * KELVIN
BASINS = ("beta", "alpha_R", "alpha_L")
FIRST, SECOND, MODEL, RDKIT = "first simulation", "second simulation", "diffusion", "ETKDGv3 + MMFF94s"
QUICK = [
    "train.max_steps=20",
    "train.val_every=20",
    "train.max_minutes=0",
    "model.width=16",
    "model.depths=[1]",
    "sample.steps=4",
]


def dihedral(pos: np.ndarray, atoms: list[int]) -> np.ndarray:
    """Torsion in degrees of positions `[K, N, 3]`, `[K]`."""
    a, b, c, d = (pos[:, k].astype(float) for k in atoms)
    axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    u, v = a - b, d - c
    u, v = u - (u * axis).sum(1, keepdims=True) * axis, v - (v * axis).sum(1, keepdims=True) * axis
    return np.degrees(np.arctan2((np.cross(axis, u) * v).sum(1), (u * v).sum(1)))


def angles_of(pos: np.ndarray, phi: list[int], psi: list[int]) -> np.ndarray:
    """(φ, ψ) `[K, 2]`."""
    return np.stack([dihedral(pos, phi), dihedral(pos, psi)], 1)


def histogram(angles: np.ndarray) -> np.ndarray:
    """Shares `[BINS²]`."""
    counts = np.histogram2d(*angles.T, bins=BINS, range=[[-180, 180]] * 2)[0].ravel()
    return counts / counts.sum()


def divergence(angles: np.ndarray, reference: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits from a histogram, 0 to 1."""
    p, q = histogram(angles), reference
    m = (p + q) / 2

    def relative(x: np.ndarray) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / m[some])).sum())

    return (relative(p) + relative(q)) / 2


def shares(angles: np.ndarray) -> np.ndarray:
    """Of the basins, `[3]`."""
    phi, psi = angles.T
    left = (phi >= 0) & (phi < 130)
    right = (phi < 0) & (psi >= -120) & (psi < 50)
    return np.array([(~left & ~right).mean(), right.mean(), left.mean()])


def free_energies(angles: np.ndarray) -> np.ndarray:
    """F - F(β) of αR and αL in kJ/mol, `[2]`; infinite where a basin is empty."""
    p = shares(angles)
    with np.errstate(divide="ignore"):
        return -KT * np.log(p[1:] / p[0])


def with_error(angles: np.ndarray, measure) -> list[list[float | None]]:
    """Values of a measure, and their jackknife errors over blocks; None where not finite."""
    blocks = np.array_split(np.arange(len(angles)), BLOCKS)
    value = np.atleast_1d(measure(angles))
    with np.errstate(invalid="ignore"):
        left = np.array([np.atleast_1d(measure(np.delete(angles, block, 0))) for block in blocks])
        error = np.sqrt((BLOCKS - 1) * ((left - left.mean(0)) ** 2).mean(0))
    return [[float(x) if math.isfinite(x) else None for x in pair] for pair in zip(value, error, strict=True)]


def row_of(angles: np.ndarray, references: dict[str, np.ndarray], own: str = "") -> dict[str, Any]:
    """What is said of one set of angles."""
    row: dict[str, Any] = {"samples": len(angles)}
    row |= {f"share_{name}": float(p) for name, p in zip(BASINS, shares(angles), strict=True)}
    row |= dict(zip(("F_alpha_R", "F_alpha_L"), with_error(angles, free_energies), strict=True))
    for name, reference in references.items():
        if name != own:
            row[f"divergence, {name}"] = with_error(angles, lambda a, q=reference: divergence(a, q))[0]
    return row


def thinned(angles: np.ndarray, count: int) -> np.ndarray:
    """So many of them, evenly in time."""
    return angles[np.linspace(0, len(angles) - 1, min(count, len(angles))).round().astype(int)]


def frames_of(store: Path) -> np.ndarray:
    """All positions of the one molecule of a store, `[K, N, 3]` in Å."""
    return np.stack(MoleculeStore(store)[0].pos)


def drawn(weights: str, store: Path, count: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Conformers of the model as they are drawn, none drawn again or mended; those of wrong stereo alone are left out."""
    molecule = MoleculeStore(store).molecule(0, ())
    generator = ConformerGenerator.from_pretrained(weights, device="cpu", confidence=False, unsound="keep")
    begin = time.process_time()
    (made,) = generator.sample([molecule], count, max_attempts=1)
    facts = {"steps": generator.steps, "sampler": str(generator.sampler), "right_stereo": made.right_at_once / count}
    facts |= {"sound": made.sound_at_once / count, "seconds_per_sample": (time.process_time() - begin) / count}
    return made.positions, facts


def by_rdkit(count: int) -> tuple[np.ndarray, dict[str, Any]]:
    """(φ, ψ) of ETKDGv3 conformers relaxed by MMFF94s."""
    mol, seconds = etkdg(Chem.AddHs(Chem.MolFromSmiles(SMILES)), count, mmff=True)
    pos = np.stack([c.GetPositions() for c in mol.GetConformers()])
    return angles_of(pos, [1, 3, 4, 6], [3, 4, 6, 8]), {"seconds_per_sample": seconds / len(pos)}


def picture(maps: dict[str, np.ndarray], target: Path) -> None:
    """-kT log p of every row over (φ, ψ)."""
    figure, axes = plt.subplots(1, len(maps), figsize=(3.3 * len(maps), 3.4), layout="constrained", sharey=True)
    for axis, (name, angles) in zip(axes, maps.items(), strict=True):
        counts = np.histogram2d(*angles.T, bins=72, range=[[-180, 180]] * 2)[0].T
        with np.errstate(divide="ignore"):
            energy = -KT * np.log(counts / counts.max())
        shown = axis.imshow(
            np.ma.masked_invalid(energy), origin="lower", extent=(-180, 180, -180, 180), vmin=0, vmax=20, cmap="viridis"
        )
        axis.set(title=name, xlabel="φ, degrees", xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
    axes[0].set_ylabel("ψ, degrees")
    figure.colorbar(shown, ax=axes, label="F, kJ/mol above the lowest", shrink=0.85)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """In Markdown."""
    names = ["F_alpha_R", "F_alpha_L", f"divergence, {FIRST}", f"divergence, {SECOND}"]
    lines = [f"| | samples | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for method, row in rows.items():
        cells = ["-" if (v := row.get(n)) is None or v[0] is None else f"{v[0]:.3g} ± {v[1] or math.nan:.2g}" for n in names]
        lines.append(f"| {method} | {row['samples']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stored(folder: Path, burn_in: float) -> list[Path]:
    """A store of each simulation, as long as it is by now, without its first nanoseconds."""
    top, stores = folder / "dipeptide.pdb", []
    for run in (0, 1):
        left = round(1000 * burn_in / FRAME_PS / SEGMENT)
        whole = segments(folder, run)[left:]
        if not whole:
            raise SystemExit(f"{folder}: run {run} has no more than the {burn_in:g} ns that are left out: --steps simulate")
        store = folder / f"run{run}_{left * SEGMENT}_{(left + len(whole)) * SEGMENT}.h5"
        if not store.is_file():
            report = prepare_frames([str(path) for path in whole], str(store), str(top), level="amber99sbildn, OBC2, 300 K")
            print("\n".join(report.notes))
        stores.append(store)
    return stores


def score(stores: list[Path], burn_in: float, weights: str, about: dict[str, Any], count: int, out: Path) -> None:
    """Draw, measure, print, write."""
    phi, psi = torsions(built()[2])
    first, second = (angles_of(frames_of(store), phi, psi) for store in stores)
    references = {FIRST: histogram(first), SECOND: histogram(second)}
    pos, facts = drawn(weights, stores[0], count)
    made = angles_of(pos, phi, psi)
    other, seconds = by_rdkit(min(count, 2000))
    rows = {
        FIRST: row_of(first, references, FIRST),
        SECOND: row_of(thinned(second, count), references, SECOND),
        MODEL: row_of(made, references) | facts,
        RDKIT: row_of(other, references) | seconds,
    }
    rows[SECOND] |= {key: value for key, value in row_of(second, references, SECOND).items() if key.startswith("F_")}
    ns = [len(angles) * FRAME_PS / 1000 for angles in (first, second)]
    speed = {name: nanoseconds_a_day(name) for name in ("Reference", "CPU")}
    result = {
        "machine": machine(),
        "simulation": {**SETTINGS, "burn_in_ns": burn_in, "ns": ns, "ns_per_day": speed},
        "training": about,
        "rows": rows,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    picture({FIRST: first, SECOND: second, MODEL: made, RDKIT: other}, out.with_suffix(".png"))
    print(f"\n{ns[0]:g} and {ns[1]:g} ns\n\n{table(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=("simulate", "train", "score"), default=["simulate", "train", "score"])
    parser.add_argument("--ns", type=float, default=50.0, help="of each simulation")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="of a core that each simulation may take in this call"
    )
    parser.add_argument(
        "--runs", type=int, nargs="+", choices=(0, 1), default=[0, 1], help="which simulations to go on with"
    )
    parser.add_argument("--platform", default="Reference", help="of OpenMM; on one core the fastest for so few atoms")
    parser.add_argument("--burn-in", type=float, default=10.0, help="nanoseconds of each simulation that are left out")
    parser.add_argument("--train-minutes", type=float, default=30.0, help="of a core")
    parser.add_argument("--set", nargs="+", default=[], metavar="section.key=value", help="changes to the recipe")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path("runs/dynamics"), help="of trajectories, stores and weights")
    parser.add_argument("--quick", action="store_true", help="everything tiny")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "dynamics.json")
    args = parser.parse_args()
    if args.quick:
        args.ns, args.burn_in, args.samples = 0.25, 0.0, 50
        args.folder, args.output = args.folder / "quick", args.folder / "quick.json"
    core_time()
    if "simulate" in args.steps:
        write_topology(args.folder)
        for run in args.runs:
            print(f"run {run}: {simulate(args.folder, run, args.ns, args.minutes, args.platform):g} ns", flush=True)
    if {"train", "score"} & {*args.steps}:
        stores = stored(args.folder, args.burn_in)
        length = QUICK if args.quick else [f"train.max_minutes={args.train_minutes}"]
        weights = trained(
            CONFIGS / "dynamics_dipeptide.yaml", [f"data.store=[{stores[0]}]", *length, *args.set], args.folder
        )
        if "score" in args.steps:
            score(stores, args.burn_in, str(weights.path), weights.about, args.samples, args.output)


if __name__ == "__main__":
    main()
