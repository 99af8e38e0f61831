"""How long the program takes to start, and where that goes.

    python benchmarks/startup.py [--tree OTHER_CHECKOUT]

Seconds of processor time (user and system) of whole processes, the least of several, one thread each, after a first run that
fills the cache of files; with `--tree` beside those of another checkout, its package in the same environment. Where they
go: the time of importing each package and what it imports first, by `python -X importtime`. Writes results/startup.json.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

from machine import machine

ROOT = Path(__file__).parents[1]
JOBS = {
    "import pyg_diffusion": ["-c", "import pyg_diffusion"],
    "pyg-diffusion --help": ["-m", "pyg_diffusion.cli", "--help"],
    "pyg-diffusion sample --help": ["-m", "pyg_diffusion.cli", "sample", "--help"],
    "pyg-diffusion sample CCO -n 1": ["-m", "pyg_diffusion.cli", "sample", "CCO", "-n", "1", "-o", os.devnull, "--quiet"],
}
PARTS = ("torch", "torch_geometric", "scipy", "rdkit", "h5py", "pydantic", "tqdm", "pyg_diffusion")


def run(tree: Path, arguments: list[str]) -> tuple[float, str]:
    """(seconds, what was written to stderr) of one process."""
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=True, cwd=tree)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def imports(tree: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds by package, each without what of another of `PARTS` it imports first."""
    _, text = run(tree, ["-X", "importtime", *arguments])
    spent = dict.fromkeys(PARTS, 0.0)
    stack: list[tuple[int, str]] = []  # from the last line back: a module stands below what it imports
    for line in reversed(text.splitlines()):
        if not (found := re.match(r"import time: +(\d+) \| +\d+ \|( +)([\w.]+)", line)):
            continue
        depth, name = len(found[2]), found[3].split(".")[0]
        while stack and stack[-1][0] >= depth:
            stack.pop()
        owner = name if name in spent else (stack[-1][1] if stack else "")
        stack.append((depth, owner))
        if owner:
            spent[owner] += int(found[1]) / 1e6
    return {name: round(seconds, 3) for name, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    trees = {"this": ROOT} | ({} if args.tree is None else {"other": args.tree.resolve()})
    seconds: dict[str, dict[str, float]] = {job: {} for job in JOBS}
    for job, arguments in JOBS.items():
        for name, tree in trees.items():
            run(tree, arguments)
            seconds[job][name] = min(run(tree, arguments)[0] for _ in range(args.repeats))
    where = {name: imports(tree, JOBS["pyg-diffusion sample CCO -n 1"]) for name, tree in trees.items()}
    print("seconds".ljust(34) + "".join(name.rjust(10) for name in trees))
    for job, row in seconds.items():
        print(job.ljust(34) + "".join(f"{row[name]:10.2f}" for name in trees))
    print("\nimporting, of the last")
    for part in PARTS:
        print(part.ljust(34) + "".join(f"{where[name][part]:10.2f}" for name in trees))
    result = {"date": date.today().isoformat(), "machine": machine(), "seconds": seconds, "imports": where}
    (ROOT / "benchmarks/results/startup.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
