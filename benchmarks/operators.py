"""What f(L)x costs on every backend, beside the peers that do the same, in one run.

    python benchmarks/operators.py [--threads 2] [--nodes 1000000] [--only grid sparse peers singular spectra growth memory]

* grid: f(L)x on grids of 10⁶ nodes, 3 channels, against one preallocated `copy_` of x, against scipy.fft.dctn, and against a
  pair of ducc0's transforms alone (`pip install 'pyg_diffusion[fft]'`), and by torch's FFTs, as on a GPU.
* sparse: a Chebyshev series of order K on graphs of 10⁶ nodes and 6·10⁶ directed edges, against K plain products with L by
  the fastest of torch and scipy.
* peers: heat flow on the same graphs, float64, against scipy's expm_multiply and PyGSP's Chebyshev filter at equal accuracy.
* singular: λ^{-1/2} by Lanczos and by Chebyshev, products until a wanted error.
* spectra: Laplacians and spectra of 10,000 molecules of datasets/qm9_3000.sdf.gz, from edges.
* growth: time against the number of nodes, 10³ to 10⁶, with the fitted exponent.
* memory: growth of the peak resident size during f(L)x at 10⁶ nodes, a process of its own each, over the bytes of x.

Times are the least of several repeats (the machine's other work only adds). On a machine with CUDA the grid, sparse and
growth rows are repeated there. Prints tables, writes results/operators.json and .png.
"""

import argparse
import gc
import json
import logging
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.sparse
import scipy.sparse.linalg
import torch
from machine import machine
from operators_common import best, copies, devices, random_edges, scipy_laplacian, sparse_graphs
from torch import Tensor

from pyg_diffusion.data import grid_graph
from pyg_diffusion.sde import ConstantRate, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, LanczosOperator, Laplacian, heat, host

HERE = Path(__file__).parent
SDE = LinearSDE(ConstantRate(1.0), gamma=1.0, lambda0=0.1)
SIGMA = SDE.std(torch.tensor(1.0))  # the kernel that noises: no cheaper than any other
GRIDS = {"1000x1000": (1000, 1000), "100x100x100": (100, 100, 100)}
HEAT_TIME = 1.0


def bench_grid(nodes: int) -> list[dict]:
    rows = []
    for device in devices():
        for name, shape in GRIDS.items():
            shape = tuple(max(8, round(n * (nodes / 1e6) ** (1 / len(shape)))) for n in shape)
            n = math.prod(shape)
            x = torch.randn(n, 3, device=device)
            hot, streamed = copies(x, device)
            for kinds in ("path", "cycle"):
                operator = GridOperator(shape, kinds, device=device)
                seconds = best(lambda op=operator, x=x: op.apply(SIGMA, x), 3.0, device)
                ducc = pair_of_ducc(shape, kinds, x) if device == "cpu" and host.ducc() is not None else {}
                row = {"grid": name, "kind": kinds, "device": device, "nodes": n, "seconds": seconds} | ducc
                if device == "cpu":
                    row["torch_seconds"] = best(lambda op=operator, x=x: by_torch(op, x), 2.0)
                planes = torch.randn(3, *shape, device=device)
                row["fft_seconds"] = best(lambda p=planes: fft_round_trip(p), 1.0, device)
                row["fft_gigaflop"] = 2 * 2.5 * 3 * n * math.log2(n) / 1e9  # two real FFTs of 2.5 N log2 N each
                row |= {"copy": hot, "copy_streamed": streamed, "copies": seconds / hot}
                row |= {"copies_streamed": seconds / streamed, "precomputed_bytes": operator.precomputed_bytes}
                if kinds == "path":
                    exact = scipy_grid(shape, x.cpu().double())
                    row["error"] = float((operator.apply(SIGMA, x).cpu().double() - exact).norm() / exact.norm())
                    if device == "cpu":
                        row["scipy_seconds"] = best(lambda s=shape, x=x: scipy_grid(s, x), 3.0)
                rows.append(row)
                gc.collect()
    print("\nf(L)x on grids, 3 channels, float32; multiples of one copy_ of x (in cache / streamed through memory)")
    print(
        f"{'grid':>13} {'kind':>6} {'device':>6} {'time':>10} {'copies':>14} {'stored':>8} {'error':>8} {'scipy dctn':>11} "
        f"{'FFTs alone':>11} {'ducc0 pair':>11} {'by torch':>11}"
    )
    for r in rows:
        print(
            f"{r['grid']:>13} {r['kind']:>6} {r['device']:>6} {1e3 * r['seconds']:>7.2f} ms "
            f"{r['copies']:>6.1f} /{r['copies_streamed']:>6.1f} {r['precomputed_bytes'] / 1024:>4.1f} KiB "
            f"{r.get('error', math.nan):>8.1e} {1e3 * r.get('scipy_seconds', math.nan):>8.2f} ms "
            f"{1e3 * r['fft_seconds']:>8.2f} ms {1e3 * r.get('ducc_seconds', math.nan):>8.2f} ms "
            f"{1e3 * r.get('torch_seconds', math.nan):>8.2f} ms"
        )
    return rows


