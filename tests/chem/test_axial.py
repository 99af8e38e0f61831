"""Axial stereo: text, labels and coordinates agree on the hand, in any atom order."""

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import assign_stereo_from_3d, check_stereo, stereo_of, with_positions
from pyg_diffusion.chem.axial import axes, axial_key, label
from pyg_diffusion.chem.smiles import record_from_smiles

MIRROR = np.array([1.0, 1.0, -1.0])
# penta-2,3-diene along z: a₁ = CH₃ and a₂ = H below, b₁ = H and b₂ = CH₃ above
LOWER, UPPER = {"C": (0, 1, -2), "H": (0, -1, -2)}, {"H": (1, 0, 2), "C": (-1, 0, 2)}


def key(smiles: str) -> str:
    mol = record_from_smiles(0, smiles).mol
    assert mol is not None
    return axial_key(mol)


def counter_clockwise(viewpoint, points) -> bool:
    """By projection onto the screen of somebody at the viewpoint who looks at the points."""
    points = np.array(points, float)
    forward = points.mean(0) - viewpoint
    right = np.cross(forward, [0.3, 0.7, 0.65])
    up = np.cross(right, forward)
    x, y = points @ right, points @ up
    return bool((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]) > 0)


def test_the_sign_of_an_allene_is_that_of_its_smiles():
    a1, a2, b1, b2 = LOWER["C"], LOWER["H"], UPPER["H"], UPPER["C"]
    turn = counter_clockwise(np.array(a1), [a2, b1, b2])
    smiles = "CC=[C@]=CC" if turn else "CC=[C@@]=CC"  # in the order of the text: C, H, H, C
    mol = record_from_smiles(0, smiles).mol
    pos = np.zeros((mol.GetNumAtoms(), 3))
    pos[[0, 4]] = a1, b2
    for end, place in ((1, a2), (3, b1)):
        pos[next(n.GetIdx() for n in mol.GetAtomWithIdx(end).GetNeighbors() if n.GetAtomicNum() == 1)] = place
    stereo = stereo_of(mol)
    assert stereo.tetra[0, 0] == 2
    assert check_stereo(stereo, pos) and not check_stereo(stereo, pos * MIRROR)


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("CC=[C@]=CC", "CC=[C@@]=CC", False),
        ("CC=[C@]=CC", "CC=[C@AL1]=CC", True),
        ("CC=[C@]=CC", "C(C)=[C@@]=CC", True),  # the hydrogen before the methyl
        ("CC=[C@]=CC", "[H]C(C)=[C@@]=CC", True),
        ("OC(Cl)=[C@]=C(C)F", "C(O)(Cl)=[C@]=C(C)F", True),
        ("OC(Cl)=[C@]=C(C)F", "FC(C)=[C@]=C(O)Cl", False),  # backwards and one swap more
        ("OC(Cl)=[C@]=C(C)F", "FC(C)=[C@]=C(Cl)O", True),
        ("CC1=[C@]=CCCCCCC1", "C1CCCCCC=[C@]=C1C", True),  # backwards: two swaps
        ("CC=C=[C@]=C=CC", "CC=C=[C@@]=C=CC", False),
        ("C[C@H](F)C=[C@]=CC", "C[C@@H](F)C=[C@]=CC", True),  # the axis alone
    ],
)
def test_orders_of_the_text(one, other, same):
    assert key(one) and key(other)
    assert (key(one) == key(other)) is same


@pytest.mark.parametrize(
    "smiles", ["C=[C@]=CC", "CC=[C@]=C(C)C", "CN=[C@]=NC", "CC=C=C=CC", "Cc1ccccc1-c1ccccc1C", "CC=C=CC"]
)
def test_no_axis_or_no_label_asks_for_nothing(smiles):
    assert key(smiles) == ""


BIARYLS = ["Cc1cccc(Cl)c1-c1c(C)cccc1CO", "CC(C)(C)c1ccccc1-c1ccccc1C(C)(C)C", "O=C1N(c2c(C)cccc2Cl)C(C)=Nc2ccccc12"]


@pytest.mark.parametrize("smiles", BIARYLS)
def test_biaryls_from_coordinates_in_rdkits_own_sense(smiles):
    mol = embed(smiles)
    (axis,) = axes(mol)
    assign_stereo_from_3d(mol)
    found = stereo_of(mol)
    pos = mol.GetConformer().GetPositions()
    assert len(found.tetra) == 1 and check_stereo(found, pos) and not check_stereo(found, pos * MIRROR)
    text = axial_key(mol)
    rng = np.random.default_rng(1)
    for _ in range(5):  # any atom order
        order = rng.permutation(mol.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(mol, order)
        for hand in (1, -1):
            moved = with_positions(shuffled, pos[None, order] * [1, 1, hand])
            assign_stereo_from_3d(moved)
            assert (axial_key(moved) == text) is (hand == 1)
    for hand in (True, False):  # ETKDG holds the label by means of its own
        label(mol, axis, hand)
        again = Chem.Mol(mol)
        assert Chem.rdDistGeom.EmbedMolecule(again, randomSeed=3) == 0
        assert check_stereo(stereo_of(mol), again.GetConformer().GetPositions())


FORGOTTEN = ["C[P@](CC)c1ccccc1", "C[As@@](CC)c1ccccc1", "C[N@]1C[C@@H]1C", "C[P@@]1CC[P@]1C", "CC=[C@]=CC"]


@pytest.mark.parametrize("smiles", FORGOTTEN)
def test_coordinates_tell_what_rdkit_leaves_open(smiles):
    mol = record_from_smiles(0, smiles).mol
    assert Chem.rdDistGeom.EmbedMolecule(mol, randomSeed=4) == 0
    pos = mol.GetConformer().GetPositions()
    wanted = stereo_of(mol)
    if not check_stereo(wanted, pos):  # RDKit knows no allenes
        pos = pos * MIRROR
    read = with_positions(Chem.Mol(mol), pos[None])
    assign_stereo_from_3d(read)
    text = [Chem.MolToSmiles(Chem.RemoveHs(m)) for m in (read, record_from_smiles(0, smiles).mol)]
    assert text[0] == text[1] and axial_key(read) == key(smiles)
    assert len(stereo_of(read).tetra) == len(wanted.tetra)
    assert check_stereo(stereo_of(read), pos)


def test_an_amine_that_turns_over_has_no_label():
    for smiles in ("CN(CC)CCC", "C1NC1C"):
        mol = embed(smiles)
        assign_stereo_from_3d(mol)
        assert all(a.GetAtomicNum() == 6 for a in mol.GetAtoms() if a.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED)


@pytest.mark.parametrize("smiles", ["FS(F)(F)(F)(F)F", "CP(C)(C)(C)C", "F[P-](F)(F)(F)(F)F"])
def test_distorted_polyhedra_are_one_molecule(smiles):
    texts = set()
    for mol in [embed(smiles, seed=s) for s in (1, 2, 3)]:
        rng = np.random.default_rng(0)
        mol.GetConformer().SetPositions(
            mol.GetConformer().GetPositions() + 0.3 * rng.standard_normal((mol.GetNumAtoms(), 3))
        )
        assign_stereo_from_3d(mol)
        texts.add(Chem.MolToSmiles(mol))
    assert len(texts) == 1
