"""Repulsion between samples of one graph: its energy in closed form, its invariances, and what it does to samples."""

import numpy as np
import pytest
import torch
from conftest import embed

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.skeleton import skeleton
from pyg_diffusion.sample import Ancestral, EnergyGuided, ParticleGuided, time_grid
from pyg_diffusion.sample.confidence import superimposed
from pyg_diffusion.sample.particles import NEIGHBOURS
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.spectral import ChebyshevOperator, DenseOperator, Laplacian
from pyg_diffusion.tasks.molecules.data import rotations
from pyg_diffusion.testing import gaussian_denoiser

SDE = LinearSDE(GeometricTime(1e-3, 10.0), gamma=1.0, lambda0=0.05)
WIDTH = 0.6


def spectrum(lam):
    return 1 / (0.2 + lam)


def rings(count, nodes=5, backend=DenseOperator.from_laplacian):
    """As many cycles of like size, as one operator."""
    node = torch.arange(nodes)
    ring = torch.stack([torch.cat([node, (node + 1) % nodes]), torch.cat([(node + 1) % nodes, node])])
    edges = torch.cat([ring[:, :0], *(ring + k * nodes for k in range(count))], 1)
    batch = torch.arange(count).repeat_interleave(nodes)
    return backend(Laplacian.from_edges(edges, count * nodes, batch=batch, num_graphs=count))


def guided(member, strength=3.0, **options):
    weight = torch.ones(5 * len(member), dtype=torch.float64)
    weight[::5] = 0.0  # a node that does not count
    denoiser = gaussian_denoiser(SDE, spectrum, centered=True)
    return ParticleGuided(denoiser, torch.tensor(member), weight, strength, WIDTH, **options)


def turned(x, count):
    """Every graph turned and moved in its own way."""
    turns = rotations(torch.randn(count, 4, dtype=torch.float64))
    return (x.view(count, 5, 3) @ turns + torch.randn(count, 1, 3, dtype=torch.float64)).view(-1, 3)


def by_loop(x, member, strength):
    """E, pair after pair, by explicit superposition; the node that does not count left out."""
    conformers, energy = x.view(len(member), 5, 3)[:, 1:], 0.0
    for i, j in zip(*np.triu_indices(len(member), 1), strict=True):
        if member[i] == member[j]:
            pair = conformers[[i]], conformers[[j]]
            square = superimposed(*pair, torch.ones(1, 4, dtype=torch.float64)).mean()
            energy = energy + strength / (member.count(member[i]) - 1) * torch.exp(-square / (2 * WIDTH**2))
    return energy


def test_energy_is_the_mean_over_the_others_of_the_same_graph_for_any_turn_place_and_order():
    member = [7, 2, 7, 7, 2, 5, 7]
    operator, particles = rings(7), guided(member)
    x = torch.randn(5, 3, dtype=torch.float64).repeat(7, 1) + 0.4 * torch.randn(35, 3, dtype=torch.float64)
    energy = particles.repulsion(operator, x)
    torch.testing.assert_close(energy.sum(), by_loop(x, member, 3.0))
    assert energy[5] == 0 and (energy[[0, 1, 2, 3, 4, 6]] > 0).all()  # the only one of its graph
    torch.testing.assert_close(particles.repulsion(operator, turned(x, 7)), energy)
    order = torch.randperm(7)
    mixed = guided([member[k] for k in order]).repulsion(operator, x.view(7, 5, 3)[order].view(-1, 3))
    torch.testing.assert_close(mixed, energy[order])
    mirrored = x.clone()
    mirrored[:5, 0] *= -1
    assert abs(particles.repulsion(operator, mirrored)[0] - energy[0]) > 0.01


def test_gradient_reaches_the_graphs_own_samples_alone():
    particles, operator = guided([0, 0, 0, 1, 1]), rings(5)
    x = (torch.randn(5, 3).repeat(5, 1) + 0.5 * torch.randn(25, 3)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: particles.repulsion(operator, x), x)
    (gradient,) = torch.autograd.grad(particles.repulsion(operator, x)[:3].sum(), x)
    assert (gradient[15:] == 0).all() and (gradient[1:5].abs() > 0).all()
    assert (gradient[::5] == 0).all()  # the node that does not count


def test_equal_samples_pay_the_strength_whatever_their_number_and_far_ones_nothing():
    x = torch.randn(5, 3, dtype=torch.float64)
    for count in (2, 3, NEIGHBOURS, NEIGHBOURS + 1, NEIGHBOURS + 2, 3 * NEIGHBOURS):
        operator, particles = rings(count), guided([0] * count)
        seen = torch.zeros(count).double().index_add(0, particles.pairs.flatten(), particles.share.repeat(2))
        torch.testing.assert_close(seen, torch.ones(count).double())
        assert particles.pairs.size(1) <= count * NEIGHBOURS / 2
        energy = particles.repulsion(operator, turned(x.repeat(count, 1), count))
        torch.testing.assert_close(energy, torch.full((count,), 1.5).double())
    apart = guided([0, 0]).repulsion(rings(2), torch.cat([x, 20 * x]))
    assert apart.max() < 1e-6
    assert guided([]).repulsion(rings(0), x[:0]).shape == (0,)