def pair_of_ducc(shape: tuple[int, ...], kind: str, x: Tensor) -> dict[str, float]:
    """Seconds of a transform and its inverse by ducc0 on the signal as it lies, and of f(L)x beside it, taken in turn."""
    fft, axes, threads = host.ducc(), list(range(len(shape))), torch.get_num_threads()
    assert fft is not None
    field, operator = x.view(*shape, -1).numpy(), GridOperator(shape, kind)

    def pair() -> object:
        if kind == "cycle":
            modes = fft.separable_fht(field, axes=axes, inorm=1, nthreads=threads)
            return fft.separable_fht(modes, axes=axes, inorm=1, nthreads=threads)
        modes = fft.dct(field, type=2, axes=axes, inorm=1, nthreads=threads)
        return fft.dct(modes, type=3, axes=axes, inorm=1, nthreads=threads)

    times = [(best(pair, 0.1), best(lambda: operator.apply(SIGMA, x), 0.1)) for _ in range(8)]
    ducc, ours = (min(t) for t in zip(*times, strict=True))
    return {"ducc_seconds": ducc, "over_ducc": ours / ducc}


def by_torch(operator: GridOperator, x: Tensor) -> Tensor:
    """The same by torch's FFTs."""
    takes, host.takes = host.takes, lambda kinds: False
    try:
        return operator.apply(SIGMA, x)
    finally:
        host.takes = takes


def fft_round_trip(planes: Tensor) -> Tensor:
    """Two FFTs alone, on arrays that already lie channel by channel: the floor of an f(L)x by transforms."""
    axes = tuple(range(1, planes.dim()))
    return torch.fft.irfftn(torch.fft.rfftn(planes, dim=axes), s=planes.shape[1:], dim=axes)


def scipy_grid(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """The same f(L)x by scipy's DCT, in x's precision."""
    axes, workers = tuple(range(len(shape))), torch.get_num_threads()
    lam = torch.zeros(())
    for a, n in enumerate(shape):
        axis = 2 - 2 * torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / n)
        lam = lam + axis.to(x.dtype).view([-1 if b == a else 1 for b in axes])
    modes = scipy.fft.dctn(x.view(*shape, 3).numpy(), axes=axes, norm="ortho", workers=workers)
    modes *= SIGMA(lam).numpy()[..., None]
    return torch.from_numpy(scipy.fft.idctn(modes, axes=axes, norm="ortho", workers=workers)).view(-1, 3)


