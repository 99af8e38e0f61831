"""MatrixInverse: what it holds, that it is fixed, its graph, errors."""

import pytest
import torch
from torch_geometric.loader import DataLoader

from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.datasets.matrix_inverse import MatrixInverse, inverse_pairs, matrix_data
from pyg_diffusion.spectral import GridOperator


def test_items_are_inverse_pairs_on_the_rooks_graph(tmp_path):
    data = MatrixInverse(tmp_path, n=6, num_samples=5)
    one = torch.eye(6).expand(5, 6, 6)
    torch.testing.assert_close(data.matrices @ data.inverses, one, atol=1e-4, rtol=0)
    assert bool((torch.linalg.eigvalsh(data.matrices) >= 0.5 - 1e-4).all())
    batch = next(iter(DataLoader(data, batch_size=5)))
    operator = laplacian_operator(batch)
    assert isinstance(operator, GridOperator) and operator.kinds == ("complete",) * 2
    torch.testing.assert_close(batch.x.view(5, 6, 6), data.inverses)
    torch.testing.assert_close(batch.matrix.view(5, 6, 6), data.matrices)


def test_samples_are_fixed_and_splits_apart(tmp_path):
    few, many = (MatrixInverse(tmp_path, 3, num_samples=k, split="test") for k in (2, 4))
    assert torch.equal(few.matrices, many.matrices[:2])
    assert torch.equal(MatrixInverse(tmp_path, 3, num_samples=2, split="test", force_reload=True).matrices, few.matrices)
    others = [MatrixInverse(tmp_path, 3, num_samples=2), MatrixInverse(tmp_path, 3, num_samples=2, seed=1, split="test")]
    assert all(not torch.isclose(other.matrices, few.matrices).any() for other in others)
    harder = MatrixInverse(tmp_path, 3, conditioning=0.1, num_samples=2, split="test")
    torch.testing.assert_close(harder.matrices + 0.4 * torch.eye(3), few.matrices)
    golden = [2.0638909, 1.3501325, 1.3594037, 2.9310701, 1.4910196, 1.7900375]  # the stored test sets must never change
    torch.testing.assert_close(few.matrices[0][*torch.triu_indices(3, 3)], torch.tensor(golden), rtol=1e-6, atol=0)


def test_transforms_and_filters(tmp_path):
    def small(data):
        return float(data.x.abs().max()) < 1.0

    kept = MatrixInverse(tmp_path, 2, num_samples=30, pre_filter=small)
    assert 0 < len(kept) < 30 and all(small(item) for item in kept)

    def double(data):
        data.x = 2 * data.x
        return data

    doubled = MatrixInverse(tmp_path, 2, num_samples=3, pre_transform=double)
    torch.testing.assert_close(doubled[1].x.view(2, 2), 2 * doubled.inverses[1])
    assert torch.equal(doubled[1:].matrices, doubled.matrices[1:])
    assert len(MatrixInverse(tmp_path, 2, num_samples=0)) == 0


def test_one_row_and_the_harder_set(tmp_path):
    data = MatrixInverse(tmp_path, n=1, num_samples=3)
    torch.testing.assert_close(data[0].x, 1 / data[0].matrix)
    a, inverse = inverse_pairs(torch.rand(200, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1, 0.1)
    assert 300 < float(torch.linalg.cond(a).median()) < 500
    assert 0.4 < float(inverse.square().mean().sqrt()) < 0.6


def test_a_matrix_of_ones_own():
    a = torch.tensor([[0.0, 2.0], [1.0, 3.0]])
    torch.testing.assert_close(matrix_data(a).x.view(2, 2) @ a, torch.eye(2))
    assert matrix_data(torch.tensor([[-4.0]])).x.tolist() == [[-0.25]]
    assert "x" not in matrix_data(torch.zeros(2, 2), inverse=False)
    for wrong, message in (
        (torch.ones(2, 3), r"square.*\[2, 3\]"),
        (torch.ones(0, 0), "n >= 1"),
        (torch.ones(2, 2, dtype=torch.long), "floating point"),
        (torch.ones(2, 2), "singular"),
        (torch.zeros(1, 1), "singular"),
        (torch.tensor([[float("nan")]]), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            matrix_data(wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"n": 0}, {"conditioning": 0.0}, {"conditioning": float("nan")}, {"split": "x"}, {"num_samples": -1}, {"seed": 1.5}],
)
def test_wrong_arguments_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MatrixInverse(tmp_path, **wrong)
