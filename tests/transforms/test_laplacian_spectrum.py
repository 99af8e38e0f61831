from functools import partial

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import ToSparseTensor
from torch_geometric.utils import erdos_renyi_graph, get_laplacian, to_dense_adj

from pyg_diffusion.data import MoleculeData, grid_graph, laplacian_operator
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.spectral.lowrank import LowRankOperator
from pyg_diffusion.transforms import AddLaplacianSpectrum


def graphs() -> list[MoleculeData]:
    """Connected, disconnected, edgeless and single-node graphs."""
    torch.manual_seed(0)
    shapes = [(12, 0.4), (7, 0.15), (5, 0.0), (1, 0.0), (20, 0.2)]
    return [
        MoleculeData(edge_index=erdos_renyi_graph(n, p), x=torch.zeros(n, 1), pos=torch.randn(n, 3), num_nodes=n)
        for n, p in shapes
    ]


def dense(data: MoleculeData, weight: torch.Tensor | None = None) -> np.ndarray:
    index, value = get_laplacian(data.edge_index, weight, dtype=torch.float64, num_nodes=data.num_nodes)
    return to_dense_adj(index, edge_attr=value.double(), max_num_nodes=data.num_nodes)[0].numpy()


@pytest.mark.parametrize("k", range(5))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-12)])
def test_values_against_numpy(k, dtype, tolerance):
    data = AddLaplacianSpectrum(dtype=dtype)(graphs()[k])
    laplacian, n = dense(data), data.num_nodes
    lam, u = data.spectrum()
    assert lam.dtype == u.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(lam, np.linalg.eigvalsh(laplacian), atol=tolerance * 20)
    np.testing.assert_allclose(u * lam @ u.T, laplacian, atol=tolerance * 20)
    np.testing.assert_allclose(u.T @ u, np.eye(n), atol=tolerance * 5)
    np.testing.assert_allclose(u[:, 0], np.full(n, n**-0.5), atol=tolerance)
    null = int((np.abs(np.linalg.eigvalsh(laplacian)) < 1e-9).sum())
    assert (lam[:null] == 0).all() and (lam[null:] > 0).all()


def test_weights():
    data = graphs()[0]
    row, col = data.edge_index
    data.strength = 0.5 + ((row + col) % 7).float()
    laplacian = dense(data, data.strength)
    lam, u = AddLaplacianSpectrum(weight="strength", dtype="float64")(data).spectrum()
    np.testing.assert_allclose(u * lam @ u.T, laplacian, atol=1e-12)
    assert not np.allclose(laplacian, dense(data))
    with pytest.raises(ValueError, match="no 'strnegth'"):
        AddLaplacianSpectrum(weight="strnegth")(data)


def test_edge_weight_counts_unless_told_otherwise():
    data = graphs()[0]
    unit, _ = AddLaplacianSpectrum(dtype="float64")(data).spectrum()
    data.edge_weight = torch.full((data.num_edges,), 2.0)
    torch.testing.assert_close(AddLaplacianSpectrum(dtype="float64")(data).spectrum()[0], 2 * unit)
    torch.testing.assert_close(AddLaplacianSpectrum(None, "float64")(data).spectrum()[0], unit)


def test_normalized():
    data = graphs()[4]
    index, value = get_laplacian(data.edge_index, None, "sym", torch.float64, data.num_nodes)
    lam, u = AddLaplacianSpectrum(dtype="float64", normalized=True)(data).spectrum()
    assert lam[0] == 0
    np.testing.assert_allclose(u * lam @ u.T, to_dense_adj(index, edge_attr=value)[0], atol=1e-12)


def test_the_input_is_left_alone_and_the_rest_is_kept():
    data = graphs()[0]
    out = AddLaplacianSpectrum()(data)
    assert "eigenvalues" not in data
    assert torch.equal(out.pos, data.pos) and torch.equal(out.edge_index, data.edge_index)


def test_repr_shows_every_argument():
    assert repr(AddLaplacianSpectrum()) == "AddLaplacianSpectrum(weight='edge_weight', dtype='float32', normalized=False)"
    shown = "AddLaplacianSpectrum(weight=None, dtype='float64', normalized=True)"
    assert repr(AddLaplacianSpectrum(None, "float64", True)) == shown


