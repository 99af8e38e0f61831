from functools import partial

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import get_laplacian, to_dense_adj

from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.data.operator import DENSE_NODES
from pyg_diffusion.spectral import (
    ChebyshevOperator,
    DenseOperator,
    LanczosOperator,
    Laplacian,
    LaplacianOperator,
)
from pyg_diffusion.spectral.grid import GridOperator
from pyg_diffusion.spectral.lowrank import LowRankOperator
from pyg_diffusion.transforms import AddLaplacianSpectrum


def heat(lam: Tensor) -> Tensor:
    return torch.exp(-0.7 * lam)


def ring(n: int, seed: int = 0) -> Data:
    """A cycle and one isolated node, with weights."""
    i = torch.arange(n - 1)
    edge_index = torch.stack([torch.cat([i, i.roll(-1)]), torch.cat([i.roll(-1), i])])
    weight = (0.5 + torch.rand(n - 1, generator=torch.Generator().manual_seed(seed))).repeat(2)
    return Data(edge_index=edge_index, edge_weight=weight, num_nodes=n)


def exact(data: Data, x: Tensor, normalized: bool = False, weight: str | None = "edge_weight") -> Tensor:
    """f(L) x by a dense eigh of PyG's Laplacian."""
    n, w = data.num_nodes, None if weight is None or weight not in data else data[weight].double()
    index, value = get_laplacian(data.edge_index, w, "sym" if normalized else None, torch.float64, n)
    dense = to_dense_adj(index, edge_attr=value, max_num_nodes=n)[0]
    if normalized:  # PyG's isolated nodes have L_ii = 1, ours 0
        dense -= torch.diag((torch.bincount(data.edge_index[0], minlength=n) == 0).double())
    lam, u = torch.linalg.eigh(dense)
    return u @ (heat(lam)[:, None] * (u.mT @ x))


def assert_serves(operator: LaplacianOperator, data: Data, tolerance: float = 1e-10, **options) -> None:
    """float64 operator of the data."""
    assert operator.dtype == torch.float64 and operator.num_nodes == data.num_nodes
    x = torch.randn(operator.num_nodes, 2, dtype=torch.float64)
    torch.testing.assert_close(operator.apply(heat, x), exact(data, x, **options), atol=tolerance, rtol=0)
    assert operator.constant_null is not options.get("normalized", False)


def cut(data: Data, edge: int = 0) -> Data:
    """Without one edge."""
    i, j = data.edge_index[:, edge].tolist()
    row, col = data.edge_index
    keep = ~(((row == i) & (col == j)) | ((row == j) & (col == i)))
    return data.edge_subgraph(keep)


def reweighted(data: Data, factor: float = 1.01) -> Data:
    """One edge of another weight."""
    out = data.clone()
    i, j = data.edge_index[:, 0].tolist()
    row, col = data.edge_index
    out.edge_weight[((row == i) & (col == j)) | ((row == j) & (col == i))] *= factor
    return out