def bench_sparse(n: int) -> list[dict]:
    rows = []
    for name, edges in sparse_graphs(n).items():
        nodes = round(n ** (1 / 3)) ** 3
        start = time.perf_counter()
        laplacian = Laplacian.from_edges(edges, nodes)
        build = time.perf_counter() - start
        for device in devices():
            operator = ChebyshevOperator(laplacian).to(torch.float32).to(device)
            x = torch.randn(nodes, 3, device=device)
            degree = operator.expand(heat(4.0)).degree
            seconds = best(lambda op=operator, x=x: op.apply(heat(4.0), x), 6.0, device)

            def product(matrix, signal, degree=degree, device=device) -> float:
                """Seconds of one of `degree` products in a row, each of the last one's result."""

                def chain() -> None:
                    y = signal
                    for _ in range(degree):
                        y = matrix @ y

                return best(chain, 4.0, device) / degree

            products = {"torch CSR": product(operator.matrix, x)}
            plain = operator.matrix
            wide = torch.sparse_csr_tensor(
                plain.crow_indices().long(), plain.col_indices().long(), plain.values(), plain.shape
            )
            products["torch CSR int64"] = product(wide, x)
            coo = wide.to_sparse_coo()
            products["torch COO"] = product(coo, x)
            if device == "cpu":
                products["scipy CSR"] = product(scipy_laplacian(edges, nodes, np.float32) / float(operator.bound), x.numpy())
            fastest = min(products, key=lambda k: products[k])
            row = {"graph": name, "device": device, "nodes": nodes, "directed_edges": edges.size(1), "build": build}
            row |= {"degree": degree, "seconds": seconds, "products": products, "fastest": fastest}
            row["ratio"] = seconds / degree / products[fastest]
            rows.append(row)
            del coo, wide, plain
            gc.collect()
    print("\nChebyshev of order K, 3 channels, float32, against K plain products")
    for r in rows:
        listed = ", ".join(f"{k} {1e3 * v:.2f} ms" for k, v in r["products"].items())
        print(
            f"{r['graph']:>7} on {r['device']}: {r['nodes']:,} nodes, {r['directed_edges']:,} directed edges, "
            f"K = {r['degree']}: "
            f"{1e3 * r['seconds']:.0f} ms, {1e3 * r['seconds'] / r['degree']:.2f} ms per order; one product: {listed}; "
            f"ratio to the fastest {r['ratio']:.2f}"
        )
    return rows


def bench_peers(n: int) -> list[dict]:
    from pygsp import filters, graphs

    logging.disable(logging.WARNING)
    rows = []
    for name, edges in sparse_graphs(n).items():
        nodes = round(n ** (1 / 3)) ** 3
        x = torch.randn(nodes, 3, dtype=torch.float64)
        laplacian = Laplacian.from_edges(edges, nodes)
        operator = ChebyshevOperator(laplacian, tol=1e-6)
        exact = ChebyshevOperator(laplacian, tol=1e-14).apply(heat(HEAT_TIME), x)

        def error(y: Tensor, exact: Tensor = exact) -> float:
            return float((y - exact).norm() / exact.norm())

        row: dict = {
            "graph": name,
            "nodes": nodes,
            "heat_time": HEAT_TIME,
            "bound": float(operator.error_bound(heat(HEAT_TIME))),
        }
        for tol in (1e-6, 1e-12):
            op = ChebyshevOperator(laplacian, tol=tol)
            y = op.apply(heat(HEAT_TIME), x)
            row[f"ours {tol:g}"] = {
                "seconds": best(lambda op=op, x=x: op.apply(heat(HEAT_TIME), x), 4.0),
                "error": error(y),
                "order": op.expand(heat(HEAT_TIME)).degree,
            }
        matrix = scipy_laplacian(edges, nodes, np.float64)
        array = x.numpy()
        start = time.perf_counter()
        y = torch.from_numpy(scipy.sparse.linalg.expm_multiply(-HEAT_TIME * matrix, array))
        row["expm_multiply"] = {"seconds": time.perf_counter() - start, "error": error(y)}
        graph = graphs.Graph(scipy.sparse.csr_matrix(scipy.sparse.diags(matrix.diagonal()) - matrix))
        start = time.perf_counter()
        graph.estimate_lmax()
        lmax_seconds = time.perf_counter() - start
        bank = filters.Filter(graph, [lambda lam: np.exp(-HEAT_TIME * lam)])
        for tol in (1e-6, 1e-12):  # the least order that reaches our error
            wanted, order, got = row[f"ours {tol:g}"]["error"], max(2, row[f"ours {tol:g}"]["order"] - 4), math.inf
            while got > wanted and order < row[f"ours {tol:g}"]["order"] + 12:
                order += 1
                start = time.perf_counter()
                y = torch.from_numpy(bank.filter(array, method="chebyshev", order=order))
                seconds = time.perf_counter() - start
                got = error(y)
            row[f"PyGSP {tol:g}"] = {"seconds": seconds, "error": got, "order": order, "lmax_seconds": lmax_seconds}
        rows.append(row)
    print(f"\nexp(-{HEAT_TIME:g} L) x, 3 channels, float64: time (relative error)")
    for r in rows:
        print(f"{r['graph']:>7}, {r['nodes']:,} nodes, stated bound {r['bound']:.1e}:")
        for key in [k for k in r if isinstance(r[k], dict)]:
            order = f", order {r[key]['order']}" if "order" in r[key] else ""
            print(f"    {key:>14}: {r[key]['seconds']:8.3f} s ({r[key]['error']:.1e}{order})")
    return rows