def test_a_batch_is_the_loop_over_its_graphs():
    transform = AddLaplacianSpectrum()
    items = [transform(g) for g in graphs()]
    batch = Batch.from_data_list(items)
    assert torch.equal(batch.eigenvalues, torch.cat([d.eigenvalues for d in items]))
    for a, b in zip(batch.to_data_list(), items, strict=True):
        assert torch.equal(a.eigenvalues, b.eigenvalues) and torch.equal(a.eigenvectors, b.eigenvectors)
    operator = laplacian_operator(batch)
    out = operator.apply(lambda lam: torch.exp(-lam), batch.pos)
    loop = torch.cat([laplacian_operator(d).apply(lambda lam: torch.exp(-lam), d.pos) for d in items])
    torch.testing.assert_close(out, loop, atol=1e-6, rtol=0)


def test_the_stored_spectrum_gives_the_operator_decomposed_now():
    plain = Batch.from_data_list(graphs())
    stored = Batch.from_data_list([AddLaplacianSpectrum(dtype="float64")(g) for g in graphs()])
    a, b = (laplacian_operator(data, dtype=torch.float64) for data in (stored, plain))
    assert torch.equal(a.sizes, b.sizes)
    torch.testing.assert_close(a.eigenvalues, b.eigenvalues, atol=1e-12, rtol=0)
    for kernel in (lambda lam: torch.exp(-lam), lambda lam: lam, lambda lam: 1 / (lam + 0.1)):
        torch.testing.assert_close(a.matrix(kernel), b.matrix(kernel), atol=1e-11, rtol=0)
        x = plain.pos.double()
        torch.testing.assert_close(a.apply(kernel, x), b.apply(kernel, x), atol=1e-11, rtol=0)


def test_the_stored_spectrum_is_what_the_operator_reads():
    data = AddLaplacianSpectrum(dtype="float64")(graphs()[0])
    data.eigenvectors = -data.eigenvectors
    operator = laplacian_operator(data, dtype=torch.float64)
    assert operator.reason == "stored spectrum"
    assert torch.equal(operator.eigenvectors[0], data.spectrum()[1])
    data.eigenvalues = data.eigenvalues * 2
    with pytest.raises(ValueError, match="not those of the Laplacian asked for"):
        laplacian_operator(data)


def path_of_four(**options) -> Data:
    index = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    return Data(edge_index=index, num_nodes=4, **options)