def test_it_adds_to_the_callers_energy_and_ends_with_the_noise():
    operator, x = rings(3), torch.randn(15, 3, dtype=torch.float64)
    particles = guided([0, 0, 0], tau=0.5, energy=lambda x: 0.3 * x.square().sum())
    w_t = operator.to_work(x)
    plain = particles.denoiser
    for tau, energies in ((0.6, (particles.energy, lambda x: particles.repulsion(operator, x))), (0.4, (particles.energy,))):
        t = SDE.schedule.t(torch.tensor(tau, dtype=torch.float64))
        both = EnergyGuided(plain, lambda x, energies=energies: sum(e(x).sum() for e in energies))
        torch.testing.assert_close(particles.denoise(operator, w_t, t), both.denoise(operator, w_t, t))


def sampled(denoiser, operator, steps=30):
    draw = torch.Generator().manual_seed(0)
    noise = lambda: torch.randn(operator.num_nodes, 3, generator=draw, dtype=torch.float64)  # noqa: E731
    return Ancestral().sample(denoiser, operator, time_grid(steps), noise).view(operator.num_graphs, 5, 3)


def spread(x):
    i, j = np.triu_indices(len(x), 1)
    return float(superimposed(x[i], x[j], torch.ones(len(i), x.size(1)).to(x)).mean().sqrt())


def test_gaussian_samples_spread_with_the_strength():
    operator, plain = rings(8), gaussian_denoiser(SDE, spectrum, centered=True)
    free, weak, strong = (sampled(guided([0] * 8, w, limit=0.5), operator) for w in (0.0, 10.0, 40.0))
    assert torch.equal(free, sampled(plain, operator))
    assert spread(strong) > 1.03 * spread(weak) and spread(weak) > 1.03 * spread(free)
    assert torch.equal(sampled(guided(list(range(8)), 40.0), operator), free)  # nobody to repel


def test_bad_input():
    for name, value in (("strength", -1.0), ("strength", float("nan")), ("width", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            ParticleGuided(gaussian_denoiser(SDE, spectrum), torch.zeros(1), torch.ones(5), **{"strength": 1.0, name: value})
    with pytest.raises(ValueError, match="member must be"):
        ParticleGuided(gaussian_denoiser(SDE, spectrum), torch.zeros(1, 1), torch.ones(5), 1.0)
    t, x = torch.tensor(1.0).double(), torch.full((10, 3), torch.nan).double()
    with pytest.raises(ValueError, match="not finite"):
        guided([0, 0]).denoise(rings(2), rings(2).to_work(x), t)


def test_the_repulsion_is_the_same_on_an_operator_without_modes():
    x, t = torch.randn(15, 3, dtype=torch.float64), torch.tensor(0.9).double()
    dense, chebyshev = rings(3), rings(3, backend=ChebyshevOperator)
    x = x - x.view(3, 5, 3).mean(1).repeat_interleave(5, 0)
    one, other = (o.from_work(guided([0, 0, 0]).denoise(o, o.to_work(x), t)) for o in (dense, chebyshev))
    torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


@pytest.fixture(scope="module")
def generator():
    return ConformerGenerator.from_pretrained(device="cpu", steps=6, confidence=False)


def test_conformers_of_a_molecule_repel_each_other_and_share_a_batch(generator, monkeypatch):
    """Sodium and water have nothing to repel and stay as they were; 0 changes nothing at all."""
    chain, water, ion = (molecule_from_mol(embed(smiles)) for smiles in ("CCCCO", "O", "[Na+]"))
    asked = [chain, water, ion], [8, 3, 2]

    free, zero, apart = (generator.sample(*asked, seed=3, **o) for o in ({}, {"diversity": 0.0}, {"diversity": 20.0}))
    for a, b in zip(free, zero, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    assert np.abs(apart[0].positions - free[0].positions).max() > 0.5
    for a, b in zip(free[1:], apart[1:], strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-2)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="diversity must be finite"):
            generator.sample(*asked, diversity=value)

    seen = []
    monkeypatch.setattr(ConformerGenerator, "_draw", lambda self, jobs, **_: seen.append([j.molecule for j in jobs]))
    monkeypatch.setattr(generator, "budget", 10 * len(skeleton(chain).molecule.z) ** 2)  # hydrogens are drawn second
    generator.sample([chain, chain, water, chain], [6, 7, 1, 12], max_attempts=1, diversity=1.0)
    assert seen == [[2] + [0] * 6, [1] * 7, [3] * 10, [3] * 2]
    seen.clear()
    generator.sample([chain, chain, water, chain], [6, 7, 1, 12], max_attempts=1)
    assert [len(batch) for batch in seen] == [10, 10, 6]


def test_kept_atoms_stay_and_an_energy_pulls_beside_the_repulsion(generator):
    mol = embed("CCCCCCO", 1)  # large enough to be left as it is drawn
    molecule, reference = molecule_from_mol(mol), mol.GetConformer().GetPositions()
    fixed = np.where(np.arange(len(reference))[:, None] < 3, reference, np.nan)
    made = generator.sample([molecule], 4, seed=1, fixed=[fixed], diversity=20.0)[0].positions
    np.testing.assert_allclose(made[:, :3], np.broadcast_to(reference[:3], (4, 3, 3)), atol=2e-3)

    def pulled(operator, batch):
        return lambda x: x.square().sum()

    any_geometry = ConformerGenerator.from_pretrained(device="cpu", steps=6, confidence=False, unsound="keep")

    def size(**options):
        drawn = any_geometry.sample([molecule], 4, seed=1, max_attempts=1, diversity=20.0, **options)
        return np.square(drawn[0].positions).mean()

    assert size(energy=pulled, energy_limit=2.0) < 0.85 * size()