def bench_singular(n: int) -> list[dict]:
    side = round(n ** (1 / 2))
    grid = grid_graph((side, side))
    laplacian = Laplacian.from_edges(grid.edge_index, side * side)
    x = torch.randn(side * side, 1, dtype=torch.float64)

    def inverse_root(lam: Tensor) -> Tensor:
        return torch.where(lam > 1e-12, lam.clamp_min(1e-12).rsqrt(), 0.0)

    exact = GridOperator((side, side), dtype=torch.float64).apply(inverse_root, x)
    rows = []
    for steps in (32, 64, 128, 256, 512, 1024):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lanczos = LanczosOperator(laplacian, max_steps=steps)
            error = float((lanczos.apply(inverse_root, x) - exact).norm() / exact.norm())
            chebyshev = ChebyshevOperator(laplacian, max_degree=steps)
            other = float((chebyshev.apply(inverse_root, x) - exact).norm() / exact.norm())
        rows.append({"nodes": side * side, "order": steps, "lanczos": error, "chebyshev": other})
    print(f"\nλ^(-1/2) off the null space, {side}x{side} grid as a sparse graph: relative error")
    for r in rows:
        print(f"    K = {r['order']:>5}: Lanczos {r['lanczos']:.1e} (2K products), Chebyshev {r['chebyshev']:.1e} (K)")
    return rows


def molecules(count: int) -> tuple[Tensor, Tensor, int]:
    """(edge_index, batch, nodes) of `count` QM9 molecules as PyG batches them, repeated where there are fewer."""
    from torch_geometric.data import Batch, Data

    from pyg_diffusion.chem import molecule_from_mol, read_sdf

    path = HERE.parent / "datasets" / "qm9_3000.sdf.gz"
    items = [molecule_from_mol(record.mol).data(None) for record in read_sdf(str(path)) if record.mol is not None]
    items = [Data(edge_index=d.edge_index, num_nodes=d.num_nodes) for d in items]
    batch = Batch.from_data_list([items[i % len(items)] for i in range(count)])
    return batch.edge_index, batch.batch, int(batch.num_nodes)


def bench_spectra(count: int) -> dict:
    edges, batch, n = molecules(count)
    build = best(lambda: Laplacian.from_edges(edges, n, batch=batch), 2.0)
    seconds = best(lambda: DenseOperator.from_edges(edges, n, batch=batch), 4.0)
    padded = torch.zeros(count, 29, 29, dtype=torch.float64)
    row = {"molecules": count, "atoms": n, "seconds": seconds, "laplacians_only": build, "per_second": count / seconds}
    row["padded_eigh_seconds"] = best(lambda: torch.linalg.eigh(padded + torch.eye(29, dtype=torch.float64)), 2.0)
    print(
        f"\nLaplacians and spectra of {count:,} molecules ({n / count:.1f} atoms on average): {1e3 * seconds:.0f} ms, "
        f"{row['per_second']:,.0f} per second; the Laplacians alone {1e3 * build:.0f} ms"
    )
    return row


