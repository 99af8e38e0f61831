"""Mending heals what is broken in a few places, keeps what is to be kept, and makes nothing possible that is not."""

import numpy as np
import pytest
import torch
from conftest import embed

from pyg_diffusion.chem import Soundness, environment, molecule_from_mol
from pyg_diffusion.chem.mend import MEASURES, mend


@pytest.fixture(scope="module")
def broken():
    """Paracetamol with a hydrogen at .4 Å, the amide twisted, and an atom of the ring pulled out."""
    mol = embed("CC(=O)Nc1ccc(O)cc1")
    pos = mol.GetConformer().GetPositions()
    bad = pos.copy()
    bad[11] = bad[0] + 0.4 * (pos[11] - pos[0])
    bad[6] += [0.3, -0.3, 0.4]
    return Soundness(molecule_from_mol(mol)), pos, bad


def test_a_broken_geometry_is_healed_near_where_it_was(broken):
    gate, pos, bad = broken
    assert gate.excess(np.stack([pos, bad]))[0] == 0 < gate.excess(bad[None])[0]
    healed = mend(gate, bad[None])[0]
    assert gate.faults(healed[None]) == [[]]
    untouched = [k for k in range(len(pos)) if k not in (0, 6, 11) and k not in gate.environment.near[6]]
    assert np.abs(healed - bad)[untouched].max() < 0.5
    assert 1.03 < np.linalg.norm(healed[11] - healed[0]) < 1.13


def test_fixed_atoms_stay(broken):
    gate, _, bad = broken
    fixed = np.arange(len(bad)) < 5
    healed = mend(gate, bad[None], fixed)[0]
    np.testing.assert_array_equal(healed[fixed], bad[fixed])
    assert np.abs(healed - bad)[~fixed].max() > 0.1


def test_measures_are_those_of_the_gate(broken):
    """Values in torch against values in numpy, on a random geometry; and their gradients are finite on a straight line."""
    gate, pos, _ = broken
    x = pos + np.random.default_rng(0).normal(scale=0.3, size=pos.shape)
    for check in gate.checks:
        if check.family:
            theirs = check.measure(x[None])[0]
            ours = MEASURES[check.family](torch.from_numpy(x[check.atoms]))
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
    assert environment.MEASURES.keys() <= MEASURES.keys()
    line = torch.zeros(3, 3, dtype=torch.float64)
    line[:, 0] = torch.tensor([0.0, 1.0, 2.0])
    line.requires_grad_()
    MEASURES["angle"](line[None]).sum().backward()
    assert line.grad.isfinite().all()
