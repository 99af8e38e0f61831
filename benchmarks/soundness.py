"""Does a program write conformers that cannot be, and does it say so? Judged by others than the program's own gate.

    python benchmarks/soundness_sets.py FULL SETS
    python benchmarks/soundness.py [SETS] [--train RECIPE | --weights FILE] [--quick] [--label after]
        [--program "pyg-diffusion"] [--sets zinc platinum salts odd] [-n 300]

Every molecule of a set is given to `PROGRAM sample SET.smi -n 1`, and its conformer is judged by

- geometry: a bond shorter than .75 or longer than 1.3 sums of covalent radii, a contact below 1.2 Å more than three bonds
  apart, or between fragments below 60 % of the van der Waals radii; stereo as asked, by geometry;
- PoseBusters' checks of every fragment with heavy atoms (those of bond lengths, angles, planes, rings and contacts). Its
  energy ratio is listed apart: it embeds 50 conformers, and says nothing where that takes too long;
- GFN2-xTB, with implicit water where a fragment is charged or a zwitterion: a force above .15 Hartree/Bohr on an atom; or,
  on relaxing for `--xtb-steps` steps, a bond that breaks or changes by more than 15 %.

A molecule is `sound`, `refused` (no conformer, but its name on stderr), `lost` (neither), `wrong, said` (judged wrong, and a
line on stderr names it) or `wrong, silent`. Judging is slow (seconds to a minute a molecule) and cached in WORK/LABEL by
molecule, so an interrupted run goes on. Prints the table, writes benchmarks/results/soundness.json, which keeps the rows of
other labels, and a plot.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from machine import machine
from rdkit import Chem, rdBase
from scipy.optimize import minimize
from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
from tblite.interface import Calculator
from tqdm import tqdm
from trained import DATASETS, add_weights, results, weights_of

from pyg_diffusion.chem.relax import BOHR, XTB_ACCURACY
from pyg_diffusion.metrics.validity import StereoCheck, atom_map, posebusters_failures

HERE = Path(__file__).parent
OUTCOMES = ("sound", "refused", "lost", "wrong, said", "wrong, silent")
COLOURS = ("#4c9f70", "#c9c9c9", "#000000", "#e8a33d", "#c0392b")
SHORTEST, LONGEST = 0.75, 1.3  # of the covalent radii
NEAREST, BETWEEN = 1.2, 0.6  # Å; of the van der Waals radii
FORCE = 0.15  # Hartree/Bohr
CHANGE = 0.15  # of a bond's length


def by_geometry(mol: Chem.Mol, wanted: Chem.Mol) -> list[str]:
    """Faults of lengths, contacts and stereo."""
    table, pos = Chem.GetPeriodicTable(), mol.GetConformer().GetPositions()
    if not np.isfinite(pos).all():
        return ["coordinates that are not finite"]
    number = [a.GetAtomicNum() for a in mol.GetAtoms()]
    covalent, vdw = (np.array([get(z) for z in number]) for get in (table.GetRcovalent, table.GetRvdw))
    distance, hops = np.linalg.norm(pos[:, None] - pos, axis=-1), Chem.GetDistanceMatrix(mol)
    faults = []
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if not SHORTEST < distance[i, j] / (covalent[i] + covalent[j]) < LONGEST:
            faults.append(f"bond {i + 1}-{j + 1} of {distance[i, j]:.2f} Å")
    for i, j in np.argwhere(np.triu(hops > 3, 1)):
        apart = hops[i, j] > len(pos)
        if distance[i, j] < (BETWEEN * (vdw[i] + vdw[j]) if apart else NEAREST):
            faults.append(f"contact {i + 1}...{j + 1} of {distance[i, j]:.2f} Å")
    order = atom_map(wanted, mol)
    if order is None:
        faults.append("another graph")
    elif not StereoCheck(wanted).place(pos[order])[1]:
        faults.append("stereo")
    return faults


def fragments(mol: Chem.Mol) -> list[Chem.Mol]:
    """Those that PoseBusters can judge."""
    return [part for part in Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=True) if part.GetNumHeavyAtoms() > 1]


def by_posebusters(mol: Chem.Mol) -> list[str]:
    """Faults of fragments."""
    failed: Counter[str] = Counter()
    for part in fragments(mol):
        failed.update(posebusters_failures([part], energy=False)[1])
    return [name for name in failed if not name.startswith(("not run", "error"))]


def energy_ratio(mol: Chem.Mol) -> str:
    """What PoseBusters says of the energy of fragments: "fine", "high" or "not known"."""
    failed = [name for part in fragments(mol) for name in posebusters_failures([part])[1] if "energy" in name]
    return "high" if "internal_energy" in failed else "not known" if failed else "fine"


def by_xtb(mol: Chem.Mol, steps: int) -> tuple[list[str], float | None]:
    """Faults, and the largest force on an atom in Hartree/Bohr (None where GFN2-xTB does not apply)."""
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    charge, start = Chem.GetFormalCharge(mol), mol.GetConformer().GetPositions() / BOHR
    unpaired = sum(a.GetNumRadicalElectrons() for a in mol.GetAtoms())
    if Chem.MolToSmiles(Chem.RemoveAllHs(mol)) == "O=O":
        unpaired = 2  # a triplet
    if (numbers.sum() - charge - unpaired) % 2:
        return [], None
    # Charged fragments, and zwitterions: in the gas phase a proton of theirs goes over, whatever the geometry.
    ions = any(Chem.GetFormalCharge(part) for part in Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)) or any(
        a.GetFormalCharge() and not any(n.GetFormalCharge() for n in a.GetNeighbors()) for a in mol.GetAtoms()
    )
    try:
        calculator = Calculator("GFN2-xTB", numbers, start, charge=charge, uhf=unpaired)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", XTB_ACCURACY)
        if ions:
            calculator.add("alpb-solvation", "water")
        state = calculator.singlepoint()
        force = float(np.linalg.norm(state["gradient"], axis=-1).max())
        if force > FORCE:
            return [f"force of {force:.2f} Hartree/Bohr"], force
        if len(numbers) == 1:
            return [], force

        def surface(x: np.ndarray) -> tuple[float, np.ndarray]:
            calculator.update(positions=x.reshape(-1, 3))
            calculator.singlepoint(state)
            return float(state["energy"]), np.asarray(state["gradient"]).ravel()

        end = minimize(surface, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": steps, "gtol": 1e-3})
    except (TBLiteRuntimeError, TBLiteValueError) as error:
        return [f"GFN2-xTB does not converge: {str(error).splitlines()[0]}"], None
    after, faults = end.x.reshape(-1, 3), []
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        old, new = (float(np.linalg.norm(x[i] - x[j])) for x in (start, after))
        if abs(new / old - 1) > CHANGE:
            faults.append(f"bond {i + 1}-{j + 1} relaxes from {old * BOHR:.2f} to {new * BOHR:.2f} Å")
    return faults, force


def judge(mol: Chem.Mol, smiles: str, steps: int) -> dict:
    """The verdict of all judges on one conformer."""
    wanted = Chem.AddHs(Chem.MolFromSmiles(smiles))
    faults = {"geometry": by_geometry(mol, wanted)}
    faults["posebusters"] = by_posebusters(mol)
    faults["xtb"], force = by_xtb(mol, steps)
    ratio = energy_ratio(mol)
    return {"faults": {k: v for k, v in faults.items() if v}, "force": force, "energy ratio": ratio}


def sample(program: list[str], source: Path, out: Path, options: list[str]) -> float:
    """Run the program once; its stderr goes beside the output. Returns seconds."""
    log, begin = out.with_suffix(".log"), time.perf_counter()
    with log.open("w") as stream:
        done = subprocess.run(
            [*program, "sample", str(source), "-n", "1", "--quiet", "-o", str(out), *options], stderr=stream, check=False
        )
    if not out.exists():
        sys.exit(f"{shlex.join(program)} wrote nothing (status {done.returncode}): see {log}")
    return time.perf_counter() - begin


def run_set(name: str, source: Path, work: Path, args: argparse.Namespace) -> dict:
    """Sample and judge one set."""
    words = [line.split(maxsplit=1) for line in source.read_text().splitlines()[: args.n]]
    lines = [(smiles, label[0] if label else f"{name}{k + 1:03d}") for k, (smiles, *label) in enumerate(words)]
    given, out = work / f"{name}.smi", work / f"{name}.sdf"
    given.write_text("".join(f"{smiles} {label}\n" for smiles, label in lines))
    seconds = work / f"{name}.seconds"
    if not seconds.exists():
        seconds.write_text(str(sample(shlex.split(args.program), given, out, shlex.split(args.options))))
    with rdBase.BlockLogs():
        made = {m.GetProp("_Name"): m for m in Chem.SDMolSupplier(str(out), removeHs=False) if m is not None}
    log = out.with_suffix(".log").read_text()
    cache = work / f"{name}.json"
    verdicts = json.loads(cache.read_text()) if cache.exists() else {}
    for smiles, label in tqdm(lines, desc=f"{args.label}: {name}", file=sys.stderr):
        if label in made and label not in verdicts:
            with rdBase.BlockLogs():
                verdicts[label] = judge(made[label], smiles, args.xtb_steps)
            cache.write_text(json.dumps(verdicts))
    verdicts = {label: verdicts[label] for _, label in lines if label in verdicts}  # of these, whatever else is cached
    outcome = {}
    for _, label in lines:
        said = any(label in words.replace(":", " ").split() for words in log.splitlines())
        if label not in made:
            outcome[label] = "refused" if said else "lost"
        elif verdicts[label]["faults"]:
            outcome[label] = "wrong, said" if said else "wrong, silent"
        else:
            outcome[label] = "sound"
    counts = Counter(outcome.values())
    kinds = Counter(judge for v in verdicts.values() for judge in v["faults"])
    return {
        "molecules": len(lines),
        "seconds": round(float(seconds.read_text()), 1),
        **{kind: counts[kind] for kind in OUTCOMES},
        "by judge": dict(kinds),
        "energy ratio": dict(Counter(v["energy ratio"] for v in verdicts.values())),
        "not sound": {k: [v, verdicts.get(k, {}).get("faults")] for k, v in outcome.items() if v != "sound"},
    }


def draw(labels: dict, path: Path) -> None:
    rows = [(f"{name}, {label}", row) for label, run in labels.items() for name, row in run["sets"].items()]
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(rows) + 1.2))
    left = np.zeros(len(rows))
    for kind, colour in zip(OUTCOMES, COLOURS, strict=True):
        share = np.array([100 * row[kind] / row["molecules"] for _, row in rows])
        axis.barh([title for title, _ in rows], share, left=left, color=colour, label=kind)
        left += share
    axis.set(xlabel="% of the molecules", xlim=(0, 100))
    axis.invert_yaxis()
    axis.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="?", help="folder of zinc.smi, platinum.smi and salts.smi")
    add_weights(parser)
    parser.add_argument("--label", default="this", help="name of this program in the table")
    parser.add_argument("--program", default="pyg-diffusion", help="the command that samples")
    parser.add_argument("--options", default="", help="further options of `sample`")
    parser.add_argument("--sets", nargs="+", help="zinc platinum salts odd; without a folder the bundled ones, zinc odd")
    parser.add_argument("-n", type=int, default=300, help="molecules of each set")
    parser.add_argument("--xtb-steps", type=int, default=30)
    parser.add_argument("--work", type=Path, default=Path("runs/soundness"))
    args = parser.parse_args()
    weights = weights_of(args)
    if weights.path:
        args.options += f" --weights {shlex.quote(weights.path)}"
    args.sets = args.sets or (["zinc", "platinum", "salts", "odd"] if args.lists else ["zinc", "odd"])
    args.n, args.work = min(args.n, 2) if args.quick else args.n, args.work / "quick" if args.quick else args.work
    work = args.work / args.label
    work.mkdir(parents=True, exist_ok=True)
    result = results(args) / "soundness.json"
    labels = json.loads(result.read_text()) if result.exists() else {}
    run = labels.setdefault(args.label, {"sets": {}})
    run |= {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "weights": weights.about, "xtb_steps": args.xtb_steps}
    for name in args.sets:
        source = args.lists / f"{name}.smi" if args.lists else DATASETS / f"{name}_100.smi"
        source = HERE / "odd_100.smi" if name == "odd" else source
        run["sets"][name] = run_set(name, source, work, args)
        result.write_text(json.dumps(labels, indent=1) + "\n")
    draw(labels, result.with_suffix(".png"))
    print(f"{'set':10} {'program':10} {'molecules':>9} " + " ".join(f"{kind:>13}" for kind in OUTCOMES))
    for label, one in labels.items():
        for name, row in one["sets"].items():
            print(f"{name:10} {label:10} {row['molecules']:9} " + " ".join(f"{row[kind]:13}" for kind in OUTCOMES))


if __name__ == "__main__":
    main()