SPECTRUM = AddLaplacianSpectrum(dtype="float64")
GRID = grid_graph((6, 5), ["path", "cycle"], [0.1, 0.7])
LARGE = DENSE_NODES + 1
CHOICES = [
    (SPECTRUM(ring(9)), {}, DenseOperator, "stored spectrum"),
    (SPECTRUM(GRID), {}, DenseOperator, "stored spectrum"),
    (GRID, {}, GridOperator, "grid 6x5"),
    (Batch.from_data_list([GRID] * 3), {}, GridOperator, "grid 6x5"),
    (GRID, {"normalized": True}, DenseOperator, f"largest graph has 30 <= {DENSE_NODES} nodes"),
    (GRID, {"weight": None}, DenseOperator, "not the grid's edges and weights any more; largest graph has 30 <="),
    (cut(GRID), {}, DenseOperator, "not the grid's edges and weights any more; largest graph has 30 <="),
    (reweighted(GRID), {}, DenseOperator, "not the grid's edges and weights any more; largest graph has 30 <="),
    (Batch.from_data_list([GRID, cut(GRID)]), {}, DenseOperator, "not the grid's edges"),
    (Batch.from_data_list([GRID, grid_graph((5, 6))]), {}, DenseOperator, "grids that differ; largest graph has 30 <="),
    (ring(DENSE_NODES), {}, DenseOperator, f"largest graph has {DENSE_NODES} <= {DENSE_NODES} nodes"),
    (ring(9), {"weight": None}, DenseOperator, "largest graph has 9 <="),
    (ring(9), {"normalized": True}, DenseOperator, "largest graph has 9 <="),
    (ring(LARGE), {}, ChebyshevOperator, f"largest graph has {LARGE} > {DENSE_NODES} nodes"),
    (ring(LARGE), {"normalized": True}, ChebyshevOperator, f"largest graph has {LARGE} > {DENSE_NODES} nodes"),
    (
        Batch.from_data_list([ring(9), ring(LARGE)]),
        {},
        ChebyshevOperator,
        f"largest graph has {LARGE} > {DENSE_NODES} nodes",
    ),
    (SPECTRUM(ring(9)), {"backend": LanczosOperator}, LanczosOperator, "asked for"),
    (GRID, {"backend": DenseOperator.from_laplacian}, DenseOperator, "asked for"),
    (ring(9), {"backend": partial(LowRankOperator.from_laplacian, k=9)}, LowRankOperator, "asked for"),
    (ring(9), {"backend": ChebyshevOperator, "normalized": True}, ChebyshevOperator, "asked for"),
]


@pytest.mark.parametrize(("data", "options", "kind", "reason"), CHOICES)
def test_each_rule_chooses_says_why_and_is_right(data, options, kind, reason):
    operator = laplacian_operator(data, dtype=torch.float64, **options)
    assert type(operator) is kind
    assert reason in operator.reason and operator.reason in repr(operator) and kind.__name__ in repr(operator)
    given = {k: v for k, v in options.items() if k != "backend"}
    # The grid's own h is a float32 number, and so are its weights: 1/h² differ by rounding.
    assert_serves(operator, data, 1e-6 if kind is GridOperator else 1e-10, **given)
    assert laplacian_operator(data, **options).dtype == torch.float32


def test_a_float64_grid_is_exact():
    data = grid_graph((4, 3, 5), ["cycle", "complete", "path"], [0.1, 0.3, 0.7], dtype=torch.float64)
    operator = laplacian_operator(data, dtype=torch.float64)
    assert operator.reason == "grid 4x3x5"
    assert_serves(operator, data)


def test_the_order_of_edges_is_no_matter():
    data = GRID.clone()
    order = torch.randperm(data.num_edges)
    data.edge_index, data.edge_weight = data.edge_index[:, order], data.edge_weight[order]
    assert isinstance(laplacian_operator(data), GridOperator)


def test_one_changed_edge_of_many_is_noticed():
    data = grid_graph((300, 300), spacing=0.5)
    assert isinstance(laplacian_operator(data), GridOperator)
    moved = data.clone()  # as many edges as before, and of the same weights
    row, col = moved.edge_index
    col[(row == 0) & (col == 1)] = 2
    row[(row == 1) & (col == 0)] = 2
    for changed in (cut(data, 12345), reweighted(data), reweighted(data, 0.99), moved):
        assert isinstance(laplacian_operator(changed), ChebyshevOperator)
    few = data.clone()
    few.grid_shape = torch.tensor([[300, 299]])
    assert isinstance(laplacian_operator(few), ChebyshevOperator)


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        (AddLaplacianSpectrum(), {"normalized": True}),
        (AddLaplacianSpectrum(), {"weight": None}),
        (AddLaplacianSpectrum(None), {}),
        (AddLaplacianSpectrum(None), {"weight": "strength"}),
        (AddLaplacianSpectrum(normalized=True), {}),
    ],
)
def test_a_spectrum_of_another_laplacian_is_refused(transform, options):
    data = ring(9)
    data.strength = data.edge_weight * 2
    stored = transform(data)
    with pytest.raises(ValueError, match="not those of the Laplacian asked for"):
        laplacian_operator(stored, **options)
    options = {"backend": DenseOperator.from_laplacian, **options}
    assert_serves(
        laplacian_operator(stored, dtype=torch.float64, **options),
        data,
        **{k: options[k] for k in options if k != "backend"},
    )


