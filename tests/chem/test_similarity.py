"""Near-duplicates and representatives among conformers."""

from itertools import combinations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolAlign, rdMolTransforms

from pyg_diffusion import embed_multiple_confs
from pyg_diffusion.chem.ensembles import EnsembleOptions, ensemble
from pyg_diffusion.chem.similarity import distinct, representatives


def molecule(smiles):
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def embedded(smiles, count):
    mol = molecule(smiles)
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=1)
    return mol, np.stack([c.GetPositions() for c in mol.GetConformers()])


def test_distinct_sees_symmetry_and_turns_but_no_mirror():
    mol = molecule("OCC(C)(C)C")  # the methyls, and their hydrogens, are interchangeable
    pos = ensemble(mol, EnsembleOptions(5, "MMFF94s"))[0].pos
    methyls = [3, 4, 5]
    order = np.arange(mol.GetNumAtoms())
    order[methyls] = order[np.roll(methyls, 1)]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    assert distinct(mol, np.stack([pos, pos @ turn + 5, pos[order]]), 0.05) == [0]
    chiral = molecule("C[C@H](N)C(=O)O")
    pos = ensemble(chiral, EnsembleOptions(5, "MMFF94s"))[0].pos
    assert distinct(chiral, np.stack([pos, pos * [1, 1, -1]]), 0.05) == [0, 1]


def test_representatives_find_every_minimum_before_any_twice():
    mol, positions = embedded("CCCCO", 5)
    rng = np.random.default_rng(0)
    many = np.concatenate([np.repeat(positions[[k]], 6 - k, axis=0) for k in range(5)])  # 6, 5, 4, 3, 2 of each
    groups = np.repeat(np.arange(5), [6, 5, 4, 3, 2])
    order = rng.permutation(len(many))
    noisy = many[order] + rng.normal(scale=1e-3, size=many.shape)
    assert set(groups[order][representatives(mol, noisy, 5)]) == set(range(5))
    assert representatives(mol, positions, 5) == representatives(mol, positions, 9) == [0, 1, 2, 3, 4]
    assert representatives(mol, positions[:0], 3) == []


def test_representatives_gain_what_greedy_selection_promises():
    mol, positions = embedded("CCOC(C)CC", 9)  # no hydrogens that count
    heavy = Chem.RemoveHs(mol)
    distance = np.array([[rdMolAlign.GetBestRMS(heavy, heavy, a, b) for a in range(9)] for b in range(9)])

    def gain(chosen):
        return (distance.max() - distance[:, list(chosen)].min(1)).sum()

    found = representatives(mol, positions, 3)
    assert gain(found[:1]) == pytest.approx(max(gain([k]) for k in range(9)))
    assert len(set(found)) == 3 and gain(found) >= (1 - 1 / np.e) * max(map(gain, combinations(range(9), 3)))


def test_representatives_stand_for_the_sure_ones_first():
    mol, positions = embedded("CCCCO", 6)
    sure = np.array([0.01, 0.9, 0.01, 0.9, 0.9, 0.01])
    assert set(representatives(mol, positions, 3, sure)) == {1, 3, 4}
    assert representatives(mol, positions, 3, np.full(6, 0.3)) == representatives(mol, positions, 3)
    unknown = np.where(sure < 0.1, np.nan, sure)  # where memory did not suffice
    assert set(representatives(mol, positions, 3, unknown)) == {1, 3, 4}


def test_representatives_have_no_clash_while_there_are_others():
    mol, positions = embedded("CCCCCCO", 6)
    positions[[0, 3], 6] = positions[[0, 3], 0] + 0.4  # O in the methyl carbon
    assert set(representatives(mol, positions, 3)) < {1, 2, 4, 5}
    assert set(representatives(mol, positions, 4)) == {1, 2, 4, 5}
    five = representatives(mol, positions, 5)
    assert set(five[:4]) == {1, 2, 4, 5} and five[4] in (0, 3)


def test_representatives_prefer_a_flat_double_bond_and_a_bent_one_to_a_clash():
    mol, positions = embedded("CCCC/C=C/CCO", 6)
    for k in (0, 2):
        conformer = mol.GetConformer(k)
        rdMolTransforms.SetDihedralDeg(conformer, 3, 4, 5, 6, 135)
        positions[k] = conformer.GetPositions()
    positions[4, 8] = positions[4, 0] + 0.4
    assert set(representatives(mol, positions, 3)) == {1, 3, 5}
    assert set(representatives(mol, positions, 5)) == {0, 1, 2, 3, 5}


def test_oversampling_gives_as_many_as_asked_and_a_better_cover():
    def seen(mol):  # what similarity sees: all but the hydrogens of carbon
        rest = Chem.RWMol(mol)
        for atom in reversed(list(mol.GetAtoms())):
            if atom.GetAtomicNum() == 1 and atom.GetNeighbors()[0].GetAtomicNum() == 6:
                rest.RemoveAtom(atom.GetIdx())
        return rest

    def missed(mol, all_of_them):
        one, other = seen(mol), seen(all_of_them)
        return np.mean([min(rdMolAlign.GetBestRMS(one, other, a, b) for a in range(4)) for b in range(16)])

    by_few, by_many = [], []
    for seed in range(1, 5):
        few, many, all_of_them = (molecule("OCCCO") for _ in range(3))
        assert embed_multiple_confs(few, 4, seed=seed, oversample=1) == [0, 1, 2, 3]
        assert embed_multiple_confs(many, 4, seed=seed, oversample=4) == [0, 1, 2, 3]
        embed_multiple_confs(all_of_them, 16, seed=seed, oversample=1)
        by_few.append(missed(few, all_of_them))
        by_many.append(missed(many, all_of_them))
    assert np.mean(by_many) < np.mean(by_few)
    for wrong in (0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="oversample must be"):
            embed_multiple_confs(few, 4, oversample=wrong)
