"""Energies in closed form, their gradients, and what they must not see."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from pyg_diffusion import regularize
from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.data.schema import ATOM_FEATURES, COVALENT_RADII, HYBRIDIZATIONS
from pyg_diffusion.regularize import (
    HYBRIDIZATION_ANGLES,
    VDW_RADII,
    DistanceBounds,
    angle_bounds,
    bond_bounds,
    clash_bounds,
    combine,
    direction_alignment,
    energy,
    neighbour_alignment,
    smoothness,
    violation,
)
from pyg_diffusion.sample import EnergyGuided, Exponential, time_grid
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import DenseOperator
from pyg_diffusion.testing import gaussian_denoiser, laplacian_matrix, random_graph
from pyg_diffusion.transforms.bond_weights import bond_lengths

SIZES = [5, 1, 6]


@pytest.fixture
def graphs():
    """Three weighted graphs, one of them a lone node: edges, weights, operator, signal."""
    parts = [random_graph(n, 0.6, weighted=True, seed=n) for n in SIZES]
    edge_index = torch.cat([index + start for (index, _), start in zip(parts, (0, 5, 6), strict=True)], 1)
    weight = torch.cat([w for _, w in parts])
    batch = torch.arange(3).repeat_interleave(torch.tensor(SIZES))
    operator = DenseOperator.from_edges(edge_index, 12, weight, batch)
    return edge_index, weight, operator, torch.randn(12, 3, dtype=torch.float64)


def bounds_of(edge_index):
    i, j = edge_index[:, edge_index[0] < edge_index[1]]
    low = torch.linspace(0.5, 2.5, len(i), dtype=torch.float64)
    return DistanceBounds(torch.stack([i, j]), low, low + 0.1)


def test_values_graph_by_graph(graphs):
    edge_index, weight, operator, x = graphs
    target, wanted = torch.randn_like(x), torch.randn_like(x)
    wanted[3] = 0
    lap, bounds = laplacian_matrix(edge_index, 12, weight), bounds_of(edge_index)
    unit, n = x / x.norm(dim=1, keepdim=True), wanted / wanted.norm(dim=1, keepdim=True)
    metric = torch.linalg.inv(lap + 2 * torch.eye(12, dtype=torch.float64))
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for g, nodes in enumerate(torch.arange(12).split(SIZES)):
        gap = (x - target)[nodes]
        expected[0, g] = 0.5 * gap.square().sum()
        expected[1, g] = 0.5 * (gap * (metric[nodes][:, nodes] @ gap)).sum()
        expected[2, g] = (lap @ x)[nodes].square().sum()
        expected[4, g] = sum(1 - float(unit[i] @ n[i]) for i in nodes.tolist() if i != 3)
    group = [0] * 5 + [1] + [2] * 6
    for (i, j), w in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        expected[3, group[i]] += 0.5 * w * (1 - float(unit[i] @ unit[j]))
    actual = [
        energy(operator, x, target),
        energy(operator, x, target, metric=lambda lam: 1 / (lam + 2)),
        smoothness(operator, x),
        neighbour_alignment(operator, x),
        direction_alignment(operator, x, wanted),
    ]
    torch.testing.assert_close(torch.stack(actual), expected)
    by_hand = torch.zeros(3, dtype=torch.float64)
    for i, j, low, high in zip(*bounds.index.tolist(), bounds.low.tolist(), bounds.high.tolist(), strict=True):
        d = math.dist(x[i].tolist(), x[j].tolist())
        by_hand[group[i]] += 0.5 * max(low - d, 0, d - high) ** 2
    torch.testing.assert_close(violation(operator, x, bounds), by_hand)
    both = combine((2.0, smoothness), (0.5, neighbour_alignment))
    torch.testing.assert_close(both(operator, x), 2 * expected[2] + 0.5 * expected[3])


def test_gradients(graphs):
    edge_index, _, operator, x = graphs
    terms = [
        partial(energy, target=torch.randn_like(x), metric=lambda lam: 1 / (lam + 1)),
        smoothness,
        neighbour_alignment,
        partial(direction_alignment, directions=torch.randn_like(x)),
        partial(violation, bounds=bounds_of(edge_index)),
    ]
    x.requires_grad_()
    for term in terms:
        torch.autograd.gradcheck(partial(term, operator), x)
        torch.autograd.gradgradcheck(partial(term, operator), x)


def test_zeros_and_coincident_nodes_have_finite_gradients(graphs):
    edge_index, _, operator, _ = graphs
    x = torch.zeros(12, 3, dtype=torch.float64, requires_grad=True)
    bounds = bounds_of(edge_index)
    both = combine(
        (1.0, neighbour_alignment),
        (1.0, partial(direction_alignment, directions=x.detach() + 1)),
        (1.0, partial(violation, bounds=bounds)),
    )
    value = both(operator, x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert bool(torch.isfinite(value).all() & torch.isfinite(gradient).all())


def test_alignment_sees_directions_and_nothing_else(graphs):
    _, _, operator, x = graphs
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    scale = torch.rand(12, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(neighbour_alignment(operator, scale * x @ rotation), neighbour_alignment(operator, x))
    torch.testing.assert_close(
        direction_alignment(operator, scale * x @ rotation, 3 * x @ rotation),
        torch.zeros(3, dtype=torch.float64),
        atol=1e-12,
        rtol=0,
    )


@pytest.fixture(scope="module")
def propane_like():
    """A bent chain 0-1-2-3 whose ideal angles are those of sp3, sp2: both directions of each bond, lengths."""
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    return edge_index, torch.tensor([1.5, 1.5, 1.4, 1.4, 1.2, 1.2], dtype=torch.float64)


def test_angle_distances_are_the_law_of_cosines(propane_like):
    edge_index, lengths = propane_like
    angles = torch.tensor([math.nan, HYBRIDIZATION_ANGLES[3], HYBRIDIZATION_ANGLES[2], math.nan])
    bounds = angle_bounds(edge_index, lengths, angles, tolerance=0.05)
    assert bounds.index.T.tolist() == [[0, 2], [1, 3]]
    middle = [math.sqrt(1.5**2 + 1.4**2 + 2 * 1.5 * 1.4 / 3), math.sqrt(1.4**2 + 1.2**2 + 1.4 * 1.2)]
    torch.testing.assert_close(bounds.low + 0.05, torch.tensor(middle, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(bounds.high - bounds.low, torch.full((2,), 0.1, dtype=torch.float64))
    unknown = lengths.clone()
    unknown[:2] = math.nan
    assert angle_bounds(edge_index, unknown, angles).index.T.tolist() == [[1, 3]]
    assert bond_bounds(edge_index, unknown).index.T.tolist() == [[1, 2], [2, 3]]


@pytest.mark.parametrize("ring", [3, 4, 5])
def test_small_rings_have_no_ideal_angles(ring):
    i = torch.arange(ring)
    edge_index = torch.cat([torch.stack([i, (i + 1) % ring]), torch.stack([(i + 1) % ring, i])], 1)
    bounds = angle_bounds(edge_index, torch.ones(2 * ring), torch.full((ring,), 2.0))
    assert bounds.index.size(1) == (5 if ring == 5 else 0)


def test_clash_pairs_lie_four_bonds_apart_or_in_other_fragments():
    """A chain of six, a lone atom beside it in the same graph, and a second graph of one atom."""
    i = torch.arange(5)
    edge_index = torch.cat([torch.stack([i, i + 1]), torch.stack([i + 1, i])], 1)
    radii = torch.arange(1.0, 9.0)
    bounds = clash_bounds(edge_index, torch.tensor([7, 1]), radii, factor=0.5)
    assert bounds.index.T.tolist() == [[0, 4], [0, 5], [0, 6], [1, 5], [1, 6], [2, 6], [3, 6], [4, 6], [5, 6]]
    torch.testing.assert_close(bounds.low, 0.5 * (radii[bounds.index[0]] + radii[bounds.index[1]]))
    assert bool(bounds.high.isinf().all())
    assert clash_bounds(edge_index[:, :0], torch.tensor([], dtype=torch.long), radii[:0]).index.shape == (2, 0)


def test_molecules_against_their_own_geometry(molecules):
    """Embedded conformers nearly satisfy the bounds, random ones do not; rotations and reflections change nothing."""
    assert len(HYBRIDIZATION_ANGLES) == len(HYBRIDIZATIONS) + 1 and HYBRIDIZATIONS[1:4] == ("SP", "SP2", "SP3")
    assert set(VDW_RADII) == set(COVALENT_RADII)
    column = list(ATOM_FEATURES).index("hybridization")
    for molecule in molecules:
        data = molecule.data(0)
        operator = laplacian_operator(data, dtype=torch.float64)
        lengths = bond_lengths(data.z, data.edge_index, data.edge_attr)
        angles = torch.tensor(HYBRIDIZATION_ANGLES)[data.x[:, column].long()]
        radii = torch.tensor([VDW_RADII.get(z, math.nan) for z in data.z.tolist()])
        bounds = [
            bond_bounds(data.edge_index, lengths, 0.1),
            angle_bounds(data.edge_index, lengths, angles, 0.25),
            clash_bounds(data.edge_index, operator.sizes, radii),
        ]
        held = combine(*((1.0, partial(violation, bounds=b)) for b in bounds))
        x = data.pos.double()
        rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
        assert float(held(operator, x)) < 0.02 * max(data.num_nodes, 1), molecule.name
        torch.testing.assert_close(held(operator, x @ rotation + 5), held(operator, x))
        if data.num_nodes > 4:
            assert float(held(operator, torch.randn_like(x))) > 1


def test_the_energy_of_a_reference_weighs_atoms_and_turns_with_them(molecules):
    """½ Σ m |x - S*|², and of a template the least over turns: 0 for the turned template, not for its mirror image."""
    data = next(m for m in molecules if len(m.z) > 9).data(0)
    operator = laplacian_operator(data, dtype=torch.float64)
    x, masses = data.pos.double(), torch.tensor(regularize.MASSES, dtype=torch.float64)[data.z - 1]
    assert [float(masses[data.z == z][0]) for z in (1, 6)] == [1.008, 12.011]
    moved = x + 0.1 * torch.randn_like(x)
    wanted = 0.5 * (masses[:, None] * (moved - x).square()).sum()
    torch.testing.assert_close(regularize.reference_energy(operator, moved, x, masses)[0], wanted)
    rotation, shift = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q, torch.tensor([1.0, -2.0, 3.0])
    rotation *= torch.linalg.det(rotation)
    options = {"weights": masses, "turned": True}
    torch.testing.assert_close(
        regularize.reference_energy(operator, x @ rotation + shift, x, **options), torch.zeros(1, dtype=torch.float64)
    )
    assert float(regularize.reference_energy(operator, -x, x, **options)) > 1
    least = regularize.reference_energy(operator, moved, x, **options)
    assert least <= wanted + 1e-9
    torch.testing.assert_close(regularize.reference_energy(operator, moved @ rotation, x, **options), least)
    moved.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: regularize.reference_energy(operator, v, x, **options), moved)


def test_clashes_are_pairs_more_than_three_bonds_apart(molecules):
    from rdkit import Chem

    mol = Chem.AddHs(Chem.MolFromSmiles("CCCCO"))
    data = molecule_from_mol(mol, conformers=False)
    bonds = torch.from_numpy(data.bond_index.astype(np.int64)).T
    radii = torch.tensor([Chem.GetPeriodicTable().GetRvdw(int(z)) for z in data.z], dtype=torch.float64)
    edge_index = torch.cat([bonds, bonds.flip(0)], 1)
    bounds = clash_bounds(edge_index, torch.tensor([len(radii)]), radii)
    operator = DenseOperator.from_edges(edge_index, len(radii))
    seen = set()
    far = torch.from_numpy(np.triu(Chem.GetDistanceMatrix(mol) > 3, 1))
    for scale in np.linspace(1.0, 6.0, 20):
        x = torch.randn(len(radii), 3, dtype=torch.float64) * scale
        clash = bool((far & (torch.cdist(x, x) < 0.6 * (radii[:, None] + radii))).any())
        assert (float(violation(operator, x, bounds)) > 0) == clash
        seen.add(clash)
    assert seen == {True, False}


def test_as_guidance_an_energy_multiplies_the_density(graphs):
    """exp(-½ w‖x - target‖²) on Gaussian data N(0, p): the mean goes to p w/(1 + p w) · target, to first order in w."""
    _, _, operator, x = graphs
    sde = LinearSDE(GeometricTime(1e-4, 8.0), gamma=1.0, lambda0=1.0)
    target, weight, p = torch.randn_like(x), 0.02, 0.5
    guide = combine((weight, partial(energy, operator, target=target)))
    denoiser = EnergyGuided(gaussian_denoiser(sde, lambda lam: torch.full_like(lam, p)), guide)
    out = Exponential(2).sample(denoiser, operator, time_grid(60).double(), lambda: torch.zeros_like(x))
    torch.testing.assert_close(out, p * weight * target, rtol=0, atol=p * weight * 0.03)


def test_errors_say_what_to_do(graphs):
    edge_index, weight, _, x = graphs
    with pytest.raises(ValueError, match="at least one pair"):
        combine()
    with pytest.raises(ValueError, match="weights must be finite"):
        combine((math.nan, smoothness))
    normalized = DenseOperator.from_edges(edge_index, 12, weight, normalized=True)
    with pytest.raises(ValueError, match="combinatorial Laplacian"):
        regularize.neighbour_alignment(normalized, x)
