"""Mutation fuzz of every reader: what is damaged must be named in a sentence, and never crash, hang or lose a record.

    python tests/fuzz/fuzz.py 100000 --seed 1 [--only sdf store ...] [--limit SECONDS]

Input k follows from (seed, k) alone, so that any fault is repeated by `--one K`. Faults: an exception that is none of the
package's declared errors, or one without a sentence; a crash or a hang of the process; a record that is neither used nor
named; a healthy record beside a damaged one that is not read; a record's reason that is an exception of the program itself.
"""

import argparse
import multiprocessing
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from subjects import INTERNAL, SUBJECTS, Fault

HANG = 60.0  # seconds for one input


def one(seed: int, k: int, folder: Path, names: list[str]) -> str:
    """Input k: "" where it was read or refused as it should be, else the fault."""
    rng = random.Random(f"{seed}/{k}")
    chosen = SUBJECTS[names[k % len(names)]]
    for old in folder.iterdir():
        old.unlink()
    try:
        path = chosen.make(folder, rng)
        chosen.read(path)
    except Fault as fault:
        return f"{chosen.name}: {fault}"
    except chosen.errors as error:
        text = str(error)
        if path.stem not in text or "\n" in text or len(text.split()) < 4 or INTERNAL.search(text):
            return f"{chosen.name}: {type(error).__name__} without a sentence: {text!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{chosen.name}: {type(error).__name__} ({Path(where.filename).name}:{where.lineno}): {error}"
    return ""


def _worker(pipe: Any, seed: int, numbers: Iterator[int], names: list[str]) -> None:
    torch.set_num_threads(1)
    sys.setrecursionlimit(1000)
    with tempfile.TemporaryDirectory() as folder:
        for k in numbers:
            pipe.send((k, None))
            pipe.send((k, one(seed, k, Path(folder), names)))


def run(count: int, seed: int = 0, names: list[str] | None = None, limit: float = float("inf"), first: int = 0) -> dict:
    """{"inputs": how many, "faults": {k: fault}}; each process goes on where a crash or a hang ended the one before."""
    names, k = names or list(SUBJECTS), first
    context = multiprocessing.get_context("fork")
    faults: dict[int, str] = {}
    for chosen in names:  # what the originals take to make is made once, and inherited
        with tempfile.TemporaryDirectory() as folder:
            one(seed, names.index(chosen), Path(folder), names)
    end = time.monotonic() + limit
    while k < first + count and time.monotonic() < end:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(theirs, seed, range(k, first + count), names), daemon=True)
        process.start()
        theirs.close()
        try:
            while k < first + count and time.monotonic() < end:
                if not ours.poll(HANG):
                    faults[k] = f"{names[k % len(names)]}: hangs for {HANG:g} s"
                    k += 1
                    break
                number, fault = ours.recv()
                if fault is not None:
                    if fault:
                        faults[number] = fault
                        print(f"input {number}: {fault}", file=sys.stderr, flush=True)
                    k = number + 1
        except EOFError:
            process.join()
            faults[k] = f"{names[k % len(names)]}: the process died ({process.exitcode})"
            k += 1
        finally:
            process.kill()
            process.join()
    return {"inputs": k - first, "faults": faults}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=300, help="inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="these kinds of files")
    parser.add_argument("--limit", type=float, default=float("inf"), metavar="SECONDS", help="stop after so long")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with input K")
    parser.add_argument("--one", type=int, metavar="K", help="input K alone, its traceback with it")
    args = parser.parse_args()
    if args.one is not None:
        names = args.only or list(SUBJECTS)
        with tempfile.TemporaryDirectory() as folder:
            print(one(args.seed, args.one, Path(folder), names) or "no fault")
            kept = Path(tempfile.mkdtemp())
            for path in Path(folder).iterdir():
                path.rename(kept / path.name)
            print(f"the input: {kept}")
        return 0
    begin = time.monotonic()
    result = run(args.count, args.seed, args.only, args.limit, args.first)
    kinds = Counter(re.sub(r"[\d'\"].*", "", fault) for fault in result["faults"].values())
    print(
        f"{result['inputs']} inputs in {time.monotonic() - begin:.0f} s, {len(result['faults'])} faults (seed {args.seed})"
    )
    for kind, number in kinds.most_common():
        print(f"  {number} x {kind}")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
