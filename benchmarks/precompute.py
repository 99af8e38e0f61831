"""What it costs to know φ and σ at every time: the explicit Euler recursion against functions of the spectrum.

The explicit system steps Φ_n and Σ_n, dense N×N matrices, by products with the sparse M, and keeps all of them
(`pyg_diffusion.sde.reference`). The spectral form decomposes L once, densely, and evaluates φ(λ, t) and σ²(λ, t), vectors
of N numbers, for the same times. `max error` is the largest entry of |explicit - exact| in Φ and Σ over five times.

Larger grids (`--large`) need no eigenvectors: the grid operator keeps N eigenvalues and takes FFTs, Lanczos keeps the
sparse L and takes products with it. Their rows, with the dense one beside while it fits, are a signal of 3 channels noised
at `--times` times, φ(L) x + σ(L) ε, in float64: `set up` is the operator, `a time` one of them, memory holds x and ε as
well. `differ` is the largest difference from the grid's, relative to the largest entry. These are seconds of processor
time. `explicit` is what T Φ_n and Σ_n would take, in float64, computed and not run.

Every case runs in a process of its own. Memory is the growth of the peak resident size (ru_maxrss) during the work,
after imports and a warm-up of the linear algebra; it counts pages actually touched, whoever allocated them. Times are wall
clock; CPU seconds stand beside them in the JSON. Prints a table, writes results/precompute.json and .png.

    python benchmarks/precompute.py [--steps 1000] [--sides 10 15 20 25 30] [--large 32 100 316 1000] [--quick]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import cpu_model
from torch import Tensor

from pyg_diffusion.sde import ConstantRate, LinearSDE
from pyg_diffusion.sde.reference import euler_steps
from pyg_diffusion.spectral import DenseOperator, GridOperator, LanczosOperator, Laplacian, LaplacianOperator

HERE = Path(__file__).parent
PUBLISHED = "published by an earlier system at 30x30: > 6 GB and 19 s explicit, 3 MB and 0.07 s spectral"
DENSE_SIDE = 32  # beyond, eigenvectors take minutes and gigabytes
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


BACKENDS: dict[str, Callable[[int], LaplacianOperator]] = {
    "dense": lambda side: DenseOperator.from_edges(grid_edges(side), side * side),
    "grid": lambda side: GridOperator((side, side), dtype=torch.float64),
    "lanczos": lambda side: LanczosOperator(Laplacian.from_edges(grid_edges(side), side * side)),
}


def stored_bytes(operator: LaplacianOperator) -> int:
    """What an operator keeps of the spectrum, or of L."""
    if isinstance(operator, DenseOperator):
        tensors = [operator.eigenvalues, operator.eigenvectors]
    elif isinstance(operator, GridOperator):
        tensors = [operator.eigenvalues]
    else:
        assert isinstance(operator, LanczosOperator)
        matrix = operator.matrix
        tensors = [matrix.values(), matrix.col_indices(), matrix.crow_indices(), operator.null, operator.component]
    return sum(x.numel() * x.element_size() for x in tensors)


def noised(operator: LaplacianOperator, nodes: int, times: int) -> list[Tensor]:
    """A signal `[nodes, 3]` at so many times even in t."""
    x, noise = torch.randn(2, nodes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    steps = torch.arange(1, times + 1, dtype=torch.float64) / times
    return [operator.apply(SDE.mean(t), x) + operator.apply(SDE.std(t), noise) for t in steps]


def at_scale(method: str, side: int, times: int) -> dict:
    """One backend, measured; its difference from the grid's result after the clock has stopped."""
    warm_up()
    noised(BACKENDS[method](4), 16, 1)
    baseline, start, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    operator = BACKENDS[method](side)
    built = time.process_time() - cpu
    made = noised(operator, side * side, times)
    seconds, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_bytes() - baseline
    row = {"seconds": seconds, "cpu_seconds": cpu, "set_up": built, "a_time": (cpu - built) / times, "peak_bytes": peak}
    exact = noised(BACKENDS["grid"](side), side * side, times)
    differ = max(float((y - z).abs().max() / z.abs().max()) for y, z in zip(made, exact, strict=True))
    return row | {"stored_bytes": stored_bytes(operator), "differ": differ}


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


def measure(method: str, side: int, steps: int, dtype: str, times: int = 0) -> dict:
    """`work`, or `at_scale` with times, in a fresh process, so that one case's peak does not hide the next one's."""
    command = [sys.executable, str(Path(__file__).resolve()), "--work", method, "--sides", str(side)]
    command += ["--steps", str(steps), "--dtype", dtype, "--times", str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def size(count: float) -> str:
    for scale, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e6:.1f} MB"


