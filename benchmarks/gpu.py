"""Everything on a GPU, in one command, for whoever has one.

    python benchmarks/cuda.py                       # needs RDKit once, to prepare datasets/qm9_3000.sdf.gz
    python benchmarks/cuda.py --store STORE.h5       # needs none
    python benchmarks/cuda.py --rehearse             # all of it on the CPU, small, in minutes; gloo in the place of NCCL

Checks, each against the CPU (or against float32, eager, uninterrupted, not distributed): a training step of every task
and network, loss and gradients; bf16; compile; every miner; resuming; DDP of one process over NCCL. Measures: sampling over
batch sizes, the largest graph and batch that fit with their peak memory, a torch.profiler table, molecules per second
beside one CPU core. What fails is told and does not end the rest; the exit status is 1 then. Writes results/gpu_CARD.json,
or gpu_rehearsal.json, after each part.

It has been rehearsed, and not run on a GPU yet.
"""

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_measures
import torch
from gpu_setting import Setting
from machine import machine

HERE = Path(__file__).parent

PARTS: dict[str, Callable[[Setting], Iterator[dict[str, Any]]]] = {
    "step": gpu_checks.step,
    "bf16": gpu_checks.bf16,
    "compile": gpu_checks.compiled,
    "miners": gpu_checks.miners,
    "resume": gpu_checks.resume,
    "ddp": gpu_checks.ddp,
    "sampling": gpu_measures.sampling,
    "largest": gpu_measures.largest,
    "profile": gpu_measures.profile,
    "throughput": gpu_measures.throughput,
}


def card() -> dict[str, Any]:
    """The GPU and what drives it."""
    found = torch.cuda.get_device_properties(0)
    return {"gpu": found.name, "memory_gib": round(found.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def said(row: dict[str, Any]) -> str:
    """A row in a line."""
    parts = []
    for name, value in row.items():
        pieces = value.items() if isinstance(value, dict) else [("", value)]
        parts += [f"{name} {inner} {v:.4g}" if isinstance(v, float) else f"{name} {inner} {v}" for inner, v in pieces]
    return "  ".join(" ".join(part.split()) for part in parts)


def run(name: str, setting: Setting) -> dict[str, Any]:
    """One part: its rows, its seconds, and what went wrong."""
    start, rows, error = time.perf_counter(), [], ""
    print(f"== {name}: {(PARTS[name].__doc__ or '').strip()}", flush=True)
    try:
        for row in PARTS[name](setting):
            rows.append(row)
            print(said(row), flush=True)
    except Exception as found:  # one part must not cost the others
        traceback.print_exc()
        error = f"{type(found).__name__}: {' '.join(str(found).split())[:300]}"
    ok = not error and all(row.get("ok", True) for row in rows)
    return {"ok": ok, "seconds": round(time.perf_counter() - start, 1), "error": error, "rows": rows}


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="cuda.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, help="a prepared store of molecules; the bundled ones if not given")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, everything small")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    parser.add_argument("-o", "--output", type=Path, help="where the result goes")
    args = parser.parse_args(arguments)
    if not args.rehearse and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --rehearse runs everything on the CPU")
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder, "qm9.h5")
        if args.store is None:
            from pyg_diffusion.chem.prepare import prepare

            prepare([str(HERE.parent / "datasets" / "qm9_3000.sdf.gz")], store, progress=False)
        setting = Setting("cpu" if args.rehearse else "cuda", store, Path(folder), args.rehearse)
        device = {} if args.rehearse else card()
        name = "rehearsal" if args.rehearse else "_".join(device["gpu"].lower().split())
        output = args.output or HERE / "results" / f"gpu_{name}.json"
        result: dict[str, Any] = {"machine": machine() | device, "rehearsal": args.rehearse, "parts": {}}
        for part in args.only:
            result["parts"][part] = run(part, setting)
            output.write_text(json.dumps(result, indent=1) + "\n")
    failed = [part for part, found in result["parts"].items() if not found["ok"]]
    print(
        f"{output}: {len(args.only) - len(failed)} of {len(args.only)} parts as they should be{': not ' if failed else ''}"
        f"{', '.join(failed)}"
    )
    return 1 if failed else 0
