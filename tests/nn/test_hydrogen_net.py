"""Hydrogens from frames and templates, against real geometries, closed forms and symmetry."""

import numpy as np
import pytest
import torch
from conftest import embed
from torch_geometric.data import Batch

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.skeleton import whole_data
from pyg_diffusion.nn import HydrogenNet
from pyg_diffusion.nn.hydrogen_frames import (
    BINS,
    FREE,
    TEMPLATES,
    find_sites,
    fit,
    frames,
    turned,
)
from pyg_diffusion.nn.hydrogen_net import DRAWS
from pyg_diffusion.nn.pairs import near_pairs
from pyg_diffusion.tasks.molecules.data import rotations

# CH3, CH2, CH, OH, NH2, NH, NH3+, aromatic, sp, sp2, SH, a fragment without a neighbour
SMILES = ["CC(C)O", "NCC#C", "C=CNC(=O)CS", "c1ccccc1N", "[NH3+]CC(=O)[O-]", "C1CNC1", "CC(=O)[O-].[NH4+]"]


@pytest.fixture(scope="module")
def whole():
    return [whole_data(molecule_from_mol(embed(smiles))) for smiles in SMILES]


@pytest.fixture(scope="module")
def net():
    """Untrained, but with heads that say something."""
    torch.manual_seed(0)
    net = HydrogenNet(width=16, depths=(1, 1))
    for head in (net.choose, net.shift):
        torch.nn.init.normal_(head[2].weight, std=0.3)
    return net


def sites_of(batch):
    sites = find_sites(batch)
    return sites, sites.slots(batch.pos[sites.hydrogen] - batch.pos[sites.atom[sites.site]])


def noise_for(batch, seed=1):
    return torch.randn(batch.num_nodes, DRAWS, generator=torch.Generator().manual_seed(seed))


def test_templates_are_directions_with_ideal_angles():
    lengths = TEMPLATES.norm(dim=-1)
    for k in range(1, 7):
        torch.testing.assert_close(lengths[:, k, :, :k], torch.ones(4, 4, k))
        assert (lengths[:, k, :, k:] == 0).all()
    ammonium = TEMPLATES[0, 4, 3, :4]
    torch.testing.assert_close(ammonium @ ammonium.T, torch.eye(4) * 4 / 3 - 1 / 3, atol=1e-6, rtol=0)
    methyl = TEMPLATES[1, 3, 3, :3]
    torch.testing.assert_close(methyl @ methyl.T, torch.eye(3) * 4 / 3 - 1 / 3, atol=1e-6, rtol=0)
    assert FREE[1, 3, 3] == 1 and FREE[2, 1, 3] == 2 and FREE[3, 1, 3] == 0


def test_near_pairs_are_those_of_all_pairs():
    x, y = 12 * torch.rand(60, 3), 12 * torch.rand(90, 3) - 3
    of_x, of_y = torch.arange(3).repeat_interleave(20), torch.arange(3).repeat_interleave(30)
    found = near_pairs(x, of_x, y, of_y, 3.0)
    expected = ((torch.cdist(x, y) < 3.0) & (of_x[:, None] == of_y)).nonzero().T
    assert sorted(map(tuple, found.T.tolist())) == sorted(map(tuple, expected.T.tolist())) and found.size(1) > 50
    assert near_pairs(x[:0], of_x[:0], y, of_y, 3.0).shape == (2, 0)


def test_templates_fit_real_geometries(whole):
    """In their frames, real hydrogens are near ideal ones whatever the labels of equivalent hydrogens."""
    batch = Batch.from_data_list(whole)
    sites, offset = sites_of(batch)
    frame = frames(sites, batch.pos, noise_for(batch)[sites.atom, :3])
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3).expand_as(frame), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(len(frame)))
    frame, angle, ordered = fit(sites, frame, offset)
    gap = (ordered @ turned(frame, sites.free, angle) - sites.template).norm(dim=-1)[sites.filled]
    assert gap.mean() < 0.1 and gap.max() < 0.45  # a random place on the sphere is 1.4 away
    for order in ([1, 0, 2], [2, 1, 0]):  # equivalent hydrogens change places
        mixed = offset.clone()
        methyl = sites.protons == 3
        mixed[methyl, :3] = offset[methyl][:, order]
        again, other, swapped = fit(sites, frame, mixed)
        new = (swapped @ turned(again, sites.free, other) - sites.template).norm(dim=-1)[sites.filled]
        torch.testing.assert_close(new.sort().values, gap.sort().values, atol=1e-4, rtol=0)


def test_an_angle_put_in_is_found_again(whole):
    batch = Batch.from_data_list(whole[:-1])  # a lone ion has no frame of its own
    sites = find_sites(batch)
    frame = frames(sites, batch.pos, noise_for(batch)[sites.atom, :3])
    angle = torch.where(sites.free > 0, torch.linspace(-3, 3, len(sites.atom)), 0.0)
    offset = sites.template @ turned(frame, sites.free, angle).mT
    _, found, ordered = fit(sites, frame, offset)
    period = 2 * torch.pi * sites.bins.clamp_min(1) / BINS
    flat = (sites.protons == 2) & (sites.shape == 1)  # =CH2 is the same after half a turn
    period = torch.where(flat, torch.pi, period)
    gap = torch.remainder(found - angle + period / 2, period) - period / 2
    assert gap[sites.free > 0].abs().max() < 1e-3
    torch.testing.assert_close(ordered @ turned(frame, sites.free, found), sites.template, atol=1e-4, rtol=0)


