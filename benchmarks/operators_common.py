"""What the benchmarks of operators share: timing, and graphs of any size."""

import time
from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from pyg_diffusion.data import grid_graph


def best(work: Callable[[], object], seconds: float = 2.0, device: str = "cpu") -> float:
    """Least time of repeats that fill `seconds`, at least 3."""
    times: list[float] = []
    work()
    while len(times) < 3 or sum(times) < seconds:
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if len(times) >= 200:
            break
    return min(times)


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def random_edges(n: int, degree: int = 6, seed: int = 0) -> Tensor:
    """n·degree/2 random pairs, both directions: no locality at all, the hard case for a cache."""
    pairs = torch.from_numpy(np.random.default_rng(seed).integers(0, n, (2, n * degree // 2)))
    return torch.cat([pairs, pairs.flip(0)], 1)


def sparse_graphs(n: int) -> dict[str, Tensor]:
    side = round(n ** (1 / 3))
    return {"torus": grid_graph((side,) * 3, "cycle").edge_index, "random": random_edges(side**3)}


def scipy_laplacian(edges: Tensor, n: int, dtype: type) -> scipy.sparse.csr_array:
    row, col = edges.numpy()
    w = scipy.sparse.coo_array((np.ones(row.size), (row.astype(np.int32), col.astype(np.int32))), shape=(n, n)).tocsr()
    w.setdiag(0)
    w.eliminate_zeros()
    return (scipy.sparse.diags_array(w.sum(1)).tocsr() - w).tocsr().astype(dtype)


def copies(x: Tensor, device: str) -> tuple[float, float]:
    """Seconds of one `copy_` of x into a buffer of its own: both in cache if they fit, and streamed through memory."""
    target = torch.empty_like(x)
    hot = best(lambda: target.copy_(x), 0.5, device)
    pool = [torch.empty_like(x) for _ in range(max(4, int(4e8 / (x.numel() * x.element_size()))))]

    def stream() -> None:
        for a, b in zip(pool[::2], pool[1::2], strict=False):
            b.copy_(a)

    for p in pool:
        p.fill_(1.0)
    return hot, best(stream, 1.0, device) / (len(pool) // 2)
