"""Clashes and bent planes."""

import numpy as np
import pytest
from conftest import embed
from rdkit.Chem import rdMolTransforms

from pyg_diffusion.chem import has_clash, is_warped


def positions(mol):
    return np.stack([c.GetPositions() for c in mol.GetConformers()])


def test_clashes():
    mol = embed("CCCCCC", 1)
    pos = positions(mol)
    folded = pos.copy()
    folded[0, 5] = folded[0, 0] + [0.5, 0, 0]
    close_bond = pos.copy()
    close_bond[0, 1] = close_bond[0, 0] + [0.5, 0, 0]
    assert not has_clash(mol, pos).any() and has_clash(mol, folded).all()
    ethane = embed("CC", 1)  # no pair more than three bonds apart
    assert not has_clash(ethane, positions(ethane) * 0.2).any()
    two = embed("[Na+].[Cl-]", 1)
    assert has_clash(two, np.array([[[0, 0, 0], [1.0, 0, 0]], [[0, 0, 0], [3.9, 0, 0]]])).tolist() == [True, False]


@pytest.mark.parametrize("degrees, expected", [(0, False), (8, False), (40, True), (-40, True)])
def test_a_twisted_double_bond_is_warped(degrees, expected):
    mol = embed("C/C=C/C", 1)
    twisted = mol.GetConformer()
    rdMolTransforms.SetDihedralDeg(twisted, 0, 1, 2, 3, 180 + degrees)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert is_warped(mol, twisted.GetPositions()[None] @ turn + 3).tolist() == [expected]


def test_a_plane_may_be_left_by_a_quarter_of_an_angstrom():
    mol = embed("c1ccccc1", 1)
    flat = positions(mol)[0]
    up = np.linalg.svd(flat[:6] - flat[:6].mean(0))[2][2]
    chair = np.array([1, -1, 1, -1, 1, -1])[:, None] * up  # its own best plane stays where it is
    bent = np.stack([flat] * 3)
    bent[1, :6] += 0.23 * chair
    bent[2, :6] += 0.27 * chair
    assert is_warped(mol, bent).tolist() == [False, False, True]
    assert not is_warped(mol, bent[:0]).size
    cyclohexane = embed("C1CCCCC1", 1)
    assert not is_warped(cyclohexane, positions(cyclohexane)).any()  # no plane in it