def heat(data: Data, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.tensor([[1.0], [-2.0], [0.5], [4.0]], dtype=dtype)
    return laplacian_operator(data, dtype=dtype).apply(lambda lam: torch.exp(-lam), x)


def test_edges_in_a_sparse_adjacency_are_edges():
    weights = torch.tensor([1.0, 1.0, 2.0, 2.0, 0.5, 0.5])
    for options in ({}, {"edge_weight": weights}):
        plain = path_of_four(**options)
        sparse = ToSparseTensor(attr="edge_weight" if options else None)(path_of_four(**options))
        assert sparse.get("edge_index") is None and sparse.get("adj_t") is not None
        torch.testing.assert_close(heat(sparse), heat(plain), atol=1e-12, rtol=0)
        stored = AddLaplacianSpectrum(dtype="float64")(sparse)
        assert laplacian_operator(stored).reason == "stored spectrum"
        torch.testing.assert_close(heat(stored), heat(plain), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_edges_of_any_integer_type(dtype):
    data = path_of_four()
    data.edge_index = data.edge_index.to(dtype)
    torch.testing.assert_close(heat(AddLaplacianSpectrum(dtype="float64")(data)), heat(path_of_four()), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, TypeError, "made of a torch_geometric Data or Batch, got NoneType"),
        (HeteroData(), TypeError, r"HeteroData has edges of several kinds; take one of them, or data\.to_homogeneous"),
        (np.zeros((2, 3), int), TypeError, "Data or Batch, got ndarray"),
        (Data(num_nodes=3), ValueError, "no edge_index"),
        (Data(edge_index=np.zeros((2, 0), int), num_nodes=1), TypeError, "edge_index must be a tensor .*got ndarray"),
        (Data(edge_index=torch.zeros(2, 1), num_nodes=1), ValueError, "edge_index must be integers"),
        (Data(edge_index=torch.zeros(2, 1, dtype=torch.bool), num_nodes=1), ValueError, "edge_index must be integers"),
        (path_of_four(edge_weight=np.ones(6)), TypeError, "edge_weight must be a tensor .E., got ndarray"),
        (path_of_four(edge_weight=[1.0] * 6), TypeError, "edge_weight must be a tensor .E., got list"),
        (path_of_four(edge_weight=torch.ones(6, dtype=torch.complex64)), ValueError, "edge_weight must be real"),
        (path_of_four(edge_weight=torch.ones(6, 1)), ValueError, r"edge_weight must be \[6\], got \[6, 1\]"),
        (path_of_four(edge_weight=torch.tensor(2.0)), ValueError, r"edge_weight must be \[6\], got \[\]"),
        (path_of_four(edge_weight=-torch.ones(6)), ValueError, "edge 0-1 has weight -1.0"),
    ],
)
def test_other_input_is_refused_in_one_sentence(data, error, message):
    with pytest.raises(error, match=message) as transformed:
        AddLaplacianSpectrum().forward(data)
    with pytest.raises(error, match=message) as chosen:
        laplacian_operator(data)
    assert "\n" not in str(transformed.value) and str(transformed.value) == str(chosen.value)


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got 'uint8'"):
        AddLaplacianSpectrum(dtype="uint8")


def test_rounding_of_float32_weights_is_no_other_graph():
    """Directions that differ in the last digit, and weights cast to float32 after the spectrum was made."""
    skew = torch.tensor([0.1, 0.1 * (1 + 1e-7), 2.0, 2.0, 0.5, 0.5])
    double = torch.tensor([0.1, 0.1, 1 / 3, 1 / 3, 0.7, 0.7], dtype=torch.float64)
    for normalized in (False, True):
        transform = AddLaplacianSpectrum(dtype="float64", normalized=normalized)
        data = transform(path_of_four(edge_weight=skew))
        assert laplacian_operator(data, normalized=normalized).reason == "stored spectrum"
        data = transform(path_of_four(edge_weight=double))
        data.edge_weight = data.edge_weight.float()
        assert laplacian_operator(data, normalized=normalized).reason == "stored spectrum"
        data.edge_weight = data.edge_weight * torch.tensor([1 + 1e-4, 1 + 1e-4, 1, 1, 1, 1])
        with pytest.raises(ValueError, match="not those of the Laplacian asked for"):
            laplacian_operator(data, normalized=normalized)


@pytest.mark.parametrize("backend", [None, DenseOperator.from_laplacian, partial(LowRankOperator.from_laplacian, k=4)])
@pytest.mark.parametrize("kind", ["plain", "grid"])
def test_a_kernel_that_is_infinite_at_a_null_mode_is_refused(backend, kind):
    data = grid_graph((4,), dtype=torch.float64) if kind == "grid" else path_of_four()
    operator, x = laplacian_operator(data, backend, torch.float64), torch.ones(4, 1, dtype=torch.float64)
    for kernel in (lambda lam: 1 / lam, lambda lam: lam / lam, lambda lam: torch.stack([lam, lam.log()], -1)):
        with pytest.raises(ValueError, match="not finite at λ = 0; there it must have a value, such as 0"):
            operator.apply(kernel, x.expand(-1, 2))
        with pytest.raises(ValueError, match="not finite at λ = 0"):
            operator.apply_many([torch.ones_like, kernel], x.expand(-1, 2))
    with pytest.raises(ValueError, match=r"not finite at λ = 2;|not finite at λ = 2$"):
        operator.apply(lambda lam: 1 / ((lam - 2).abs() > 1e-6), x)
    torch.testing.assert_close(operator.apply(lambda lam: torch.where(lam > 1e-9, 1 / lam, 0.0), x), 0 * x)