@pytest.mark.parametrize("change", [cut, reweighted])
def test_a_stale_spectrum_is_refused(change):
    items = [AddLaplacianSpectrum()(ring(9, seed)) for seed in range(4)]
    assert laplacian_operator(Batch.from_data_list(items)).reason == "stored spectrum"
    items[2] = change(items[2])
    with pytest.raises(ValueError, match="changed after AddLaplacianSpectrum"):
        laplacian_operator(Batch.from_data_list(items))
    shuffled = items[0].clone()
    shuffled.edge_index = torch.randperm(9, generator=torch.Generator().manual_seed(1))[shuffled.edge_index]
    with pytest.raises(ValueError, match="changed after AddLaplacianSpectrum"):
        laplacian_operator(shuffled)
    with pytest.raises(ValueError, match="changed after AddLaplacianSpectrum"):
        laplacian_operator(items[0].subgraph(torch.arange(5)))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("store", [False, True])
def test_graphs_without_edges_or_nodes(normalized, store):
    def edgeless(n: int) -> Data:
        data = Data(edge_index=torch.zeros(2, 0, dtype=torch.long), num_nodes=n)
        return AddLaplacianSpectrum(normalized=normalized)(data) if store else data

    x = torch.randn(3, 2)
    for data, num_graphs in [
        (edgeless(3), 1),
        (Batch.from_data_list([edgeless(n) for n in (0, 1, 0, 2, 0)]), 5),
        (Data(edge_index=torch.zeros(2, 0, dtype=torch.long), num_nodes=3, batch=torch.tensor([0, 0, 1])), 2),
    ]:
        operator = laplacian_operator(data, normalized=normalized)
        assert operator.num_graphs == num_graphs
        torch.testing.assert_close(operator.apply(heat, x), x)
    for data in (edgeless(0), Batch.from_data_list([edgeless(0)] * 2)):
        assert laplacian_operator(data, normalized=normalized).apply(heat, x[:0]).shape == (0, 2)


def test_errors():
    with pytest.raises(ValueError, match="no edge_index"):
        laplacian_operator(Data(num_nodes=3))
    with pytest.raises(ValueError, match="no 'strength'"):
        laplacian_operator(ring(9), weight="strength")
    with pytest.raises(ValueError, match=r"edge_weight must be \[16\], got \[16, 1\]"):
        laplacian_operator(Data(edge_index=ring(9).edge_index, edge_weight=torch.ones(16, 1), num_nodes=9))
    with pytest.raises(TypeError, match="backend must be callable, such as LanczosOperator; got 'lanczos'"):
        laplacian_operator(ring(9), "lanczos")
    broken = SPECTRUM(ring(9))
    broken.edge_index = broken.edge_index + 5
    with pytest.raises(ValueError, match="changed after AddLaplacianSpectrum"):
        laplacian_operator(broken)


def test_the_backend_gets_the_laplacian_that_was_asked_for():
    seen = []

    def backend(laplacian: Laplacian) -> LaplacianOperator:
        seen.append(laplacian)
        return DenseOperator.from_laplacian(laplacian)

    laplacian_operator(Batch.from_data_list([ring(9), ring(7)]), backend, normalized=True)
    assert seen[0].normalized and seen[0].sizes.tolist() == [9, 7]
