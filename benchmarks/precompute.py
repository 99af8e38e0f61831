"""What it costs to know φ and σ at every time: the explicit Euler recursion against functions of the spectrum.

The explicit system steps Φ_n and Σ_n, dense N×N matrices, by products with the sparse M, and keeps all of them
(`pyg_diffusion.sde.reference`). The spectral form decomposes L once, densely, and evaluates φ(λ, t) and σ²(λ, t), vectors
of N numbers, for the same times. `max error` is the largest entry of |explicit - exact| in Φ and Σ over five times.

Every case runs in a process of its own. Memory is the growth of the peak resident size (ru_maxrss) during the work,
after imports and a warm-up of the linear algebra; it counts pages actually touched, whoever allocated them. Times are wall
clock; CPU seconds stand beside them in the JSON. Prints a table, writes results/precompute.json and .png.

    python benchmarks/precompute.py [--steps 1000] [--sides 10 15 20 25 30]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from machine import cpu_model
from torch import Tensor

from pyg_diffusion.sde import ConstantRate, LinearSDE
from pyg_diffusion.sde.reference import euler_steps
from pyg_diffusion.spectral import DenseOperator

HERE = Path(__file__).parent
PUBLISHED = "published by an earlier system at 30x30: > 6 GB and 19 s explicit, 3 MB and 0.07 s spectral"
SDE = LinearSDE(ConstantRate(1.0), gamma=1.0, lambda0=0.1)


def grid_edges(side: int) -> Tensor:
    """Both directions of the edges of a side × side grid."""
    node = torch.arange(side * side).view(side, side)
    right = torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()])
    down = torch.stack([node[:-1].flatten(), node[1:].flatten()])
    one_way = torch.cat([right, down], 1)
    return torch.cat([one_way, one_way.flip(0)], 1)


def peak_bytes() -> int:
    """Peak resident size of this process so far (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def explicit(side: int, steps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """All Φ_n and Σ_n, `[steps, N, N]` each. The recursion runs in float64; `dtype` is that of the store."""
    n = side * side
    edges = grid_edges(side)
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = 1
    laplacian = (torch.diag(adjacency.sum(1)) - adjacency).to_sparse()  # the recursion at its best: M is sparse
    phis, sigmas = torch.empty(2, steps, n, n, dtype=dtype)
    for k, (phi, sigma) in enumerate(euler_steps(laplacian, SDE, steps)):
        phis[k], sigmas[k] = phi, sigma
    return phis, sigmas


def spectral(side: int, steps: int) -> DenseOperator:
    """The decomposition, and φ, σ² for the same times; as functions of t they need no store."""
    operator = DenseOperator.from_edges(grid_edges(side), side * side)
    for t in torch.arange(1, steps + 1, dtype=torch.float64) / steps:
        SDE.mean(t)(operator.eigenvalues), SDE.var(t)(operator.eigenvalues)
    return operator


def warm_up() -> None:
    """Load thread pools and LAPACK before the clock and the memory baseline."""
    explicit(3, 2, torch.float64)
    spectral(3, 2)
    torch.linalg.eigh(torch.eye(64, dtype=torch.float64))


def work(method: str, side: int, steps: int, dtype: str) -> dict:
    """One case, measured; for `explicit` also its error against the spectral form, after the clock has stopped."""
    warm_up()
    baseline, start, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    if method == "spectral":
        operator = spectral(side, steps)
        seconds, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_bytes() - baseline
        stored = sum(x.numel() * x.element_size() for x in (operator.eigenvalues, operator.eigenvectors))
        end, lam = torch.tensor(1.0, dtype=torch.float64), operator.eigenvalues
        phi, var = SDE.mean(end)(lam), SDE.var(end)(lam)
        conditions = {"condition_phi": float(phi.max() / phi.min()), "condition_sigma": float(var.max() / var.min())}
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "stored_bytes": stored} | conditions
    phis, sigmas = explicit(side, steps, getattr(torch, dtype))
    seconds, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_bytes() - baseline
    operator, error = spectral(side, 0), 0.0
    for k in sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1}):
        t = torch.tensor((k + 1) / steps, dtype=torch.float64)
        for got, kernel in ((phis[k], SDE.mean(t)), (sigmas[k], SDE.var(t))):
            error = max(error, float((got.double() - operator.matrix(kernel)[0]).abs().max()))
    stored = 2 * phis.numel() * phis.element_size()
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "stored_bytes": stored, "max_error": error}


