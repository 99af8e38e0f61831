"""The molecules that benchmarks/soundness.py judges, as lists of SMILES: `python benchmarks/soundness_sets.py FULL OUTPUT`.

FULL holds smiles/zinc_drug_like.smi.gz, smiles/moleculenet.smi.gz and dev/platinum_diverse.sdf.gz. Into OUTPUT go zinc.smi,
platinum.smi and salts.smi, 300 each. A salt is a molecule of either list of SMILES with counter-ions until nothing is
charged, or, where nothing is, with one to three molecules of water; half of them have charges. benchmarks/odd_100.smi is the
fourth set.
"""

import gzip
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem, RDLogger

ANIONS = (
    "[Cl-]",
    "[Br-]",
    "CC(=O)[O-]",
    "CS(=O)(=O)[O-]",
    "[O-]C(=O)C(F)(F)F",
    "[O-]C(=O)/C=C\\C(=O)O",
    "F[P-](F)(F)(F)(F)F",
)
CATIONS = ("[Na+]", "[K+]", "[NH4+]", "OCC([NH3+])(CO)CO")
MOST_ATOMS = 90  # with hydrogens; GFN2-xTB judges them all


def smiles(path: Path) -> list[str]:
    """The first column, in file order."""
    return [line.split()[0] for line in gzip.decompress(path.read_bytes()).decode().splitlines() if line.strip()]


def fits(text: str) -> Chem.Mol | None:
    """The molecule if RDKit reads it as one fragment of bearable size."""
    mol = Chem.MolFromSmiles(text)
    one = mol is not None and "." not in text and Chem.AddHs(mol).GetNumAtoms() <= MOST_ATOMS
    return mol if one else None


def salts(full: Path, rng: random.Random, count: int) -> Iterator[str]:
    """`count` SMILES of two fragments and more."""
    pool = smiles(full / "smiles/zinc_drug_like.smi.gz") + smiles(full / "smiles/moleculenet.smi.gz")
    rng.shuffle(pool)
    wanted = {True: count - count // 2, False: count // 2}
    for text in pool:
        mol = fits(text)
        if mol is None:
            continue
        charge = Chem.GetFormalCharge(mol)
        if not wanted[charge != 0]:
            continue
        wanted[charge != 0] -= 1
        partner = rng.choice(ANIONS if charge > 0 else CATIONS) if charge else "O"
        yield ".".join([text] + [partner] * (abs(charge) or rng.randint(1, 3)))
        if not any(wanted.values()):
            return


def platinum(full: Path, rng: random.Random, count: int) -> list[str]:
    """SMILES, stereo from 3D, of records of Platinum Diverse."""
    with gzip.open(full / "dev/platinum_diverse.sdf.gz") as stream:
        found = [m for m in Chem.ForwardSDMolSupplier(stream) if m is not None]
    for mol in found:
        Chem.AssignStereochemistryFrom3D(mol)
    texts = [Chem.MolToSmiles(Chem.RemoveAllHs(mol)) for mol in found]
    return rng.sample([t for t in texts if fits(t)], count)


def main(full: Path, output: Path, count: int = 300) -> None:
    RDLogger.DisableLog("rdApp.*")
    rng = random.Random("20261128 soundness")
    output.mkdir(parents=True, exist_ok=True)
    zinc = [t for t in smiles(full / "smiles/zinc_drug_like.smi.gz") if fits(t)]
    sets = {
        "zinc": rng.sample(zinc, count),
        "platinum": platinum(full, rng, count),
        "salts": list(salts(full, rng, count)),
    }
    for name, texts in sets.items():
        (output / f"{name}.smi").write_text("".join(f"{text} {name}_{k:03d}\n" for k, text in enumerate(texts, 1)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