def bench_growth(largest: float) -> list[dict]:
    sizes = [s for s in (1e3, 1e4, 1e5, 1e6) if s <= largest]
    rows = []
    for device in devices():
        series: dict[str, list[tuple[int, float]]] = {"grid 2D": [], "grid 3D": [], "Chebyshev": []}
        for size in sizes:
            for name, d in (("grid 2D", 2), ("grid 3D", 3)):
                side = round(size ** (1 / d))
                operator, x = GridOperator((side,) * d, device=device), torch.randn(side**d, 3, device=device)
                series[name].append((side**d, best(lambda op=operator, x=x: op.apply(SIGMA, x), 1.0, device)))
            n = int(size)
            chebyshev = ChebyshevOperator(Laplacian.from_edges(random_edges(n), n)).to(torch.float32).to(device)
            x, kernel = torch.randn(n, 3, device=device), heat(4.0)
            degree = chebyshev.expand(kernel).degree
            seconds = best(lambda op=chebyshev, x=x, k=kernel: op.apply(k, x), 1.0, device)
            series["Chebyshev"].append((n, seconds / max(degree, 1)))  # per order: λ_max grows a little with n
        for name, points in series.items():
            logs = np.log(np.array(points, float))
            exponent = float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]) if len(points) > 1 else math.nan
            rows.append({"backend": name, "device": device, "points": points, "exponent": exponent})
    print("\ntime of f(L)x against N (Chebyshev: random graph, per order)")
    for r in rows:
        listed = ", ".join(f"{n:,}: {1e3 * s:.3g} ms" for n, s in r["points"])
        print(f"    {r['backend']:>9} on {r['device']}: {listed}; exponent {r['exponent']:.2f}")
    return rows


def bench_memory(n: int) -> list[dict]:
    rows = []
    for case in ("grid 2D", "grid 3D", "Chebyshev", "Lanczos"):
        command = [sys.executable, str(HERE.resolve() / "operators_memory.py"), case, str(n), str(torch.get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print("\npeak extra memory of f(L)x, result included, over the bytes of x (3 channels, float32)")
    for r in rows:
        print(f"    {r['case']:>9}: {r['nodes']:,} nodes: {r['bytes'] / 1e6:.0f} MB, {r['over_x']:.1f} x")
    return rows


def plot(record: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for row in record.get("growth", []):
        nodes, seconds = zip(*row["points"], strict=True)
        label = f"{row['backend']}, {row['device']}: N^{row['exponent']:.2f}"
        axes[0].loglog(nodes, seconds, marker="o", label=label, linestyle="-" if row["device"] == "cpu" else "--")
    axes[0].set(xlabel="nodes", ylabel="time of f(L)x [s] (Chebyshev: per order)", title="cost against size")
    peers = record.get("peers", [])
    if peers:
        keys = [k for k in peers[0] if isinstance(peers[0][k], dict)]
        for i, row in enumerate(peers):
            axes[1].barh(
                [k + 0.4 * i for k in range(len(keys))], [row[k]["seconds"] for k in keys], 0.38, label=row["graph"]
            )
        axes[1].set_yticks([k + 0.2 for k in range(len(keys))], keys)
        axes[1].set(xscale="log", xlabel="time [s]", title="exp(-L) x, float64, by wanted error")
    singular = record.get("singular", [])
    if singular:
        for name in ("lanczos", "chebyshev"):
            axes[2].loglog([r["order"] for r in singular], [r[name] for r in singular], marker="o", label=name)
        axes[2].set(xlabel="order K", ylabel="relative error", title="λ^(-1/2) on a square grid")
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = ("grid", "sparse", "peers", "singular", "spectra", "growth", "memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nodes", type=int, default=1_000_000, help="nodes of the large graphs")
    parser.add_argument("--molecules", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "operators.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    record: dict = {"machine": machine(), "load_before": round(os.getloadavg()[0], 2), "nodes": args.nodes}
    print(", ".join(f"{k}: {v}" for k, v in record["machine"].items()))
    work: dict[str, Callable[[], object]] = {
        "grid": lambda: bench_grid(args.nodes),
        "sparse": lambda: bench_sparse(args.nodes),
        "peers": lambda: bench_peers(args.nodes),
        "singular": lambda: bench_singular(args.nodes // 25),
        "spectra": lambda: bench_spectra(args.molecules),
        "growth": lambda: bench_growth(args.nodes),
        "memory": lambda: bench_memory(args.nodes),
    }
    for part in parts:
        if part in args.only:
            record[part] = work[part]()
            sys.stdout.flush()
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    plot(record, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
