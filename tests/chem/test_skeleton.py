"""Skeletons: which hydrogens go second, that nothing else is lost, and that the harmonic prior factors."""

import numpy as np
import pytest
import torch
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import assign_stereo_from_3d, check_stereo, molecule_from_mol, stereo_of
from pyg_diffusion.chem.skeleton import goes_second, skeleton, skeleton_sizes
from pyg_diffusion.chem.stereo import Stereo
from pyg_diffusion.data import MoleculeStore, write_store
from pyg_diffusion.data.schema import ATOM_FEATURES
from pyg_diffusion.spectral import Laplacian

WHOLE = {  # SMILES -> hydrogens that stay in the first stage
    "CCO": 0,
    "c1ccccc1O": 0,
    "C[C@H](N)C(=O)O": 0,
    "O": 2,
    "C": 4,
    "[H][H]": 2,
    "[NH4+].[Cl-]": 0,  # two heavy atoms; the cation's hydrogens are leaves
    "[2H][C@](C)(O)[H]": 2,  # the centre can stand in for one hydrogen, not for two
    "C[C@H](F)[2H]": 2,
    "[H]/N=C(/C)F": 1,
    "[H]/N=C/C": 1,
    "C[S@](=O)CC": 0,
    "C[P@H]CC": 1,  # the lone pair's place is taken already
    "C/C=C/C": 0,
}


def arrays(smiles: str):
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    return molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles, parameters)))


def laplacian(molecule) -> np.ndarray:
    edges = torch.from_numpy(molecule.bond_index.astype(np.int64)).T
    found = Laplacian.from_edges(torch.cat([edges, edges.flip(0)], 1), len(molecule.z))
    return found.matrix.to_dense().double().numpy()


@pytest.mark.parametrize(("smiles", "staying"), WHOLE.items())
def test_hydrogens_stay_where_they_are_needed(smiles, staying):
    whole = arrays(smiles)
    found = skeleton(whole)
    assert (found.molecule.z == 1).sum() == staying
    assert sorted([*found.kept, *found.hydrogens]) == list(range(len(whole.z)))
    bonds = {frozenset(b) for b in whole.bond_index.tolist()}
    assert all(frozenset(pair) in bonds for pair in zip(found.hydrogens.tolist(), found.parents.tolist(), strict=True))
    assert (whole.z[found.hydrogens] == 1).all() and not set(found.parents) & set(found.hydrogens)
    assert len(found.molecule.tetra) == len(whole.tetra) and len(found.molecule.ez) == len(whole.ez)


def test_a_bridge_stays():
    """B2H6: two hydrogens are bound to both borons."""
    bonds = np.array([[0, 2], [2, 1], [1, 3], [3, 0], [0, 4], [0, 5], [1, 6], [1, 7]])
    none = np.zeros((0, 5), int)
    second = goes_second(np.array([5, 5, *[1] * 6]), bonds, none, none[:, :4], np.zeros(8, int))
    assert second.tolist() == [False] * 4 + [True] * 4


def test_features_are_those_of_the_whole_molecule():
    whole = arrays("CC(=O)[O-].[NH4+]")
    found = skeleton(whole).molecule
    degree = list(ATOM_FEATURES).index("degree")
    assert found.z.tolist() == [6, 6, 8, 8, 7]
    assert found.x[:, degree].tolist() == [4, 3, 1, 1, 4]
    assert found.bond_index.tolist() == [[0, 1], [1, 2], [1, 3]]


@pytest.mark.parametrize("smiles", ["C[C@H](N)C(=O)O", "C1=CC2CC1C=C2", "CC(=O)[O-].[NH4+]", "[H]/N=C(/C)F"])
def test_the_schur_complement_over_the_hydrogens_is_the_skeleton(smiles):
    """L_KK - L_KH L_HH⁻¹ L_HK = L of the skeleton; and so xᵀLx = xᵀL'x on the skeleton + Σ w |x_h - x_parent|²."""
    whole = arrays(smiles)
    found = skeleton(whole)
    full, kept, gone = laplacian(whole), found.kept, found.hydrogens
    assert len(gone)
    block = full[np.ix_(gone, gone)]
    np.testing.assert_array_equal(block, np.eye(len(gone)))  # one eigenvalue
    schur = full[np.ix_(kept, kept)] - full[np.ix_(kept, gone)] @ np.linalg.inv(block) @ full[np.ix_(gone, kept)]
    np.testing.assert_allclose(schur, laplacian(found.molecule), atol=1e-12)

    x = np.random.default_rng(0).standard_normal((len(whole.z), 3))
    parts = np.sum(x[kept] * (schur @ x[kept])) + np.sum((x[gone] - x[found.parents]) ** 2)
    np.testing.assert_allclose(np.sum(x * (full @ x)), parts, rtol=1e-12)


def test_the_marginal_of_the_harmonic_prior_is_the_skeletons_own():
    """Variances of differences under N(0, L⁺): as on the skeleton, and 1/w more for a hydrogen than its parent."""
    whole = arrays("CC1CC1CO")
    found = skeleton(whole)
    a, b = np.linalg.pinv(laplacian(whole)), np.linalg.pinv(laplacian(found.molecule))

    def spread(c: np.ndarray) -> np.ndarray:
        return c.diagonal()[:, None] + c.diagonal() - 2 * c

    np.testing.assert_allclose(spread(a)[np.ix_(found.kept, found.kept)], spread(b), atol=1e-12)
    heavy = found.kept[~np.isin(found.kept, found.parents)].tolist() + found.kept[:1].tolist()
    for h, parent in zip(found.hydrogens, found.parents, strict=True):
        for k in heavy:
            np.testing.assert_allclose(spread(a)[h, k], spread(a)[parent, k] + 1.0, atol=1e-12)


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H](N)C(=O)O", "C[C@@H]1CO[C@H]1F", "C/C=C/[C@@H](F)O", "C[S@](=O)CC", "C/C=C\\CO", "CC=C=CF", "CC=C=C(C)CO"],
)
def test_stereo_on_the_skeleton_is_that_of_the_whole(smiles):
    """Axes too: the ends of an allene stand in for their hydrogens."""
    mol = embed(smiles, 5)
    assign_stereo_from_3d(mol)
    whole = molecule_from_mol(mol)
    found = skeleton(whole)
    assert (found.molecule.z > 1).all()
    part = found.molecule
    pos, heavy = np.stack(whole.pos), np.stack(part.pos)
    mine = Stereo(part.tetra, part.ez, part.ez_type)
    assert len(mine.tetra) + len(mine.ez)
    for sign in (1, -1):
        np.testing.assert_array_equal(check_stereo(mine, sign * heavy), check_stereo(stereo_of(mol), sign * pos))
    np.testing.assert_array_equal(found.whole(heavy, pos[:, found.hydrogens]), pos)


def test_sizes_of_a_store_are_those_of_its_skeletons(molecules, tmp_path):
    every = [*molecules, *(arrays(smiles) for smiles in WHOLE)]
    write_store(tmp_path / "all.h5", every)
    sizes = skeleton_sizes(MoleculeStore(tmp_path / "all.h5"))
    assert sizes.tolist() == [len(skeleton(m).molecule.z) for m in every]
