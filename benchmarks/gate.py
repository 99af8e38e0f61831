"""Is the gate blind or jealous? What it passes of real conformers, and what it finds of faults put into them.

    python benchmarks/gate.py [FILE.sdf.gz STORE.h5 ...] [--n 300] [--first 0] [--every 1] [--table bounds.json]

Real conformers should pass; records that do not are listed with the reason. Faults: a bond stretched or shortened by 15 %
(the smaller side moved as a whole), an atom moved by .5 Å in a random direction, an aromatic ring folded by 40° about
opposite atoms, an amide twisted by 60°, an end group of a cumulene (GFN2-xTB where tblite is there, else MMFF94s) turned by
60 to 90°. Each is put once into every conformer that can have it and passes. Prints both tables, writes
benchmarks/results/gate.json and .png.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from gate_bounds import molecules
from machine import machine
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from pyg_diffusion.chem import Soundness, molecule_from_mol
from pyg_diffusion.chem.relax import RELAX
from pyg_diffusion.chem.soundness import reason
from pyg_diffusion.data import Molecule

HERE = Path(__file__).parent
BUNDLED = [HERE.parent / "datasets" / name for name in ("qm9_3000.sdf.gz", "dft8k_200.sdf.gz", "qm9_ensembles_20.sdf.gz")]
CUMULENES = [
    "C=C=C", "CC=C=CC", "OC(=O)C=C=CC1CC1", "CC=C=C(C)C", "C=C=CCO", "N#CC=C=C", "c1ccccc1C=C=C", "FC=C=CF", "C1CCCCC1=C=C",
    "OCC(C)=C=C(C)C", "CN(C)C=C=C", "CC(=O)C=C=CC", "C=C=C=C", "CC=C=C=CC", "CC(C)=C=C=C(C)C", "c1ccccc1C=C=C=C",
    "C=C=C=C=C", "CC=C=C=C=CC",
]  # fmt: skip

FOLD = 40.0  # degrees

Fault = Callable[[Soundness, np.ndarray, np.random.Generator], np.ndarray | None]


def side(gate: Soundness, start: int, without: set[int]) -> list[int]:
    """Atoms that hang together with one once others are taken away."""
    found, stack = {start}, [start]
    while stack:
        for k in gate.environment.near[stack.pop()]:
            if k not in found and k not in without:
                found.add(k)
                stack.append(k)
    return sorted(found)


def turned(pos: np.ndarray, atoms: list[int], a: int, b: int, degrees: float) -> np.ndarray:
    """Atoms rotated about the axis through two others (Rodrigues)."""
    axis, angle = pos[b] - pos[a], np.radians(degrees)
    axis = axis / np.linalg.norm(axis)
    x, new = pos[atoms] - pos[a], pos.copy()
    along = (x @ axis)[:, None] * axis
    new[atoms] = pos[a] + along + np.cos(angle) * (x - along) + np.sin(angle) * np.cross(axis, x)
    return new


def scaled(factor: float) -> Fault:
    def put(gate: Soundness, pos: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        open_bonds = [pair for pair in gate.environment.bonds if not gate.environment.cyclic(*pair)]
        if not open_bonds:
            return None
        i, j = open_bonds[rng.integers(len(open_bonds))]
        left, right = side(gate, i, {j}), side(gate, j, {i})
        atoms, step = (right, pos[j] - pos[i]) if len(right) <= len(left) else (left, pos[i] - pos[j])
        new = pos.copy()
        new[atoms] += (factor - 1) * step
        return new

    return put


def moved(gate: Soundness, pos: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    new, step = pos.copy(), rng.normal(size=3)
    new[rng.integers(len(pos))] += 0.5 * step / np.linalg.norm(step)
    return new


def bent(gate: Soundness, pos: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    rings = [ring for ring in gate.environment.ring_terms() if len(ring) in (5, 6)]
    rng.shuffle(rings)
    for ring in rings:
        k = int(rng.integers(len(ring)))
        ring = ring[k:] + ring[:k]
        a, b, flap = ring[0], ring[3], ring[1:3]
        atoms = {m for f in flap for m in side(gate, f, {*ring} - {f})}
        outside = {m for r in ring if r not in flap for m in side(gate, r, {*ring} - {r})}
        if not atoms & outside:
            return turned(pos, sorted(atoms), a, b, FOLD)
    return None


def twisted(gate: Soundness, pos: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    e = gate.environment
    amides = [
        (c, n)
        for pair in e.bonds
        for c, n in (pair, pair[::-1])
        if e.short[n] == "N3:2" and e.kind[c, n] == "conjugated" and not e.cyclic(c, n) and e.ring[n] not in (3, 4)
        if e.symbol[c] == "C" and any(e.symbol[k] == "O" and e.kind[c, k] == "double" for k in e.near[c])
    ]
    if not amides:
        return None
    c, n = amides[rng.integers(len(amides))]
    return turned(pos, side(gate, n, {c}), c, n, float(rng.choice([-60.0, 60.0])))


def end_turned(gate: Soundness, pos: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    chains = [c for c in gate.environment.cumulenes() if all(len(gate.environment.near[k]) > 1 for k in (c[0], c[-1]))]
    if not chains:
        return None
    chain = chains[rng.integers(len(chains))]
    angle = float(rng.choice([-1, 1]) * rng.uniform(60, 90))
    return turned(pos, side(gate, chain[-1], {chain[-2]}), chain[-2], chain[-1], angle)


FAULTS: dict[str, Fault] = {
    "bond stretched by 15 %": scaled(1.15),
    "bond shortened by 15 %": scaled(0.85),
    "atom moved by .5 Å": moved,
    "aromatic ring folded by 40°": bent,
    "amide twisted by 60°": twisted,
    "end of a cumulene turned": end_turned,
}


def cumulenes() -> list[Molecule]:
    """Minima of small cumulenes."""
    level = "GFN2-xTB" if find_spec("tblite") else "MMFF94s"
    made = []
    for smiles in CUMULENES:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMolecule(mol, randomSeed=1)
        relaxed = RELAX[level](mol, 0)
        if relaxed is not None:
            molecule = molecule_from_mol(mol, smiles, conformers=False)
            molecule.pos = [relaxed.pos] * 10  # ten faults into each
            made.append(molecule)
    return made


def judge(items: list[Molecule], table: dict | None, rng: np.random.Generator) -> tuple[dict, dict[str, list[str]]]:
    """What passes, what of the faults is found; and the faults that were not, by kind."""
    kinds, refused, missed = Counter[str](), [], defaultdict(list)
    put, found, conformers, seconds = Counter[str](), Counter[str](), 0, 0.0
    for molecule in items:
        pos = np.asarray(molecule.pos, dtype=float)
        start = time.perf_counter()
        gate = Soundness(molecule, table)
        right = gate.excess(pos) == 0
        seconds += time.perf_counter() - start
        conformers += len(pos)
        for k, faults in enumerate(gate.faults(pos) if not right.all() else ()):
            kinds.update({fault.kind for fault in faults})
            if faults:
                refused.append(f"{molecule.name} conformer {k + 1}, {molecule.smiles}: {reason(faults, 3)}")
        for name, fault in FAULTS.items():
            broken = [new for p in pos[right] if (new := fault(gate, p, rng)) is not None]
            seen = gate.excess(np.array(broken)) > 0 if broken else np.zeros(0, bool)
            put[name] += len(broken)
            found[name] += int(seen.sum())
            if not seen.all():
                missed[name].append(molecule.smiles)
    row = {
        "molecules": len(items),
        "conformers": conformers,
        "refused": len(refused),
        "passed": 1 - len(refused) / max(1, conformers),
        "kinds": dict(kinds),
        "milliseconds per conformer": 1000 * seconds / max(1, conformers),
        "records refused": refused,
        "faults": {name: [found[name], put[name]] for name in FAULTS},
    }
    return row, missed


def draw(rows: dict[str, dict], target: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    axes[0].barh(list(rows), [max(1 - row["passed"], 1e-5) for row in rows.values()])
    axes[0].axvline(1e-3, color="k", lw=0.8)
    axes[0].set(xscale="log", xlabel="share of real conformers refused", xlim=(1e-5, 1))
    total = {name: np.sum([row["faults"][name] for row in rows.values()], axis=0) for name in FAULTS}
    axes[1].barh(list(total), [max(1 - found / max(1, put), 1e-5) for found, put in total.values()], color="C1")
    axes[1].axvline(1e-2, color="k", lw=0.8)
    axes[1].set(xscale="log", xlabel="share of faults not found", xlim=(1e-5, 1))
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(path) for path in BUNDLED])
    parser.add_argument("--n", type=int, default=300, help="molecules of each file; 0: all")
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    parser.add_argument("--conformers", type=int, default=10, help="of each molecule at most")
    parser.add_argument("--table", default=None, metavar="BOUNDS.json", help="instead of the bounds of the package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="gate", help="of the files under benchmarks/results")
    args = parser.parse_args()
    table = json.loads(Path(args.table).read_text())["bounds"] if args.table else None
    rng = np.random.default_rng(args.seed)
    rows, missed = {}, {}
    sets = {
        Path(path).name.split(".")[0]: lambda path=path: molecules(path, args.every, args.first, args.conformers)
        for path in args.files
    }
    for name, read in {**sets, "cumulenes": cumulenes}.items():
        items = []
        for molecule in read():
            items.append(molecule)
            if name in sets and len(items) == args.n:
                break
        rows[name], missed[name] = judge(items, table, rng)
        row = rows[name]
        print(
            f"{name:28} {row['conformers']:>7} conformers, {row['refused']:>4} refused, passed {row['passed']:.5f}, ", end=""
        )
        print(f"{row['milliseconds per conformer']:.2f} ms each  {row['kinds']}")
        for text in row["records refused"][:20]:
            print(f"    {text}")
    for name in FAULTS:
        found, put = np.sum([row["faults"][name] for row in rows.values()], axis=0)
        examples = [smiles for kinds in missed.values() for smiles in kinds[name]][:3]
        print(f"{name:28} {put:>7} put in, found {found / max(1, put):.5f}   not in: {', '.join(examples)}")
    target = HERE / "results" / args.name
    text = {"machine": machine(), "arguments": {**vars(args), "files": list(sets)}, "rows": rows}
    target.with_suffix(".json").write_text(json.dumps(text, indent=1, default=int) + "\n")
    draw(rows, target.with_suffix(".png"))
    print(f"{target.with_suffix('.json')}\n{target.with_suffix('.png')}")


if __name__ == "__main__":
    main()
