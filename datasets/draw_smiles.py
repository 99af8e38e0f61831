"""Draw the molecules that get ensembles: `python draw_smiles.py FULL OUTPUT`, FULL as for draw.py.

Writes qm9_gfn2.smi (1,600 QM9 molecules), qm9_mmff.smi (5,000 others) and zinc_mmff.smi (1,500 drug-like ones) into OUTPUT.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

from pyg_diffusion.data import MoleculeStore


def main(full: Path, output: Path) -> None:
    rng = np.random.default_rng(0)
    qm9 = MoleculeStore(output / "qm9.h5").smiles()
    order = rng.permutation(len(qm9))
    lines = gzip.decompress((full / "smiles/zinc_drug_like.smi.gz").read_bytes()).decode().splitlines()
    zinc = [line for line in lines if line.strip()]
    chosen = {
        "qm9_gfn2.smi": [qm9[k] for k in order[:1600]],
        "qm9_mmff.smi": [qm9[k] for k in order[2500:7500]],
        "zinc_mmff.smi": [zinc[k] for k in rng.permutation(len(zinc))[:1500]],
    }
    for name, smiles in chosen.items():
        (output / name).write_text("\n".join(smiles) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
