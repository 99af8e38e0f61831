"""Which conformers count as the right stereoisomer."""

import numpy as np
import pytest
from conformer_sets import embed, ensemble, from_3d, positions, shuffled

from pyg_diffusion.chem import Record, with_positions
from pyg_diffusion.metrics import StereoCheck, evaluate, rmsd_matrix
from pyg_diffusion.metrics.validity import automorphisms


@pytest.mark.parametrize(
    ("smiles", "wrong"),
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),
        ("OC(=O)[C@H](O)[C@H](O)C(=O)O", "OC(=O)[C@H](O)[C@@H](O)C(=O)O"),  # meso and chiral tartaric acid
        ("C[C@H]1CC[C@@H](C)CC1", "C[C@H]1CC[C@H](C)CC1"),
        ("C/C=C/CO", r"C/C=C\CO"),
        ("OC/C=C/C=C/CC", r"OC/C=C/C=C\CC"),
        ("C[S@](=O)CC", "C[S@@](=O)CC"),
    ],
)
def test_stereo_right_wrong_and_renumbered(smiles, wrong):
    rng = np.random.default_rng(5)
    good, bad = from_3d(embed(smiles, 1)), from_3d(embed(wrong, 1))
    for mol, other in ((good, bad), (bad, good)):
        ref = ensemble(mol, "s")
        same, different = ([shuffled(m, rng) for _ in range(6)] for m in (mol, other))
        (out,) = evaluate([ref], [Record(k, "s", m) for k, m in enumerate(same + different)]).molecules
        assert out.has_stereo
        assert out.status == ("ok",) * 6 + ("wrong stereo",) * 6
        assert np.isfinite(out.rmsd[:, :6]).all() and np.isinf(out.rmsd[:, 6:]).all()
        assert out.cov_p(9.0) == 0.5


@pytest.mark.parametrize(
    ("smiles", "achiral"),
    [
        ("C[C@H](O)[C@@H](N)CC", False),
        ("OC(=O)[C@H](O)[C@H](O)C(=O)O", True),  # meso tartaric acid
        ("OC(=O)[C@H](O)[C@@H](O)C(=O)O", False),  # the chiral one
        ("C[C@H]1CC[C@@H](C)CC1", True),
        ("C[C@H]1CC[C@H](C)CC1", True),
        ("C[C@H]1CCC[C@H](C)C1", False),  # trans-1,3: a chiral pair
        ("C[C@H]1CCC[C@@H](C)C1", True),  # cis-1,3: meso
        ("C/C=C/CO", True),
        ("CCOP(=O)([O-])OC", True),  # its two oxygens are one group, so phosphorus is no centre
    ],
)
def test_mirror_image(smiles, achiral):
    mol = from_3d(embed(smiles, 1))
    ref = ensemble(mol, "s")
    mirrored = with_positions(mol, positions(mol) * [1, 1, -1])
    (out,) = evaluate([ref], [Record(0, "s", mirrored)], expected=1).molecules
    assert out.status == (("ok",) if achiral else ("wrong stereo",))


def test_mirror_image_is_not_reflected_back():
    mol = embed("C[C@H](N)C(=O)O", 1)
    mirror = with_positions(mol, positions(mol) * [-1, 1, 1])
    assert rmsd_matrix(mol, mirror)[0, 0] > 0.3


def test_automorphisms_keep_the_graph():
    mol = embed("C[C@H]1CC[C@@H](C)CC1", 1)
    images = automorphisms(mol)
    bonds = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
    assert len(images) == 4  # the heavy-atom graph has the symmetry of a rectangle
    for image in images:
        assert sorted(image) == list(range(mol.GetNumAtoms()))
        assert {frozenset(int(image[i]) for i in bond) for bond in bonds} == bonds


def test_flat_centre_is_wrong():
    mol = from_3d(embed("C[C@H](F)Cl", 1))
    flat = positions(mol)[0] * [1, 1, 0]
    check = StereoCheck(mol)
    assert check.specified and check.place(positions(mol)[0])[1] and not check.place(flat)[1]
