"""Layers: closed forms, both forms of edges, batches, symmetry, derivatives, compilation."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_torch_coo_tensor

from pyg_diffusion.data import grid_graph, laplacian_operator
from pyg_diffusion.datasets.field_laws import difference
from pyg_diffusion.nn import (
    HeatConv,
    LaplacianAttentionConv,
    LaplacianConv,
    TimeNorm,
    csr_adjacency,
    heat_diagonal,
    heat_edges,
)
from pyg_diffusion.nn.conv import EdgeGradient
from pyg_diffusion.nn.conv.weighted_sum import weighted_sum
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, heat
from pyg_diffusion.testing import laplacian_matrix, matrix_function, random_graph


def graph(n: int, seed: int = 0, density: float = 0.4) -> Data:
    index, weight = random_graph(n, density, weighted=True, seed=seed)
    return Data(edge_index=index, edge_weight=weight.float(), edge_attr=torch.randn(index.size(1), 2), num_nodes=n)


def permuted(data: Data, order: torch.Tensor) -> Data:
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    out = data.clone()
    out.edge_index = place[data.edge_index]
    return out


class Case:
    """A conv as a function of (x, data), with edges in either form."""

    def __init__(self, conv, *names: str):
        self.conv, self.names = conv, names

    def __call__(self, x, data, sparse: bool = False):
        kwargs = {name: data.get(name) for name in self.names}
        edges = data.edge_index
        if sparse:
            edges, order = csr_adjacency(data.edge_index, data.num_nodes, data.get("edge_weight"))
            kwargs.pop("edge_weight")
            kwargs |= {name: data[name][order] for name in ("edge_attr",) if name in kwargs}
        return self.conv(x, edges, **kwargs)


CONVS = {
    "sym": lambda: Case(LaplacianConv(4, 6, K=4), "edge_weight", "batch"),
    "combinatorial": lambda: Case(LaplacianConv(4, 6, K=3, normalization=None), "edge_weight", "batch"),
    "attention": lambda: Case(LaplacianAttentionConv(4, 3, heads=2, edge_dim=2), "edge_weight", "edge_attr"),
}


@pytest.fixture(params=CONVS)
def case(request) -> Case:
    case = CONVS[request.param]()
    for p in case.conv.parameters():
        p.data.add_(0.3 * torch.randn_like(p))
    return case


def test_polynomial_is_the_function_of_the_laplacian():
    index, weight = random_graph(9, weighted=True)
    x, top = torch.randn(9, 2, dtype=torch.float64), 7.0
    conv = LaplacianConv(2, 2, K=3, normalization=None, bias=False).double()
    conv.lin.weight.data.copy_(torch.eye(2))
    conv.theta.data.copy_(torch.tensor([[0.3, 1.0], [-0.5, 0.2], [0.7, 0.1]]))
    laplacian = laplacian_matrix(index, 9, weight)

    def f(c):
        def kernel(lam):
            z = 2 * lam / top - 1
            return conv.theta[0, c] + conv.theta[1, c] * z + conv.theta[2, c] * (2 * z**2 - 1)

        return kernel

    expected = torch.stack([matrix_function(laplacian, f(c)) @ x[:, c] for c in range(2)], 1)
    torch.testing.assert_close(conv(x, index, weight, lambda_max=top), expected)


@pytest.mark.parametrize("normalization", ["sym", None])
def test_filters_start_as_heat_kernels(normalization):
    """Degree 15 resolves exp(-s λ) up to s λ_max = 16: what the first quarter of the channels start with."""
    data = graph(12)
    laplacian = laplacian_matrix(data.edge_index, 12, data.edge_weight.double())
    if normalization:
        scale = laplacian.diagonal().rsqrt()
        laplacian, top = scale[:, None] * laplacian * scale, 2.0
    else:
        top = 20.0
    conv = LaplacianConv(5, 5, K=16, normalization=normalization, bias=False).double()
    conv.lin.weight.data.copy_(torch.eye(5))
    x = torch.randn(12, 5, dtype=torch.float64)
    y = conv(x, data.edge_index, data.edge_weight, lambda_max=top)
    for c in (0, 1):
        s = (c / 4) ** 2 * 16**2 / top
        expected = matrix_function(laplacian, heat(s)) @ x[:, c]
        torch.testing.assert_close(y[:, c], expected, atol=1e-5, rtol=1e-5)


def test_polynomial_bound_holds_and_edgeless_graphs_are_finite():
    data = graph(10)
    conv = LaplacianConv(2, 2, K=2, normalization=None, bias=False)
    conv.lin.weight.data.copy_(torch.eye(2))
    conv.theta.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # L̃ itself, whose spectrum must lie in [-1, 1]
    matrix = torch.cat([conv(torch.eye(10)[:, k : k + 2], data.edge_index, data.edge_weight) for k in range(0, 10, 2)], 1)
    assert torch.linalg.eigvalsh(matrix.double()).abs().max() <= 1 + 1e-6
    empty = torch.empty(2, 0, dtype=torch.long)
    torch.testing.assert_close(conv(torch.ones(3, 2), empty), -torch.ones(3, 2))  # L = 0, L̃ = -1
    assert conv(torch.ones(0, 2), empty).shape == (0, 2)


def test_attention_without_logits_is_a_random_walk():
    data = graph(9)
    conv = LaplacianAttentionConv(4, 4, bias=False)
    conv.att.weight.data.zero_()
    conv.lin.weight.data.copy_(torch.eye(4))
    laplacian = laplacian_matrix(data.edge_index, 9, data.edge_weight.double())
    x = torch.randn(9, 4)
    walk = torch.eye(9).double() - laplacian / laplacian.diagonal()[:, None]
    torch.testing.assert_close(conv(x, data.edge_index, edge_weight=data.edge_weight), (walk @ x.double()).float())


def test_attention_looks_in_one_direction():
    """With a steep logit along the edge vector a head takes the right neighbour on a cycle, and carries the vector over."""
    data = grid_graph((6,), "cycle")
    right = ((data.edge_index[0] - data.edge_index[1]) % 6 == 1).float().unsqueeze(1)
    conv = LaplacianAttentionConv(1, 1, edge_dim=1, bias=False)
    for p in conv.parameters():
        p.data.zero_()
    conv.lin.weight.data.fill_(1.0)
    conv.att_edge.weight.data[1] = 40.0
    conv.edge.data.fill_(5.0)
    x = torch.randn(6, 1)
    torch.testing.assert_close(conv(x, data.edge_index, right), x.roll(-1, 0) + 5.0)


def test_heat_conv_is_the_heat_kernel():
    data = graph(8)
    operator = laplacian_operator(data, dtype=torch.float64)
    conv = HeatConv(2, 3).double()
    x = torch.randn(8, 2, dtype=torch.float64)
    laplacian, y = laplacian_matrix(data.edge_index, 8, data.edge_weight.double()), conv.lin(x)
    unit = torch.full((1, 1), 2.5, dtype=torch.float64)
    for c, s in enumerate((0.25, 8.0, 256.0)):  # geometric
        torch.testing.assert_close(
            conv(x, operator, unit=unit)[:, c], torch.linalg.matrix_exp(-s / 2.5 * laplacian) @ y[:, c], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("nodes", [9, 600])
def test_heat_conv_takes_edges_as_other_layers_do(nodes):
    """With weights and a batch, sparse or not: what an operator of the same edges gives; large graphs by Chebyshev."""
    batch = Batch.from_data_list([graph(nodes, 2, 4 / nodes), graph(5)])
    conv, x = HeatConv(2, 3), torch.randn(nodes + 5, 2)
    operator = DenseOperator.from_edges(batch.edge_index, nodes + 5, batch.edge_weight, batch.batch).to(torch.float32)
    wanted = conv(x, operator)
    made = conv(x, batch.edge_index, batch.edge_weight, batch.batch)
    torch.testing.assert_close(made, wanted, rtol=1e-3, atol=2e-4)
    adjacency = to_torch_coo_tensor(batch.edge_index, batch.edge_weight, nodes + 5)
    torch.testing.assert_close(conv(x, adjacency, batch=batch.batch), made, rtol=1e-3, atol=2e-4)
    unweighted = conv(x, batch.edge_index)
    assert not torch.allclose(unweighted, made, atol=1e-2)
    with pytest.raises(ValueError, match="an operator has its edge weights and its batch in it"):
        conv(x, operator, batch.edge_weight)


def test_sparse_adjacency_equals_edge_index(case):
    data = graph(9)
    results = []
    for sparse in (False, True):
        x = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = case(x, data, sparse)
        case.conv.zero_grad()
        y.square().sum().backward()
        results.append([y, x.grad, *(p.grad.clone() for p in case.conv.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert all(bool((g != 0).any()) for g in results[0][1:])


@pytest.mark.parametrize("sparse", [False, True])
def test_batch_equals_loop_and_order_does_not_matter(case, sparse):
    items = [graph(7, 1), graph(1), graph(5, 2), graph(4, density=0.0)]
    x = torch.randn(17, 4)
    together = case(x, Batch.from_data_list(items), sparse)
    alone = [case(part, item, sparse) for part, item in zip(x.split([7, 1, 5, 4]), items, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    order = torch.randperm(7)
    torch.testing.assert_close(case(x[:7][order], permuted(items[0], order), sparse), alone[0][order], atol=1e-5, rtol=1e-5)


def test_weighted_sum_has_derivatives_of_any_order():
    index, _ = random_graph(6)
    adjacency, _ = csr_adjacency(index, 6)
    ptr, col = adjacency.crow_indices(), adjacency.col_indices()
    weight = torch.randn(col.numel(), 2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda w, x: weighted_sum(w, x, ptr, col), (weight, x))
    torch.autograd.gradgradcheck(lambda w, x: weighted_sum(w, x, ptr, col), (weight, x))


def test_layers_compile_without_a_graph_break():
    data, embedding = Batch.from_data_list([graph(7), graph(5, 1)]), torch.randn(2, 3)
    polynomial, attention, norm = LaplacianConv(4, 4), LaplacianAttentionConv(4, 2, 2, edge_dim=2), TimeNorm(4, 3)

    def layers(x, index, weight, attr, batch, embedding):
        h = norm(polynomial(x, index, weight, batch), embedding, batch)
        return attention(h, index, attr, weight)

    compiled = torch.compile(layers, dynamic=True, fullgraph=True, backend="eager")
    args = torch.randn(12, 4), data.edge_index, data.edge_weight, data.edge_attr, data.batch, embedding
    torch.testing.assert_close(compiled(*args), layers(*args))


def test_time_norm_modulates_graph_by_graph():
    norm, z = TimeNorm(5, 3), torch.randn(2, 3)
    x, batch = torch.randn(6, 5), torch.tensor([0, 0, 1, 1, 1, 1])
    plain = torch.nn.functional.layer_norm(x, (5,))
    torch.testing.assert_close(norm(x, z, batch), plain)
    torch.nn.init.normal_(norm.lin.weight)
    scale, shift = (z @ norm.lin.weight.mT)[batch].chunk(2, 1)
    torch.testing.assert_close(norm(x, z, batch), plain * (1 + scale) + shift)
    torch.testing.assert_close(norm(x[:2], z[:1]), norm(x, z, batch)[:2])


@pytest.mark.parametrize("kind", ["path", "cycle", "complete"])
def test_heat_entries_of_grids_are_those_of_the_matrix(kind):
    data = Batch.from_data_list([grid_graph((3, 4), kind, (1.0, 0.7), dtype=torch.float64)] * 2)
    grid = laplacian_operator(data, dtype=torch.float64)
    times = torch.tensor([[0.2, 1.0, 5.0], [0.1, 2.0, 3.0]], dtype=torch.float64)
    laplacian = laplacian_matrix(data.edge_index, 24, data.edge_weight)
    kernels = [[torch.linalg.matrix_exp(-s * laplacian[:12, :12]) for s in column] for column in times.T]
    expected = torch.stack([torch.block_diag(*pair) for pair in kernels], -1)
    for operator in (grid, laplacian_operator(data, DenseOperator.from_laplacian, torch.float64)):
        torch.testing.assert_close(heat_diagonal(operator, times), expected.diagonal().T)
        row, col = data.edge_index
        torch.testing.assert_close(heat_edges(operator, data.edge_index, times), expected[row, col])
        trace = heat_diagonal(operator, times[0]).sum(0) / 2  # Σ_i exp(-sL)_ii = Σ_k exp(-sλ_k)
        torch.testing.assert_close(trace, torch.exp(-times[0] * grid.eigenvalues[0, :, None]).sum(0))


def test_heat_entries_need_an_exact_operator():
    with pytest.raises(TypeError, match="exact operator"):
        heat_diagonal(laplacian_operator(graph(5), ChebyshevOperator), [1.0])


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="K must be"):
        LaplacianConv(2, 2, K=0)
    with pytest.raises(ValueError, match="normalization must be"):
        LaplacianConv(2, 2, normalization="rw")
    data = graph(4)
    with pytest.raises(ValueError, match="edge_attr must"):
        LaplacianAttentionConv(2, 2, edge_dim=2)(torch.ones(4, 2), data.edge_index)


def test_the_edge_gradient_is_the_central_difference_on_grids():
    shape, kinds, spacing = (4, 5), ("path", "cycle"), (0.5, 2.0)
    data, grid = grid_graph(shape, kinds, spacing, torch.float64), GridOperator(shape, kinds, spacing, dtype=torch.float64)
    j, i = data.edge_index
    vector = data.pos[j] - data.pos[i]
    vector[:, 1] -= 10 * (vector[:, 1] / 10).round()  # the short way round
    gradient, x = EdgeGradient(data.edge_index, vector, 20), torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gradient(x), torch.cat([difference(grid, x, a) for a in range(2)], dim=1))
    torch.autograd.gradcheck(gradient, (x,))


def test_the_edge_gradient_is_exact_where_it_can_be_and_0_elsewhere():
    """A tree of edges along single axes, in any order, and a node alone: linear functions have their slopes."""
    pos = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, -3.0], [-1.0, 0.0], [7.0, 7.0]])
    index = torch.tensor([[1, 0, 2, 1, 3, 0], [0, 1, 1, 2, 0, 3]])
    slopes = EdgeGradient(index, pos[index[0]] - pos[index[1]], 5)((pos @ torch.tensor([3.0, -2.0]) + 5)[:, None])
    torch.testing.assert_close(slopes, torch.tensor([[3.0, 0.0], [3.0, -2.0], [0.0, -2.0], [3.0, 0.0], [0.0, 0.0]]))
