import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion.chem import Stereo, check_stereo, molecule_from_mol, stereo_of
from pyg_diffusion.chem.sdf import record_from_block
from pyg_diffusion.chem.smiles import record_from_smiles
from pyg_diffusion.chem.stereo import cis_cosine, signed_volume

MIRROR = np.array([1.0, 1.0, -1.0])

# SMILES -> number of centres
CENTRES = {
    "C[C@H](F)Cl": 1,
    "C[C@@](N)(F)Cl": 1,
    "[NH3+][C@@H](C)C([O-])=O": 1,
    "[2H][C@](C)(F)O": 1,
    "C[S@](=O)CC": 1,  # sulfoxide: the lone pair is the fourth neighbour
    "C[S@@](=O)c1ccccc1": 1,
    "C[S@+](CC)CCC": 1,
    "CC[P@@](C)c1ccccc1": 1,
    "C[P@](=O)(O)CC": 1,
    "C[Si@](F)(Cl)CC": 1,
    "C[N@]1C[C@H]1C": 2,  # aziridine nitrogen
    "C[N@@]1CC1(C)C": 1,
    "C1C[N@]2C[C@H]1CO2": 2,  # bridgehead nitrogen
    "C[C@H]1CC[C@@H](O)CC1": 2,
    "C1C[C@@H]2CC[C@H]1C2": 2,
    "O[C@H]1[C@@H](O)[C@H](O)CO[C@@H]1O": 4,
    "C[C@H]1CC[C@H]2C(C)(C)[C@@H]1CC2": 3,
}
# SMILES -> number of double bonds
DOUBLE_BONDS = {
    "F/C=C/F": 1,
    "F/C=C\\F": 1,
    "C/C=C/C=C\\C": 2,
    "OC(=O)/C=C/c1ccccc1": 1,
    "C/C=N/O": 1,
    "C/C(CC)=N\\O": 1,
    "C/N=N/C": 1,
    "C1CC/C=C/CCC1": 1,
    "C/C(F)=C(Cl)/C": 1,
}


def embed(smiles: str, count: int = 4) -> tuple[Chem.Mol, np.ndarray]:
    """The molecule with conformers by ETKDG, which holds stereo by means of its own, and their coordinates."""
    mol = record_from_smiles(0, smiles).mol
    assert mol is not None
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = 7
    assert len(AllChem.EmbedMultipleConfs(mol, count, parameters)) == count
    return mol, np.stack([c.GetPositions() for c in mol.GetConformers()])


@pytest.mark.parametrize("smiles", CENTRES)
def test_centres_agree_with_etkdg_and_their_mirror_image_does_not(smiles):
    mol, pos = embed(smiles)
    stereo = stereo_of(mol)
    assert len(stereo.tetra) == CENTRES[smiles]
    assert check_stereo(stereo, pos).all()
    assert not check_stereo(stereo, pos * MIRROR).any()
    np.testing.assert_allclose(signed_volume(stereo.tetra, pos * MIRROR), -signed_volume(stereo.tetra, pos))


@pytest.mark.parametrize("smiles", DOUBLE_BONDS)
def test_double_bonds_agree_with_etkdg_and_the_other_isomer_does_not(smiles):
    mol, pos = embed(smiles)
    stereo = stereo_of(mol)
    assert len(stereo.ez) == DOUBLE_BONDS[smiles]
    assert check_stereo(stereo, pos).all()
    assert check_stereo(stereo, pos * MIRROR).all()  # E/Z is no chirality
    for k in range(len(stereo.ez)):
        flipped = stereo.ez_type.copy()
        flipped[k] = 3 - flipped[k]
        assert not check_stereo(stereo._replace(ez_type=flipped), pos).any()
    assert (np.abs(cis_cosine(stereo.ez, pos)) > 0.5).all()


@pytest.mark.parametrize("smiles", [*CENTRES, *DOUBLE_BONDS])
def test_any_atom_order_asks_for_the_same_geometry(smiles):
    mol, pos = embed(smiles, 2)
    rng = np.random.default_rng(3)
    for _ in range(5):
        order = rng.permutation(mol.GetNumAtoms())
        shuffled = Chem.RenumberAtoms(mol, order.tolist())
        stereo = stereo_of(shuffled)
        assert len(stereo.tetra) + len(stereo.ez) == CENTRES.get(smiles, 0) + DOUBLE_BONDS.get(smiles, 0)
        assert check_stereo(stereo, pos[:, order]).all()
        if len(stereo.tetra):
            assert not check_stereo(stereo, pos[:, order] * MIRROR).any()


@pytest.mark.parametrize("smiles", ["C[C@H](F)Cl", "C[S@](=O)CC", "O[C@H]1[C@@H](O)[C@H](O)CO[C@@H]1O", *DOUBLE_BONDS])
def test_stereo_is_perceived_from_the_coordinates_of_a_record(smiles):
    mol, pos = embed(smiles, 1)
    for factor in (np.ones(3), MIRROR):
        for k, xyz in enumerate(pos[0] * factor):
            mol.GetConformer(0).SetAtomPosition(k, xyz.tolist())
        record = record_from_block(0, Chem.MolToMolBlock(mol), need_3d=True)
        assert record.mol is not None
        found = stereo_of(record.mol)
        assert len(found.tetra) == CENTRES.get(smiles, 0)
        assert len(found.ez) == DOUBLE_BONDS.get(smiles, 0)
        assert check_stereo(found, pos[0] * factor)
        if len(found.tetra):
            assert not check_stereo(found, pos[0] * -factor)


def test_unspecified_stereo_asks_for_nothing():
    mol = record_from_smiles(0, "CC(F)Cl.CC=CC").mol
    stereo = stereo_of(mol)
    assert [a.shape for a in stereo] == [(0, 5), (0, 4), (0,)]
    assert check_stereo(stereo, np.zeros((2, 3, mol.GetNumAtoms(), 3))).shape == (2, 3)


def test_a_flat_centre_is_wrong():
    stereo = Stereo(np.array([[0, 1, 2, 3, 4]], np.uint16), np.zeros((0, 4), np.uint16), np.zeros(0, np.uint8))
    ideal = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    volume = float(signed_volume(stereo.tetra, ideal)[0])
    assert abs(volume) == pytest.approx(2**-0.5, abs=1e-6)
    pos = ideal if volume > 0 else ideal * MIRROR
    assert check_stereo(stereo, pos)
    assert not check_stereo(stereo, pos * [1, 1, 0])
    assert not check_stereo(stereo, pos * [1, 1, 0.05])


@pytest.mark.parametrize("smiles", ["N[Pt@SP1](N)(Cl)Cl", "F[S@OH3](F)(F)(F)(Cl)Cl", "C[P@TB2](C)(F)(F)F"])
def test_stereo_beyond_the_tetrahedron_is_refused_by_name(smiles):
    mol = record_from_smiles(0, smiles).mol
    with pytest.raises(ValueError, match=r"stereo \(@(SP|OH|TB)\) at (Pt|S|P)2 cannot be kept"):
        molecule_from_mol(mol, "x")


def test_a_label_that_says_nothing_is_none():
    mol = record_from_smiles(0, "F[S@OH3](F)(F)(F)(F)Cl").mol  # of one chlorine there is one isomer
    assert len(molecule_from_mol(mol).tetra) == 0
