"""Growth of the peak resident size during one f(L)x, in a process of its own: `operators.py` runs one for each case.

python benchmarks/operators_memory.py "grid 2D" 1000000 1
"""

import gc
import json
import resource
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from operators_common import random_edges

from pyg_diffusion.spectral import ChebyshevOperator, GridOperator, LanczosOperator, Laplacian, LaplacianOperator, heat


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_work(case: str, n: int) -> dict:
    """Growth of the peak during one f(L)x, after a warm-up on a small graph and with graph and x in memory."""
    side2, side3 = round(n ** (1 / 2)), round(n ** (1 / 3))

    def operator(small: bool) -> LaplacianOperator:
        if case == "grid 2D":
            return GridOperator((8, 8) if small else (side2, side2))
        if case == "grid 3D":
            return GridOperator((4, 4, 4) if small else (side3,) * 3)
        nodes = 64 if small else n
        laplacian = Laplacian.from_edges(random_edges(nodes), nodes)
        if case == "Lanczos":
            return LanczosOperator(laplacian, max_steps=32).to(torch.float32)
        return ChebyshevOperator(laplacian).to(torch.float32)

    warnings.simplefilter("ignore")
    little = operator(True)
    little.apply(heat(4.0), torch.randn(little.num_nodes, 3))
    big = operator(False)
    x = torch.randn(big.num_nodes, 3)
    gc.collect()
    # The high-water mark may lie above what is in use now: fill the gap, so that all growth is counted.
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    ballast = np.ones(max(0, peak_bytes() - resident) // 8 + 1_000_000)
    before = peak_bytes()
    y = big.apply(heat(4.0), x)
    grown = peak_bytes() - before
    assert ballast.size and y.shape == x.shape
    return {"case": case, "nodes": big.num_nodes, "bytes": grown, "over_x": grown / (x.numel() * x.element_size())}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(0)
    print(json.dumps(memory_work(sys.argv[1], int(sys.argv[2]))))