def test_what_is_drawn_moves_with_the_molecule(whole, net):
    batch = Batch.from_data_list(whole[:-1])
    noise = noise_for(batch)
    drawn = net.draw(batch, noise)
    assert torch.equal(drawn[~batch.second], batch.pos[~batch.second])
    turn = rotations(torch.tensor([[0.3, -0.7, 0.2, 0.5]]))[0]
    moved = batch.clone()
    moved.pos = batch.pos @ turn.T + torch.tensor([3.0, -20.0, 7.0])
    moved.pos[batch.second] = torch.nan  # nothing is read of them
    torch.testing.assert_close(net.draw(moved, noise), drawn @ turn.T + torch.tensor([3.0, -20.0, 7.0]), atol=2e-4, rtol=0)
    other = net.draw(batch, noise_for(batch, 2))
    apart = (other - drawn).norm(dim=1)[batch.second]
    assert apart.max() > 0.5  # another draw turns what can turn


def test_a_batch_is_its_molecules(whole, net):
    batch = Batch.from_data_list(whole)
    noise = noise_for(batch)
    drawn = net.draw(batch, noise)
    for k, data in enumerate(whole):
        mine = batch.batch == k
        torch.testing.assert_close(net.draw(data, noise[mine]), drawn[mine], atol=1e-4, rtol=0)


def test_the_order_of_atoms_makes_no_difference(whole, net):
    for data in whole[:-1]:
        order = torch.randperm(data.num_nodes)
        place = order.argsort()
        other = data.clone()
        for name in ("x", "z", "pos", "second"):
            other[name] = data[name][order]
        other.edge_index = place[data.edge_index]
        noise = noise_for(data)
        sites, mine = find_sites(data), net.draw(data, noise)
        theirs = net.draw(other, noise[order])[place]
        for k in range(len(sites.atom)):  # equivalent hydrogens may change labels
            hydrogens = sites.hydrogen[sites.site == k]
            nearest = torch.cdist(mine[hydrogens], theirs[hydrogens]).min(1).values
            assert nearest.max() < 1e-3


def test_angles_follow_the_law_of_the_logits():
    share = torch.tensor([0.1, 0.0, 0.6, 0.3])
    logits = torch.full((20_000, BINS), -torch.inf)
    logits[:, :4] = share.log()
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    angle = HydrogenNet._sample(logits, uniform) * BINS / (2 * torch.pi)
    found = torch.histogram(angle, bins=4, range=(0, 4)).hist / 20_000
    torch.testing.assert_close(found, share, atol=1e-3, rtol=0)
    within = torch.remainder(angle, 1)
    assert abs(float(within.mean()) - 0.5) < 0.01 and abs(float(within.var()) - 1 / 12) < 0.01


def test_it_learns_a_choice_and_a_geometry():
    """Two conformers of ethanol's OH, equally often: both are drawn, and little else; lengths and angles are theirs."""
    torch.manual_seed(0)
    mol = embed("CCO", 30)
    molecule = molecule_from_mol(mol)
    torsions = []
    for pos in molecule.pos:
        b1, b2, b3 = pos[1] - pos[0], pos[2] - pos[1], pos[8] - pos[2]
        n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
        torsions.append(np.arctan2(np.dot(np.cross(n1, n2), b2) / np.linalg.norm(b2), np.dot(n1, n2)))
    gauche = [int(np.argmin(np.abs(np.array(torsions) - sign * np.pi / 3))) for sign in (-1, 1)]
    batch = Batch.from_data_list([whole_data(molecule, k) for k in gauche * 16])
    net = HydrogenNet(width=32, depths=(1, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    first = net.loss(batch, noise_for(batch))[0].mean().item()
    for step in range(150):
        loss, _, _ = net.loss(batch, noise_for(batch, step))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert loss.mean() < 0.65 * first
    pos = net.draw(batch, noise_for(batch, 1000)).view(32, -1, 3)
    b1, b2, b3 = pos[:, 1] - pos[:, 0], pos[:, 2] - pos[:, 1], pos[:, 8] - pos[:, 2]
    n1, n2 = torch.linalg.cross(b1, b2), torch.linalg.cross(b2, b3)
    torsion = torch.atan2((torch.linalg.cross(n1, n2) * b2).sum(1) / b2.norm(dim=1), (n1 * n2).sum(1)) * 180 / torch.pi
    near = (torsion.abs() - 60).abs() < 30
    assert near.float().mean() > 0.9 and 4 < int((torsion[near] > 0).sum()) < 28
    length = (pos[:, 8] - pos[:, 2]).norm(dim=1)
    true = np.linalg.norm(molecule.pos[gauche[0]][8] - molecule.pos[gauche[0]][2])
    assert (length - true).abs().mean() < 0.02
