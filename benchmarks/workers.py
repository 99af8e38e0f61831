"""How much faster several workers are, beside ETKDGv3 with as many threads, and what they take.

    python benchmarks/workers.py [--ligands FILE.smi.gz] [--workers 1 2] [--engines processes ray]

Molecules per second of whole commands `pyg-diffusion sample -n 10 --workers W`, start and end included, on 1,000 molecules
of bundled QM9 and 200 ligands (the 100 bundled ones where no file is given), a random draw each; that all give the same
bytes is checked. Memory is the most that the processes of a job had together at one time (proportional set size). Beside
it, what one process does for all others, reading molecules and packing them into blocks, and the bytes of a conformer.
Writes results/workers.json and workers.png; `--quick` a few molecules, and elsewhere.
"""

import argparse
import gzip
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from machine import machine
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from pyg_diffusion.tasks.molecules.blocks import blocks_of, price
from pyg_diffusion.tasks.molecules.sample import CHUNK, Request

ROOT = Path(__file__).resolve().parent.parent
SEED = 0
TICK = 0.5  # seconds between two looks at the memory


def smiles_of(path: Path) -> list[str]:
    """SMILES of a file of SMILES, or of SDF."""
    if ".sdf" in path.suffixes:
        with gzip.open(path) as file:
            return [Chem.MolToSmiles(mol) for mol in Chem.ForwardSDMolSupplier(file)]
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        return [line.split()[0] for line in file if line.strip()]


def drawn(path: Path, number: int, folder: Path, name: str) -> Path:
    """A file of so many molecules of another, drawn at random."""
    found = smiles_of(path)
    found = random.Random(SEED).sample(found, min(number, len(found)))
    target = folder / f"{name}.smi"
    target.write_text("".join(f"{smiles} {name}{k}\n" for k, smiles in enumerate(found)))
    return target


def memory(group: int) -> float:
    """Megabytes of the processes of a group now."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it has ended meanwhile
            if os.getpgid(int(process.name)) == group:
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e3


def ours(source: Path, n: int, engine: str, workers: int, out: Path) -> dict[str, Any]:
    """One job."""
    command = [sys.executable, "-m", "pyg_diffusion", "sample", str(source), "-n", str(n), "--seed", str(SEED), "--quiet"]
    command += ["-j", str(workers), "--engine", engine, "--device", "cpu", "-o", str(out)]
    begin, most = time.perf_counter(), 0.0
    with open(out.with_suffix(".log"), "w") as log:
        job = subprocess.Popen(command, stderr=log, start_new_session=True)
        while job.poll() is None:
            most = max(most, memory(job.pid))
            time.sleep(TICK)
    if job.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {out.with_suffix('.log').read_text()[-2000:]}")
    seconds = time.perf_counter() - begin
    text = out.read_bytes()
    return {
        "method": engine,
        "workers": workers,
        "seconds": seconds,
        "molecules per second": source.read_text().count("\n") / seconds,
        **({"memory, MB": most} if engine == "processes" else {}),  # Ray starts its own outside the group
        "bytes per conformer": len(text) / max(1, text.count(b"$$$$")),
        "digest": hashlib.blake2b(text, digest_size=8).hexdigest(),
    }


def etkdg(source: Path, n: int, threads: int) -> dict[str, Any]:
    """ETKDGv3 on the same molecules; threads share a molecule's conformers."""
    molecules = [Chem.AddHs(Chem.MolFromSmiles(line.split()[0])) for line in source.read_text().splitlines()]
    params = rdDistGeom.ETKDGv3()
    params.randomSeed, params.numThreads = SEED, threads
    begin = time.perf_counter()
    with rdBase.BlockLogs():
        for mol in molecules:
            rdDistGeom.EmbedMultipleConfs(mol, n, params)
    seconds = time.perf_counter() - begin
    return {"method": "ETKDGv3", "workers": threads, "seconds": seconds, "molecules per second": len(molecules) / seconds}


def reading(source: Path, n: int) -> dict[str, float]:
    """What the process does that reads for all workers."""

    def cost(size: int) -> int:
        return size**2

    request, begin = Request(n=n), time.perf_counter()
    entries = request.entries([str(source)], lambda *_: None, lambda _: None)
    blocks: Iterator[Any] = blocks_of(entries, 0, CHUNK, 240_000, lambda entry: price(entry, request, cost))
    sizes = [(len(block.entries), len(pickle.dumps(block))) for block, _ in blocks]
    molecules, seconds = sum(size for size, _ in sizes), time.perf_counter() - begin
    packed = sum(size for _, size in sizes) / molecules
    return {"molecules per second": molecules / seconds, "blocks": len(sizes), "bytes per molecule": packed}


def draw(sets: dict[str, Any], n: int, path: Path) -> None:
    """Molecules per second against workers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(sets), figsize=(5 * len(sets), 4), squeeze=False)
    for axis, (name, found) in zip(axes[0], sets.items(), strict=True):
        for method in dict.fromkeys(row["method"] for row in found["rows"]):
            rows = [row for row in found["rows"] if row["method"] == method]
            axis.plot([r["workers"] for r in rows], [r["molecules per second"] for r in rows], "o-", label=method)
        axis.set(title=f"{found['molecules']} of {name}", xlabel="workers, threads", xscale="log", yscale="log")
        axis.set_ylabel(f"molecules per second, {n} conformers each")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ligands", type=Path, default=ROOT / "datasets/zinc_100.smi", help="SMILES or SDF, 200 are drawn")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", nargs="+", default=["processes"], choices=["processes", "ray"])
    parser.add_argument("--results", type=Path, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="a few molecules, to see that it runs")
    args = parser.parse_args()
    target = args.results or (ROOT / ("runs/benchmarks" if args.quick else "benchmarks/results"))
    target.mkdir(parents=True, exist_ok=True)
    wanted = {"qm9": (ROOT / "datasets/qm9_3000.sdf.gz", 1000), "ligands": (args.ligands, 200)}
    sets: dict[str, Any] = {}
    n = 1 if args.quick else 10
    with tempfile.TemporaryDirectory() as name:
        for title, (path, number) in wanted.items():
            source = drawn(path, (66 if title == "qm9" else 2) if args.quick else number, Path(name), title)
            rows = []
            for workers in args.workers:
                rows += [ours(source, n, engine, workers, Path(name) / "out.sdf") for engine in args.engines]
                rows.append(etkdg(source, n, workers))
                print(title, *({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows[-2:]))
            if len({row["digest"] for row in rows if "digest" in row}) > 1:
                raise SystemExit(f"{title}: the bytes differ: {rows}")
            molecules = source.read_text().count("\n")
            sets[title] = {"file": path.name, "molecules": molecules, "rows": rows, "reading": reading(source, n)}
    result = {"date": date.today().isoformat(), "machine": machine(), "n": n, "sets": sets}
    (target / "workers.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(sets, n, target / "workers.png")
    print(f"{target / 'workers.json'}, {target / 'workers.png'}")


if __name__ == "__main__":
    main()
