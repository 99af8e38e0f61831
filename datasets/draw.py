"""Draw the bundled subsets from the full public files: `python draw.py FULL [OUTPUT]`.

FULL holds train/qm9.sdf.gz, train/dft8k.sdf.gz, dev/qm9_ensembles.sdf.gz and smiles/zinc_drug_like.smi.gz. The same files,
seed and zlib give the same bytes; README.md says what they are.
"""

import gzip
import hashlib
import random
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

from rdkit import Chem, rdBase

SEED = 20240501


def blocks(path: Path) -> list[str]:
    """Texts of the records of a gzipped SDF."""
    return [text + "$$$$\n" for text in gzip.decompress(path.read_bytes()).decode().split("$$$$\n") if text.strip()]


def skeleton(block: str) -> str:
    """First block of the InChIKey: the molecule without stereo, isotopes and protonation."""
    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(Chem.MolFromMolBlock(block, removeHs=False)).split("-")[0]


def draw(pool: list, count: int, name: str, keep: Callable[..., bool] = lambda item: True) -> list:
    """`count` items that `keep` accepts, in the order of the file."""
    order = random.Random(f"{SEED} {name}").sample(range(len(pool)), len(pool))
    chosen: list[int] = []
    for i in order:
        if len(chosen) == count:
            break
        if keep(pool[i]):
            chosen.append(i)
    return [pool[i] for i in sorted(chosen)]


def write(path: Path, texts: Iterable[str]) -> None:
    data = "".join(texts).encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def main(full: Path, output: Path) -> None:
    records = blocks(full / "dev/qm9_ensembles.sdf.gz")
    several = [group for _, found in groupby(records, lambda b: b.split("\n", 1)[0]) if len(group := list(found)) >= 3]
    ensembles = draw(several, 20, "ensembles")
    write(output / "qm9_ensembles_20.sdf.gz", (text for group in ensembles for text in group))

    taken = {skeleton(group[0]) for group in ensembles}
    qm9 = draw(blocks(full / "train/qm9.sdf.gz"), 3000, "qm9", lambda block: skeleton(block) not in taken)
    write(output / "qm9_3000.sdf.gz", qm9)

    write(output / "dft8k_200.sdf.gz", draw(blocks(full / "train/dft8k.sdf.gz"), 200, "dft8k"))
    smiles = gzip.decompress((full / "smiles/zinc_drug_like.smi.gz").read_bytes()).decode().splitlines()
    write(output / "zinc_100.smi", (line + "\n" for line in draw(smiles, 100, "zinc")))

    files = sorted([*output.glob("*.sdf.gz"), *output.glob("*.smi")])
    write(output / "SHA256SUMS", (f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
