"""Measure the bounds of the gate (`chem/bounds.json`) on training conformers.

    python benchmarks/gate_bounds.py qm9.sdf.gz dft8k.sdf.gz zinc_1.h5 ... [-o bounds.json] [--every 3] [--conformers 4]

Of every class of `chem.environment` the smallest and the largest value are taken in each molecule, the outermost molecules
dropped (`TRIM` of them, which may be broken records), and the range widened: by a part of its own width, more where few
molecules were seen, and by the
scatter of an experiment. Finer classes are kept where they were seen in `LEAST` molecules and are narrower than the class
they belong to.
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.environment import MEASURES, Environment, near_pairs, out_of_plane, ring_class
from pyg_diffusion.chem.soundness import BOUNDS, FAMILIES
from pyg_diffusion.data import Molecule, MoleculeStore

TRIM = {"bond": 1e-4, "angle": 1e-4, "height": 5e-4, "twist": 1.5e-3, "ring": 1.5e-3, "contact": 1e-4}  # of the molecules
TRIM_ONE = 200  # so many molecules, and one may be
LEAST = 15  # molecules of a class
NARROWER = 0.9  # of the parent's width
# Å, degrees: what an X-ray model may be off by more than a calculation, and how far another level of theory may lie.
SCATTER = {"bond": 0.03, "angle": 11.0, "height": 0.12, "twist": 10.0, "ring": 0.05, "contact": 0.3}
BOND = 0.115  # of the middle of a class: so far a length may be off in any case, less than the 15 % that are a fault
X_RAY_HYDROGEN = 0.1  # Å; so much nearer to its atom does the electron of a hydrogen lie than the proton
DIGITS = {"bond": 3, "angle": 1, "height": 2, "twist": 1, "ring": 2, "contact": 2}

Extremes = dict[str, dict[str, list[tuple[float, float]]]]  # family -> class -> (smallest, largest) of each molecule


def molecules(path: str, every: int, first: int, conformers: int) -> Iterator[Molecule]:
    """Of a store or an SDF, every so-manieth, each with so many conformers at most."""
    if path.endswith(".h5"):
        store = MoleculeStore(path)
        for k in range(first, len(store), every):
            molecule = store[k]
            molecule.pos = molecule.pos[:conformers]
            yield molecule
    else:
        for record in islice(read_sdf(path), first, None, every):
            if record.mol is not None:
                yield molecule_from_mol(record.mol, record.name)


def measure(found: Extremes, parents: dict[str, dict[str, str]], molecule: Molecule) -> None:
    """Add the extremes of a molecule."""
    pos = np.asarray(molecule.pos, dtype=float)
    environment = Environment(molecule)
    own: dict[tuple[str, str], tuple[float, float]] = {}

    def add(family: str, name: str, low: float, high: float) -> None:
        before = own.get((family, name), (low, high))
        own[family, name] = (min(before[0], low), max(before[1], high))

    for family, terms in environment.terms().items():
        if not terms.atoms:
            continue
        values = MEASURES[family](pos, np.array(terms.atoms))
        for classes, low, high in zip(terms.classes, values.min(0).tolist(), values.max(0).tolist(), strict=True):
            for k, name in enumerate(classes):
                add(family, name, low, high)
                parents[family][name] = classes[k + 1] if k + 1 < len(classes) else ""
    for ring in environment.ring_terms():
        bent = out_of_plane(pos, ring)
        add("ring", ring_class(environment, ring), float(bent.min()), float(bent.max()))
    pairs, classes = near_pairs(environment)
    distance = MEASURES["bond"](pos, pairs).min(0, initial=np.inf)
    for name in np.unique(classes):
        nearest = float(distance[classes == name].min())
        add("contact", str(name), nearest, nearest)
    for (family, name), extremes in own.items():
        found[family][name].append(extremes)


def bounds(found: Extremes, parents: dict[str, dict[str, str]]) -> dict[str, dict[str, list[float]]]:
    """family -> class -> [low, high]."""
    table: dict[str, dict[str, list[float]]] = {}
    for family in FAMILIES:
        rows: dict[str, list[float]] = {}
        for name, values in found[family].items():
            count = len(values)
            if count < LEAST:
                continue
            lows, highs = np.sort(np.array(values), axis=0).T
            dropped = max(int(TRIM[family] * count), int(count >= TRIM_ONE))
            low, high = lows[dropped], highs[count - 1 - dropped]
            wider = SCATTER[family]
            if family != "contact":  # whose upper end is the size of the molecules
                wider += (high - low) * (0.25 if count < 100 else 0.15 if count < 1000 else 0.05)
            rows[name] = [low - wider, high + wider]
            if family == "bond":
                hydrogen = any(re.match("H1?( |$)", end) for end in re.split("[-~=#:?]", name))
                middle = np.median(lows + highs) / 2
                wide = [(1 - BOND) * middle, (1 + BOND) * middle]
                rows[name] = (
                    [low - X_RAY_HYDROGEN, high + wider / 2]
                    if hydrogen
                    else [min(low - wider, wide[0]), max(high + wider, wide[1])]
                )
            if family != "bond" and family != "angle":
                rows[name][0] = max(rows[name][0], 0.0)
        kept = dict(rows)
        for name, (low, high) in rows.items():
            parent = parents[family].get(name, "")
            while parent and parent not in rows:
                parent = parents[family][parent]
            if parent and high - low > NARROWER * (rows[parent][1] - rows[parent][0]):
                del kept[name]
        table[family] = {name: [round(float(v), DIGITS[family]) for v in kept[name]] for name in sorted(kept)}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE.sdf.gz|STORE.h5")
    parser.add_argument("-o", "--output", default=str(BOUNDS), metavar="BOUNDS.json")
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth molecule")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    parser.add_argument("--conformers", type=int, default=4, help="of each molecule at most")
    args = parser.parse_args()
    found: Extremes = defaultdict(lambda: defaultdict(list))
    parents: dict[str, dict[str, str]] = defaultdict(dict)
    counts = Counter[str]()
    for path in args.files:
        for molecule in molecules(path, args.every, args.first, args.conformers):
            measure(found, parents, molecule)
            counts[Path(path).name] += 1
        print(f"{Path(path).name}: {counts[Path(path).name]} molecules")
    table = bounds(found, parents)
    rows = ",\n".join(f" {json.dumps(family)}: {json.dumps(classes)}" for family, classes in table.items())
    text = f'{{"molecules": {json.dumps(counts)},\n"bounds": {{\n{rows}\n}}}}\n'
    Path(args.output).write_text(text, encoding="utf-8")
    print(f"{args.output}: {len(text) // 1000} kB, classes { ({f: len(rows) for f, rows in table.items()}) }")


if __name__ == "__main__":
    main()
