"""Measure the bounds of the gate (`chem/bounds.json`) on training conformers.

    python benchmarks/gate_bounds.py qm9.sdf.gz:3 dft8k.sdf.gz zinc_1.h5 ... [-o bounds.json] [--conformers 4] [--work DIR]

Of FILE:k every k-th molecule is taken. With a folder for it, what was measured of a file is kept, and not measured again.

Of every class of `chem.environment` the smallest and the largest value are taken in each molecule, the outermost molecules
dropped (`TRIM` of them, which may be broken records), and the range widened: by a part of its own width, more where few
molecules were seen, and by the scatter of an experiment. Finer classes are kept where they were seen in `LEAST` molecules
and are tighter than the class above them. Of bonds and angles the middle of what was seen is kept too, where mending aims.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.environment import MEASURES, Environment, near_pairs, out_of_plane, ring_class
from pyg_diffusion.chem.soundness import BOUNDS, FAMILIES
from pyg_diffusion.data import Molecule, MoleculeStore

TRIM = {"bond": 3e-3, "angle": 2e-4, "height": 5e-4, "twist": 7e-4, "ring": 1e-3, "contact": 1e-4}
TRIM |= {"acyl": 4e-3, "amide": 8e-3}  # of twists; amides are planar, acyl imines and esters turn
TRIM_ONE = 200  # of so many molecules one may be, whatever the share
LEAST = 15  # molecules of a class
TIGHTER = {**dict.fromkeys(FAMILIES, 0.1), "bond": 0.04}  # than the class above it by this share of its width, to be kept
# Å, degrees: what an X-ray model may be off by more than a calculation, and how far another level of theory may lie.
SCATTER = {"bond": 0.03, "angle": 9.5, "height": 0.08, "twist": 13.0, "ring": 0.06, "contact": 0.35}
# Of the middle of a class of bonds of this kind: so far below and above it a length may lie in any case, less than the 15 %
# of a fault; less below, where forces grow faster, and where a bond is stiff. X-ray models have hydrogens up to .1 Å too
# near, hydrogen bonds draw those of N and O as far away.
BELOW = {"H": 0.1, "-": 0.115, "~": 0.11, ":": 0.11, "=": 0.08, "#": 0.065, "?": 0.115}
ABOVE = {"H": 0.1, "-": 0.12, "~": 0.12, ":": 0.12, "=": 0.125, "#": 0.085, "?": 0.12}
# Degrees: angles at hydrogens may in any case be as programs put them that add hydrogens to an X-ray model, by this much.
MODELLED = 1.5
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


def _ancestors(name: str, parents: dict[str, str]) -> list[str]:
    """The coarser classes of a class, the nearest first."""
    found = []
    while name := parents.get(name, ""):
        found.append(name)
    return found


def _fallback(
    name: str, kept: dict[str, list[float]], parents: dict[str, str], seen: Collection[str]
) -> tuple[float, float] | None:
    """The range of the bounds that stand in for a class that is not kept, None where nothing does.

    Without a ring in its name a class is above those of several rings, and each falls back to the coarser class of its ring.
    """
    parent = parents.get(name, "")
    if not parent:
        return None
    base, _, _ = parent.rpartition(" r")
    rings = [text for text in (f" r{n}" for n in range(10)) if name + text in seen] if base and " r" not in name else []
    ranges = []
    for each in [base + text for text in rings] or [parent]:
        row = kept[each][:2] if each in kept else _fallback(each, kept, parents, seen)
        if row is not None:
            ranges.append(row)
    return (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None


def _ideal(name: str) -> float:
    """The angle that modelling programs give to a hydrogen: 120 at planar atoms and, of some, at the oxygen of acids."""
    return 120.0 if re.match(r"([A-Z][a-z]?\d:)?[2a]", name) else 109.5


def _off(name: str) -> tuple[float, float]:
    """So far below and above the middle of its class a length may lie in any case."""
    ends = re.split("[-~=#:?]", name)
    if any(re.match("H1?( |$)", end) for end in ends):
        return BELOW["H"], ABOVE["H"] / (2 if any(end.startswith("C") for end in ends) else 1)
    # Before the second end: "=" of "O1:2=S3:3", "~" of "C3:2=O~N3:2"; ends without types have no digits.
    mark = re.match(r"[A-Z][a-z]?\d.*?([-~=#:?])[A-Z*][a-z]?\d", name) or re.match(r"[A-Z*][a-z]?([-~=#:?])", name)
    assert mark is not None, name
    return BELOW[mark[1]], ABOVE[mark[1]]


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
            acyl = "amide" if "~N3" in name else "acyl"
            share = TRIM[acyl if family == "twist" and "~" in name else family]
            dropped = max(int(share * count), int(count >= TRIM_ONE))
            low, high, middle = lows[dropped], highs[count - 1 - dropped], float(np.median(lows + highs)) / 2
            hydrogen = family == "angle" and re.search(r"[ /][-~=:]?H", name) is not None
            wider = SCATTER[family]
            if family in ("bond", "angle", "height", "twist"):
                wider += (high - low) * (0.25 if count < 100 else 0.15 if count < 1000 else 0.05)
            rows[name] = [max(low - wider, 0.0), high + wider]
            if hydrogen:
                ideal = _ideal(name)
                if abs(middle - ideal) < 15.0:
                    rows[name] = [min(low - wider, ideal - MODELLED), max(high + wider, ideal + MODELLED)]
            if family == "bond":
                below, above = _off(name)
                rows[name] = [min(low - wider / 2, (1 - below) * middle), max(high + wider / 2, (1 + above) * middle)]
            if family in ("bond", "angle"):
                rows[name].append(middle)
        kept: dict[str, list[float]] = {}
        for name in sorted(rows, key=lambda name: len(_ancestors(name, parents[family]))):  # the coarsest first
            above = _fallback(name, kept, parents[family], found[family])
            low, high = rows[name][:2]
            if above is None or max(above[1] - high, 0) + max(low - above[0], 0) > TIGHTER[family] * (above[1] - above[0]):
                kept[name] = rows[name]
        table[family] = {name: [round(float(v), DIGITS[family]) for v in kept[name]] for name in sorted(kept)}
    return table


def measured(path: str, every: int, conformers: int, work: str | None) -> tuple[Extremes, dict[str, dict[str, str]], int]:
    """Extremes of a file, the parents of its classes, and how many molecules it has."""
    kept = Path(work) / f"{Path(path).name}.{every}.{conformers}.json" if work else None
    if kept is not None and kept.exists():
        return tuple(json.loads(kept.read_text()))
    found: Extremes = {family: defaultdict(list) for family in FAMILIES}
    parents: dict[str, dict[str, str]] = {family: {} for family in FAMILIES}
    count = 0
    for molecule in molecules(path, every, 0, conformers):
        measure(found, parents, molecule)
        count += 1
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps([found, parents, count], default=float))
    return found, parents, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE.sdf.gz|STORE.h5[:K]")
    parser.add_argument("-o", "--output", default=str(BOUNDS), metavar="BOUNDS.json")
    parser.add_argument("--conformers", type=int, default=4, help="of each molecule at most")
    parser.add_argument("--work", default=None, metavar="DIR", help="for what was measured of each file")
    args = parser.parse_args()
    found: Extremes = {family: defaultdict(list) for family in FAMILIES}
    parents: dict[str, dict[str, str]] = {family: {} for family in FAMILIES}
    counts: dict[str, int] = {}
    for text in args.files:
        path, _, every = text.partition(":")
        own, own_parents, count = measured(path, int(every or 1), args.conformers, args.work)
        for family, rows in own.items():
            for name, extremes in rows.items():
                found[family][name] += extremes
            parents[family].update(own_parents[family])
        counts[Path(path).name + f" (one of {every})" * bool(every)] = count
        print(f"{Path(path).name}: {count} molecules")
    table = bounds(found, parents)
    rows = ",\n".join(f" {json.dumps(family)}: {json.dumps(classes)}" for family, classes in table.items())
    text = f'{{"molecules": {json.dumps(counts)},\n"bounds": {{\n{rows}\n}}}}\n'
    Path(args.output).write_text(text, encoding="utf-8")
    print(f"{args.output}: {len(text) // 1000} kB, classes { ({f: len(rows) for f, rows in table.items()}) }")


if __name__ == "__main__":
    main()
