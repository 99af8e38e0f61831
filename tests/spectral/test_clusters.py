"""Means over clusters and the signal that they tell of, against dense algebra."""

import pytest
import torch

from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, GridOperator, Laplacian
from pyg_diffusion.spectral.clusters import Clusters, Interpolation

PATH = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]])
OF = torch.tensor([0, 0, 1, 2, 2])


def power(lam: torch.Tensor) -> torch.Tensor:
    return 1 / (lam + 0.2) ** 2


def matrix(clusters: Clusters) -> torch.Tensor:
    """R, row by row."""
    rows = torch.zeros(clusters.number, len(clusters.of), dtype=torch.float64)
    rows[clusters.of, torch.arange(len(clusters.of))] = clusters.weight
    return rows / rows.sum(1, keepdim=True)


def test_means_and_their_transpose():
    clusters = Clusters(OF, torch.tensor([1.0, 3.0, 2.0, 1.0, 1.0], dtype=torch.float64))
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(clusters.means(x), matrix(clusters) @ x)
    torch.testing.assert_close(clusters.spread(y), matrix(clusters).mT @ y)


@pytest.mark.parametrize("kind", ["dense", "chebyshev"])
def test_interpolation_is_gaussian_regression(kind):
    laplacian = Laplacian.from_edges(PATH, 5)
    operator = DenseOperator.from_laplacian(laplacian)
    covariance = operator.to(torch.float64).apply(power, torch.eye(5, dtype=torch.float64))
    if kind == "chebyshev":
        operator = ChebyshevOperator(laplacian, tol=1e-6)
    clusters, y = Clusters.even(OF), torch.randn(3, 2)
    r = matrix(clusters)
    wanted = covariance @ r.mT @ torch.linalg.solve(r @ covariance @ r.mT, y.double())
    found = Interpolation(operator, clusters, power)(y)
    torch.testing.assert_close(found.double(), wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(clusters.means(found), y, atol=1e-3, rtol=1e-3)


def test_variance_is_that_of_a_mean():
    grid, clusters = GridOperator((8,), "cycle"), Clusters.even(torch.arange(8) // 2)
    draws = grid.apply(lambda lam: power(lam).sqrt(), torch.randn(8, 40_000, generator=torch.Generator().manual_seed(0)))
    found = float(clusters.means(draws).square().mean())
    assert abs(found / Interpolation(grid, clusters, power).variance - 1) < 0.03


def test_clusters_in_clusters():
    fine, coarse = Clusters.even(OF), Clusters.even(torch.tensor([0, 0, 0, 1, 1]))
    within, x = fine.within(coarse), torch.randn(5, 1, dtype=torch.float64)
    assert within.of.tolist() == [0, 0, 1] and within.weight.tolist() == [2, 1, 2]
    torch.testing.assert_close(within.means(fine.means(x)), coarse.means(x))
    with pytest.raises(ValueError, match="do not lie in those"):
        coarse.within(Clusters.even(torch.tensor([0, 1, 1, 0, 0])))


def test_what_cannot_be_interpolated():
    grid = GridOperator((4,), num_graphs=2)
    with pytest.raises(ValueError, match="clusters of 4 nodes need one graph of as many"):
        Interpolation(grid, Clusters.even(torch.arange(4)), power)
    with pytest.raises(ValueError, match="no positive definite covariance"):
        Interpolation(GridOperator((4,)), Clusters.even(torch.arange(4)), lambda lam: -1 - lam)
