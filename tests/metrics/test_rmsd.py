"""RMSD against hand-computed values and molecules whose answer is known."""

import numpy as np
import pytest
from conformer_sets import embed, ensemble, positions, rotation, shuffled

from pyg_diffusion.chem import Record, with_positions
from pyg_diffusion.metrics import compare, evaluate, group_records, rmsd_matrix
from pyg_diffusion.metrics.result import OK


def test_moved_and_renumbered_copies_have_rmsd_zero():
    rng = np.random.default_rng(0)
    mol = embed("CC(C)C[C@H](N)C(=O)Nc1ccccc1", 3)
    ref = ensemble(mol, "a")
    copies = []
    for k, pos in enumerate(positions(mol)):
        moved = with_positions(mol, (pos @ rotation(rng).T + rng.normal(size=3))[None])
        copies.append(Record(k, "a", shuffled(moved, rng)))
    (out,) = evaluate([ref], copies, expected=3).molecules
    assert out.counts[OK] == 3
    np.testing.assert_allclose(np.diag(out.rmsd), 0, atol=1e-5)
    assert (out.rmsd[~np.eye(3, dtype=bool)] > 0.05).all()
    assert out.geometry.bond_mae < 0.05


def test_rmsd_equals_kabsch_where_there_is_no_symmetry():
    mol = embed("OCC(=O)NC#N", 2, seed=3)
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    x, y = (p[heavy] - p[heavy].mean(0) for p in positions(mol))
    u, s, vt = np.linalg.svd(x.T @ y)
    s[-1] *= np.sign(np.linalg.det(u @ vt))
    expected = np.sqrt(((x**2).sum() + (y**2).sum() - 2 * s.sum()) / len(heavy))
    first, second = (with_positions(mol, p[None]) for p in positions(mol))
    assert rmsd_matrix(first, second)[0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("smiles", "stretch", "value"), [("C", 1.1, 0.0), ("[H][H]", 1.5, 0.25), ("[Na+]", 1.0, 0.0)])
def test_tiny_molecules(smiles, stretch, value):
    mol = embed(smiles, 1)
    pos = positions(mol)[0]
    ref = ensemble(mol, "t")
    (out,) = evaluate([ref], [Record(0, "t", with_positions(mol, stretch * pos[None]))], expected=1).molecules
    length = np.linalg.norm(pos[0] - pos[-1]) if smiles == "[H][H]" else 1.0
    assert out.rmsd[0, 0] == pytest.approx(value * length, abs=1e-5)  # H2: each atom moves by half the change
    assert out.cov_r(0.5) == 1


def test_the_limit_of_symmetric_orders_is_said():
    """Neopentane's carbons have 4! orders: with all of them tried, two labellings of one conformer are the same."""
    mol = embed("CC(C)(C)C", 1)
    ref = ensemble(mol, "neopentane")
    carbons = [a.GetIdx() for a in mol.GetAtoms() if a.GetDegree() == 4 and a.GetTotalNumHs(True) == 3]
    squeezed = positions(mol)[0].copy()
    squeezed[carbons[-1]] *= 1.3  # so that no two methyls are alike
    turned = squeezed.copy()
    turned[carbons] = squeezed[carbons[::-1]]
    refs, _ = group_records([Record(0, "neopentane", with_positions(mol, squeezed[None]))])
    record = Record(0, "neopentane", with_positions(mol, turned[None]))
    full, capped = (evaluate(refs, [record], expected=1, max_matches=k) for k in (24, 1))
    assert full.molecules[0].rmsd[0, 0] == pytest.approx(0, abs=1e-5) and not full.molecules[0].upper_bound
    assert capped.molecules[0].rmsd[0, 0] > 0.1 and capped.molecules[0].upper_bound
    assert evaluate([ref], [record], expected=1, max_matches=23).molecules[0].upper_bound
    found = compare({"x": capped, "y": full})
    assert found.rows["x"]["RMSD an upper bound"] == 1 and found.rows["y"]["RMSD an upper bound"] == 0
    assert found.as_dict()["upper_bounds"] == {"x": ["neopentane"], "y": []}
    assert "their RMSD is an upper bound: neopentane" in found.table()