def circumstances(args: argparse.Namespace, load: float) -> dict:
    """What a part of the results was measured on."""
    return {
        "threads": args.threads,
        "cpu": cpu_model(),
        "torch": torch.__version__,
        "process": repr(SDE),
        "load_before": round(load, 2),
        "memory": "growth of ru_maxrss in a fresh process after imports and warm-up",
    }


def small_grids(args: argparse.Namespace) -> dict:
    """The explicit system beside the spectral one."""
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
    return {
        "steps": args.steps,
        **circumstances(args, load),
        "published": PUBLISHED,
        "rows": rows,
    }


def large_grids(args: argparse.Namespace) -> dict:
    """The grids that the explicit system has no room for."""
    load = os.getloadavg()[0]
    columns = "".join(f"{name:>10}" for name in ("stored", "peak", "set up", "a time", "differ"))
    print(f"\n{'nodes':>9} {'explicit':>9} | {'backend':>8} {columns}")
    rows = []
    for side in args.large:
        would = 2 * args.steps * side**4 * 8
        row: dict = {"side": side, "explicit_bytes": would}
        for method in BACKENDS:
            if method != "dense" or side <= DENSE_SIDE:
                r = row[method] = measure(method, side, args.steps, "float64", args.times)
                cells = [size(r["stored_bytes"]), size(r["peak_bytes"]), f"{r['set_up']:.3f} s", f"{r['a_time']:.3f} s"]
                cells.append(f"{r['differ']:.0e}")
                print(f"{side * side:>9} {size(would):>9} | {method:>8} {''.join(f'{c:>10}' for c in cells)}", flush=True)
        rows.append(row)
    return {**circumstances(args, load), "times": args.times, "seconds": "of processor time", "rows": rows}


def plot(rows: list[dict], large: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for axis, key, scale in ((axes[0], "peak_bytes", 1e6), (axes[1], "seconds", 1)):
        for method, marker in (("explicit", "s"), ("spectral", "o")):
            axis.loglog(
                [row["side"] ** 2 for row in rows], [row[method][key] / scale for row in rows], marker=marker, label=method
            )
    for method, marker in (("dense", "o"), ("grid", "^"), ("lanczos", "v")):
        mine = [row for row in large if method in row]
        nodes = [row["side"] ** 2 for row in mine]
        if method != "dense":
            axes[0].loglog(nodes, [row[method]["peak_bytes"] / 1e6 for row in mine], marker=marker, label=method)
        axes[2].loglog(nodes, [row[method]["a_time"] for row in mine], marker=marker, label=method)
    for axis, label in zip(
        axes, ("peak memory [MB]", "φ and σ² at all times [s]", "a signal noised to one time [s of CPU]"), strict=True
    ):
        axis.set(xlabel="grid nodes", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="time steps; the explicit system stores all of them")
    parser.add_argument(
        "--sides",
        type=int,
        nargs="*",
        default=[10, 15, 20, 25, 30],
        help="grids of side × side nodes; none: those measured before stay",
    )
    parser.add_argument("--dtype", choices=["float64", "float32"], help="of the explicit store; default: by --limit-gb")
    parser.add_argument(
        "--limit-gb", type=float, default=8.0, help="store float32 where float64 would exceed this on the largest grid"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--large",
        type=int,
        nargs="*",
        default=[32, 100, 316, 1000],
        help="sides without the explicit system; none: as above",
    )
    parser.add_argument("--times", type=int, default=5, help="that a signal on a large grid is noised to")
    parser.add_argument("--quick", action="store_true", help="two small grids of each, results under runs/benchmarks")
    parser.add_argument("--work", choices=["explicit", "spectral", *BACKENDS], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.work:
        side = args.sides[0]
        found = at_scale(args.work, side, args.times) if args.times else work(args.work, side, args.steps, args.dtype)
        print(json.dumps(found))
        return
    if args.quick:
        args.steps, args.sides, args.large = 100, [10, 15], [32, 64]

    results = Path("runs/benchmarks") if args.quick else HERE / "results"
    results.mkdir(parents=True, exist_ok=True)
    target = results / "precompute.json"
    record = json.loads(target.read_text()) if target.is_file() else {}
    if args.sides:
        record |= small_grids(args)
    if args.large:
        record["large"] = large_grids(args)
    target.write_text(json.dumps(record, indent=2) + "\n")
    plot(record.get("rows", []), record.get("large", {}).get("rows", []), target.with_suffix(".png"))


if __name__ == "__main__":
    main()
