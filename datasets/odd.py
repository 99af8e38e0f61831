"""Ensembles of small and odd molecules at GFN2-xTB, and the table of ideal lengths and angles that comes of them.

    python datasets/odd.py odd.h5 [--starts 8] [--table pyg_diffusion/chem/ideal.json]

datasets/odd.smi lists hydrides, halides, oxoacids, chains of multiple bonds, hypervalent centres, strained rings and cages:
what drug-like sets and QM9 lack. Each is embedded and relaxed as by `prepare --conformers`; what does not embed, has no
closed shell or comes apart is named. A minute or two on one core. Needs tblite.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from pyg_diffusion.chem import molecule_from_mol, read_smiles
from pyg_diffusion.chem.ensembles import EnsembleOptions, ensemble
from pyg_diffusion.chem.surroundings import Surroundings
from pyg_diffusion.data import Molecule, write_store

HERE = Path(__file__).parent
LEVEL = "GFN2-xTB"


def ensembles(path: Path, starts: int) -> list[Molecule]:
    """The molecules of a SMILES file with their minima."""
    made, options = [], EnsembleOptions(starts, LEVEL)
    for record in read_smiles(str(path)):
        try:
            if record.mol is None:
                raise ValueError(record.problem)
            found = ensemble(record.mol, options, Counter())
        except ValueError as error:
            print(f"skipped {record.name}: {error}", file=sys.stderr)
            continue
        molecule = molecule_from_mol(record.mol, record.name, conformers=False)
        molecule.pos, molecule.energies = [c.pos for c in found], [c.energy for c in found]
        molecule.levels = [LEVEL] * len(found)
        made.append(molecule)
    return made


def table(molecules: list[Molecule]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of lengths and angles by class."""
    values: dict[str, dict[str, list[float]]] = {"bond": defaultdict(list), "angle": defaultdict(list)}
    for molecule in molecules:
        around = Surroundings(molecule)
        for pos in molecule.pos:
            for i, j in around.bonds:
                for level in around.bond_classes(i, j):
                    for name in {*level}:
                        values["bond"][name].append(float(np.linalg.norm(pos[i] - pos[j])))
            for j, near in enumerate(around.near):
                for i, k in combinations(near, 2) if len(near) < 5 else ():
                    u, v = pos[i] - pos[j], pos[k] - pos[j]
                    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v))
                    for level in around.angle_classes(i, j, k):
                        for name in level:
                            values["angle"][name].append(float(angle))
    digits = {"bond": 4, "angle": 2}
    return {
        family: {name: [round(f(row), digits[family]) for f in (np.mean, np.std)] for name, row in sorted(rows.items())}
        for family, rows in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="store to write")
    parser.add_argument("--starts", type=int, default=8, help="embeddings of each molecule; 8 if not given")
    parser.add_argument("--table", help="where to write the lengths and angles by class")
    args = parser.parse_args()
    molecules = ensembles(HERE / "odd.smi", args.starts)
    print("{} molecules, {} conformers".format(*write_store(args.output, molecules)))
    if args.table:
        text = json.dumps(table(molecules), separators=(",", ":"), sort_keys=True)
        Path(args.table).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