def measure(method: str, side: int, steps: int, dtype: str) -> dict:
    """`work` in a fresh process, so that one case's peak does not hide the next one's."""
    command = [sys.executable, str(Path(__file__).resolve()), "--work", method, "--sides", str(side)]
    command += ["--steps", str(steps), "--dtype", dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    nodes = [row["side"] ** 2 for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key, scale, label in zip(
        axes, ("peak_bytes", "seconds"), (1e6, 1), ("peak memory [MB]", "time [s]"), strict=True
    ):
        for method, marker in (("explicit", "s"), ("spectral", "o")):
            axis.loglog(nodes, [row[method][key] / scale for row in rows], marker=marker, label=method)
        axis.set_xticks(nodes, [f"{row['side']}²" for row in rows])
        axis.minorticks_off()
        axis.set(xlabel="grid nodes", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="time steps; the explicit system stores all of them")
    parser.add_argument("--sides", type=int, nargs="+", default=[10, 15, 20, 25, 30], help="grids of side × side nodes")
    parser.add_argument("--dtype", choices=["float64", "float32"], help="of the explicit store; default: by --limit-gb")
    parser.add_argument(
        "--limit-gb", type=float, default=8.0, help="store float32 where float64 would exceed this on the largest grid"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", choices=["explicit", "spectral"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.work:
        print(json.dumps(work(args.work, args.sides[0], args.steps, args.dtype)))
        return

    fits = 2 * args.steps * max(args.sides) ** 4 * 8 <= args.limit_gb * 1e9
    dtype = args.dtype or ("float64" if fits else "float32")
    rows, load = [], os.getloadavg()[0]  # other work on the machine slows the wall clock
    print(f"{args.steps} steps; {cpu_model()}, {args.threads} thread(s), torch {torch.__version__}")
    header = f"{'grid':>6} {'store':>8} | {'explicit: stored':>16} {'peak':>9} {'time':>8} {'max error':>10}"
    print(f"{header} | {'spectral: stored':>16} {'peak':>9} {'time':>8} | {'cond Φ_T':>8} {'cond Σ_T':>8}")
    for side in args.sides:
        row = {"side": side, "dtype": dtype}
        row |= {method: measure(method, side, args.steps, dtype) for method in ("explicit", "spectral")}
        rows.append(row)
        e, s = row["explicit"], row["spectral"]
        left = f"{side:>3}x{side:<2} {dtype:>8} | {size(e['stored_bytes']):>16} {size(e['peak_bytes']):>9}"
        left += f" {e['seconds']:>6.2f} s {e['max_error']:>10.1e}"
        right = f"{size(s['stored_bytes']):>16} {size(s['peak_bytes']):>9} {s['seconds']:>6.3f} s"
        print(f"{left} | {right} | {s['condition_phi']:>8.3g} {s['condition_sigma']:>8.3g}", flush=True)
    if not fits and not args.dtype:
        print(
            f"float32 store: float64 would exceed {args.limit_gb:g} GB on the largest grid; the recursion itself is float64"
        )
    print(PUBLISHED)

    results = HERE / "results"
    results.mkdir(exist_ok=True)
    record = {
        "steps": args.steps,
        "threads": args.threads,
        "cpu": cpu_model(),
        "torch": torch.__version__,
        "process": repr(SDE),
        "load_before": round(load, 2),
        "memory": "growth of ru_maxrss in a fresh process after imports and warm-up",
        "published": PUBLISHED,
        "rows": rows,
    }
    (results / "precompute.json").write_text(json.dumps(record, indent=2) + "\n")
    plot(rows, results / "precompute.png")


if __name__ == "__main__":
    main()
