"""Layers against PyG's of equal width: time of a forward and of a training pass, and memory.

    python benchmarks/layers.py

Batches of grids and of molecules (`datasets/qm9_3000.sdf.gz`), `--width` channels in and out, 4 heads. Polynomials have
K = 4 coefficients, edge features are 5. "adjacency": the layer gets a CSR adjacency, made once per batch (its cost is a row
of its own, and it serves every layer of a network); otherwise `edge_index`. GPSConv is GATv2Conv, attention over all nodes
and a feed-forward layer; beside it stands a block of `GraphNet`: attention with edge features, heat kernels and a
feed-forward layer, both time-conditioned.

Times are medians over `--repeats` rounds, in each of which every layer has its turn; a training pass is forward and backward
with gradients for input and parameters. Memory is the peak of what a training pass allocates beyond what was there.
Prints a table, writes results/layers.json and .png.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import ChebConv, GATv2Conv, GPSConv

from pyg_diffusion.chem import molecule_from_mol, read_sdf
from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.nn import GraphNet, HeatConv, LaplacianAttentionConv, LaplacianConv, csr_adjacency
from pyg_diffusion.nn.conv import EdgeGradient

HERE = Path(__file__).parent
HEADS, K, EDGE_DIM = 4, 4, 5
Layer = tuple[nn.Module, Callable[[Tensor], Tensor]]


def batches(molecules: int) -> dict[str, Batch]:
    """The graphs, by name."""
    mols = (record.mol for record in read_sdf(HERE.parent / "datasets" / "qm9_3000.sdf.gz") if record.mol is not None)
    edges = [molecule_from_mol(mol).data(0) for mol, _ in zip(mols, range(molecules), strict=False)]
    items = {
        "16 grids of 32x32": [grid_graph((32, 32), "cycle")] * 16,
        "2 grids of 16x16x16": [grid_graph((16, 16, 16), "cycle")] * 2,
        f"{molecules} molecules": [Data(edge_index=d.edge_index, num_nodes=d.num_nodes) for d in edges],
    }
    return {name: Batch.from_data_list(data) for name, data in items.items()}


def layers(batch: Batch, width: int) -> dict[str, Layer]:
    """Name -> (module, its call)."""
    index, graph = batch.edge_index, batch.batch
    adjacency, order = csr_adjacency(index, batch.num_nodes)
    edge = torch.randn(index.size(1), EDGE_DIM, device=index.device)
    operator = laplacian_operator(batch)
    unit = torch.full((operator.num_graphs, 1), index.size(1) / batch.num_nodes, device=index.device)
    embedding = torch.randn(operator.num_graphs, width, device=index.device)
    head = width // HEADS
    gat, gat_edge = GATv2Conv(width, head, HEADS), GATv2Conv(width, head, HEADS, edge_dim=EDGE_DIM)
    cheb, gps = ChebConv(width, width, K), GPSConv(width, GATv2Conv(width, head, HEADS), HEADS)
    poly, heat = LaplacianConv(width, width, K), HeatConv(width, width)
    att, att_edge = (LaplacianAttentionConv(width, head, HEADS, edge_dim=d) for d in (None, EDGE_DIM))
    slopes = EdgeGradient(index, edge[:, 2:], batch.num_nodes)
    block = GraphNet(width=width, depth=1, heads=HEADS, positions=EDGE_DIM - 2).blocks[0]
    table: dict[str, Layer] = {
        "PyG GATv2Conv": (gat, lambda x: gat(x, index)),
        "LaplacianAttentionConv": (att, lambda x: att(x, index)),
        "LaplacianAttentionConv, adjacency": (att, lambda x: att(x, adjacency)),
        "PyG GATv2Conv, edge features": (gat_edge, lambda x: gat_edge(x, index, edge)),
        "LaplacianAttentionConv, edge features": (att_edge, lambda x: att_edge(x, index, edge)),
        "LaplacianAttentionConv, edge features, adjacency": (att_edge, lambda x: att_edge(x, adjacency, edge[order])),
        "PyG ChebConv": (cheb, lambda x: cheb(x, index)),
        "LaplacianConv": (poly, lambda x: poly(x, index)),
        "LaplacianConv, adjacency": (poly, lambda x: poly(x, adjacency)),
        "HeatConv": (heat, lambda x: heat(x, operator, unit=unit)),
        "PyG GPSConv": (gps, lambda x: gps(x, index, graph)),
        "GraphNet block": (
            block,
            lambda x: block(x, embedding, graph, adjacency, None, edge[order], operator, unit, slopes),
        ),
        "csr_adjacency": (nn.Identity(), lambda x: x + 0 * csr_adjacency(index, batch.num_nodes)[1][0]),
    }
    return {name: (module.to(index.device), call) for name, (module, call) in table.items()}


def passes(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Seconds of a forward pass without gradients, and of forward and backward."""

    def clock() -> float:
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    start = clock()
    with torch.no_grad():
        call(x)
    middle = clock()
    call(x).sum().backward()
    return middle - start, clock() - middle


def peak(call: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that a training pass allocates at most, beyond what was there."""
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        passes(call, x)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call(x).sum().backward()
    results = profile.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    now, most = 0, 0
    for event in events:
        now += event.nbytes()
        most = max(most, now)
    return most


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    graphs = list(dict.fromkeys(r["graphs"] for r in rows))
    figure, axes = plt.subplots(1, len(graphs), figsize=(4.2 * len(graphs), 4), sharey=True, layout="constrained")
    for axis, graph in zip(axes, graphs, strict=True):
        part = [r for r in rows if r["graphs"] == graph][::-1]
        names = [r["layer"] for r in part]
        colors = ["tab:gray" if name.startswith("PyG") else "tab:blue" for name in names]
        axis.barh(names, [1e3 * r["training_s"] for r in part], color=colors)
        axis.set(title=graph, xlabel="forward and backward [ms]", xscale="log")
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--molecules", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "layers.json")
    args = parser.parse_args()
    rows = []
    for graphs, data in batches(args.molecules).items():
        batch = data.to(args.device)
        table = layers(batch, args.width)
        x = torch.randn(batch.num_nodes, args.width, device=args.device, requires_grad=True)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in table}
        for _ in range(args.repeats + 1):  # the first round warms up
            for name, (_, call) in table.items():
                times[name].append(passes(call, x))
        print(f"{graphs}: {batch.num_nodes} nodes, {batch.num_edges} edges, width {args.width}, {args.device}")
        print(f"{'':50} {'parameters':>10} {'forward':>10} {'training':>10} {'memory':>10}")
        for name, (module, call) in table.items():
            forward, training = (statistics.median(column) for column in zip(*times[name][1:], strict=True))
            count = sum(p.numel() for p in module.parameters())
            row = {"graphs": graphs, "layer": name, "parameters": count, "forward_s": forward, "training_s": training}
            rows.append(row | {"nodes": batch.num_nodes, "edges": batch.num_edges, "peak_bytes": peak(call, x)})
            cells = f"{1e3 * forward:>7.2f} ms {1e3 * training:>7.2f} ms {rows[-1]['peak_bytes'] / 2**20:>6.1f} MiB"
            print(f"{name:50} {count:>10} {cells}")
        print()
    args.out.parent.mkdir(exist_ok=True)
    plot(rows, args.out.with_suffix(".png"))
    record = {"machine": machine(), "device": args.device, "width": args.width, "rows": rows}
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
