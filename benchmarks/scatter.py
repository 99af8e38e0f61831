"""Layers with and without torch-scatter: whether results and gradients agree, and what it is worth in time.

    make scatter        # compiles it into runs/scatter, then its tests, then this

Three ways in turn: "without"; "with", as PyG calls it where it is installed, which is for min, max and mul on CUDA and for
segments by pointers; "kernels", its own wherever PyG sums, averages or takes extremes over the edges of a node. Layers and
batches are those of `layers.py`. Times, of the first two, are medians over `--repeats` rounds of the processor time of a
training pass, forward and backward, on one thread. Prints a table, writes results/scatter.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
import torch_geometric.typing
import torch_geometric.utils
from layers import batches, layers
from machine import machine
from torch import Tensor, nn

HERE = Path(__file__).parent
WAYS = ("without", "with", "kernels")
TIMED = WAYS[:2]
OWN = torch_geometric.utils.scatter


def by_kernels(src: Tensor, index: Tensor, dim: int = 0, dim_size: int | None = None, reduce: str = "sum") -> Tensor:
    """`torch_geometric.utils.scatter` by kernels of torch-scatter."""
    import torch_scatter

    return torch_scatter.scatter(src, index, dim, dim_size=dim_size, reduce=reduce.replace("add", "sum"))


@contextmanager
def way(name: str) -> Iterator[None]:
    """Inside, PyG and this package scatter in one of `WAYS`."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch_geometric.typing, "WITH_TORCH_SCATTER", name != "without"))
        if name == "kernels":  # in the place of `scatter` wherever it has been imported
            names = ("pyg_diffusion.", "torch_geometric.")
            for module in [m for key, m in sys.modules.items() if key.startswith(names)]:
                if vars(module).get("scatter") is OWN:
                    stack.enter_context(mock.patch.object(module, "scatter", by_kernels))
        yield


def training_pass(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The result, and the gradients of a weighted sum of it for the input and the parameters."""
    module.zero_grad()
    x.grad = None
    y = call(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), *(t.grad.clone() for t in (x, *module.parameters()) if t.grad is not None)]


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest, each over the largest value of its tensor."""
    pairs = zip(found, wanted, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def measured(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> dict[str, float]:
    """Seconds of what PyG does, and the difference to "without" of the other ways."""
    outcomes, times = {}, {name: [] for name in TIMED}
    for name in WAYS:  # the first of each warms up
        with way(name):
            outcomes[name] = training_pass(module, call, x)
    for _ in range(repeats):
        for name in TIMED:
            with way(name):
                start = time.process_time()
                training_pass(module, call, x)
                times[name].append(time.process_time() - start)
    row = {f"{name}_s": statistics.median(times[name]) for name in TIMED}
    return row | {f"{name}_difference": difference(outcomes[name], outcomes["without"]) for name in WAYS[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--molecules", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scatter.json")
    args = parser.parse_args()
    import torch_scatter

    torch.set_num_threads(1)
    rows = []
    for graphs, batch in batches(args.molecules).items():
        x = torch.randn(batch.num_nodes, args.width, requires_grad=True)
        print(f"{graphs}\n{'':50}" + "".join(f"{name:>12}" for name in TIMED) + f"{'difference':>14}")
        for layer, (module, call) in layers(batch, args.width).items():
            row = measured(module, call, x, args.repeats)
            rows.append({"graphs": graphs, "layer": layer} | row)
            cells = "".join(f"{1e3 * row[f'{name}_s']:>9.2f} ms" for name in TIMED)
            print(f"{layer:50}{cells}{max(row[f'{name}_difference'] for name in WAYS[1:]):>14.1e}", flush=True)
    record = {"machine": machine(), "torch_scatter": torch_scatter.__version__, "width": args.width, "rows": rows}
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
