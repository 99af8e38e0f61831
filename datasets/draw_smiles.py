"""Draw the molecules that get ensembles: `python draw_smiles.py FULL OUTPUT`, FULL as for draw.py.

From the QM9 molecules in OUTPUT/qm9.h5 it writes qm9_gfn2.smi (1,600) and qm9_mmff.smi (5,000 others) and, of the rest,
those with at least two rotatable bonds: qm9_flexible_gfn2.smi (4,000) and qm9_flexible_mmff.smi (8,000). zinc_mmff.smi has
5,000 drug-like molecules of FULL. All go into OUTPUT.
"""

import gzip
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcNumRotatableBonds

from pyg_diffusion.data import MoleculeStore


def main(full: Path, output: Path) -> None:
    rng = np.random.default_rng(0)
    qm9 = MoleculeStore(output / "qm9.h5").smiles()
    order = rng.permutation(len(qm9))
    lines = gzip.decompress((full / "smiles/zinc_drug_like.smi.gz").read_bytes()).decode().splitlines()
    zinc = [line for line in lines if line.strip()]
    flexible = (qm9[k] for k in order[7500:67500] if CalcNumRotatableBonds(Chem.MolFromSmiles(qm9[k])) >= 2)
    chosen = {
        "qm9_gfn2.smi": [qm9[k] for k in order[:1600]],
        "qm9_mmff.smi": [qm9[k] for k in order[2500:7500]],
        "qm9_flexible_gfn2.smi": list(islice(flexible, 4000)),
        "qm9_flexible_mmff.smi": list(islice(flexible, 8000)),
        "zinc_mmff.smi": [zinc[k] for k in rng.permutation(len(zinc))[:5000]],
    }
    for name, smiles in chosen.items():
        (output / name).write_text("\n".join(smiles) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
