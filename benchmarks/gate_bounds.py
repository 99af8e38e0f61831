"""Measure the bounds of the gate (`chem/bounds.json`) on training conformers.

    python benchmarks/gate_bounds.py qm9.sdf.gz dft8k.sdf.gz zinc_1.h5 ... [-o bounds.json] [--every 3] [--conformers 4]

Of every class of `chem.environment` the smallest and the largest value are taken in each molecule, the outermost molecules
dropped (`TRIM` of them), and the range widened: by a part of its own width, more where few molecules were seen, and by the
scatter of an experiment. Finer classes are kept where they were seen in `LEAST` molecules and are narrower than their parent.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.chem.environment import MEASURES, Environment, near_pairs, out_of_plane, ring_class
from pyg_diffusion.chem.soundness import FAMILIES
from pyg_diffusion.data import Molecule, MoleculeStore

TRIM = 1e-4  # share of molecules that may be broken records, at each end
LEAST = 15  # molecules of a class
NARROWER = 0.9  # of the parent's width
SCATTER = {"bond": 0.03, "angle": 4.0, "height": 0.08, "twist": 8.0, "ring": 0.03, "contact": 0.1}  # Å, degrees
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
            low, high = np.sort(np.array(values), axis=0).T
            low, high = np.sort(low)[int(TRIM * count)], np.sort(high)[count - 1 - int(TRIM * count)]
            wider = (high - low) * (0.25 if count < 100 else 0.15 if count < 1000 else 0.05) + SCATTER[family]
            rows[name] = [low - wider, high + wider]
        kept = dict(rows)
        for name, (low, high) in rows.items():
            parent = parents[family].get(name, "")
            while parent and parent not in rows:
                parent = parents[family][parent]
            if parent and high - low > NARROWER * (rows[parent][1] - rows[parent][0]):
                del kept[name]
        table[family] = {name: [round(float(v), DIGITS[family]) for v in kept[name]] for name in sorted(kept)}
    return table


def collect(items: Iterable[Molecule]) -> dict[str, dict[str, list[float]]]:
    """The table of bounds of these molecules."""
    found: Extremes = defaultdict(lambda: defaultdict(list))
    parents: dict[str, dict[str, str]] = defaultdict(dict)
    for molecule in items:
        measure(found, parents, molecule)
    return bounds(found, parents)
