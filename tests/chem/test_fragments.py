"""Fragments taken apart and put beside each other; geometries in closed form."""

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.closed import closed_form, radii_length
from pyg_diffusion.chem.fragments import assemble, charges, formula, fragments, piece
from pyg_diffusion.chem.parts import join, parts_of
from pyg_diffusion.chem.stereo import signed_volume


def molecule(smiles: str):
    return molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles)), smiles)


def contacts(whole, pos) -> np.ndarray:
    """Distances between atoms of different fragments over the sums of their van der Waals radii."""
    label = np.zeros(len(whole.z), int)
    for k, atoms in enumerate(fragments(whole)):
        label[atoms] = k
    radius = np.array([Chem.GetPeriodicTable().GetRvdw(int(z)) for z in whole.z])
    i, j = np.nonzero(np.triu(label[:, None] != label, 1))
    return np.linalg.norm(pos[i] - pos[j], axis=-1) / (radius[i] + radius[j])


def test_fragments_are_the_molecules_that_they_are():
    whole = molecule("C[C@H](N)C(=O)[O-].O.[Na+].O.C/C=C/C")
    found = fragments(whole)
    assert [formula(piece(whole, atoms)) for atoms in found] == ["C3H6NO2-", "H2O", "Na+", "H2O", "C4H8"]
    assert sorted(np.concatenate(found).tolist()) == list(range(len(whole.z)))
    alone = molecule("C[C@H](N)C(=O)[O-]")
    part = piece(whole, found[0])
    for name in ("z", "x", "bond_type"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
    pos = embed("C[C@H](N)C(=O)[O-]").GetConformer().GetPositions()
    assert signed_volume(part.tetra, pos) > 0.1 and len(part.ez) == 0
    assert len(piece(whole, found[4]).ez) == 1
    assert [len(p.copies) for p in parts_of(whole)] == [1, 2, 1, 1]
    assert formula(molecule("[Fe+2].O=S(=O)([O-])[O-]")) == "FeO4S"


def test_charges_of_bonds_sum_to_the_formal_charge():
    q = charges(molecule("O"))
    assert q.sum() == pytest.approx(0) and q[0] < -0.2 and q[1] == q[2] > 0.1
    assert charges(molecule("CC(=O)[O-]")).sum() == pytest.approx(-1)


SALTS = ["[Na+].[Cl-]", "CC(=O)[O-].C[NH3+]", "[Mg+2].[Br-].[Br-]", "F[P-](F)(F)(F)(F)F.C[N+](C)(C)CCC"]


@pytest.mark.parametrize("smiles", SALTS)
def test_opposite_charges_are_near_and_nothing_touches(smiles):
    whole = molecule(smiles)
    parts = fragments(whole)
    mol = embed(smiles)
    q = molecule_from_mol(mol).x[:, 1].astype(int) - 2
    for seed in range(5):
        pos = assemble(whole, parts, mol.GetConformer().GetPositions(), np.random.default_rng(seed), [False] * len(parts))
        assert contacts(whole, pos).min() == pytest.approx(0.75, abs=1e-6)
        for i in np.flatnonzero(q):
            other = np.flatnonzero(q * q[i] < 0)
            assert 2 < np.linalg.norm(pos[other] - pos[i], axis=1).min() < 6
        for atoms in parts:  # the shapes are as they were
            before = mol.GetConformer().GetPositions()[atoms]
            d = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (before, pos[atoms])]
            np.testing.assert_allclose(*d, atol=1e-9)


def test_water_turns_a_hydrogen_to_an_anion_and_its_oxygen_to_a_cation():
    for ion, sign in (("[Cl-]", -1), ("[K+]", 1)):
        whole = molecule(f"{ion}.O")
        water = np.array([[0, 0, 0], [0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
        for seed in range(5):
            pos = assemble(whole, fragments(whole), water, np.random.default_rng(seed), [False, False])
            oxygen, *hydrogens = np.linalg.norm(pos[1:] - pos[0], axis=1)
            assert sign * (min(hydrogens) - oxygen) > 0.2


def test_what_is_kept_stays_and_the_seed_decides():
    whole = molecule("CC(=O)[O-].[Na+].[Na+].O")
    mol = embed("CC(=O)[O-]")
    fixed = np.full((len(whole.z), 3), np.nan)
    mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() + 10.0)
    fixed[:4] = mol.GetConformer().GetPositions()[:4]
    acetate, sodium, water = parts_of(whole, fixed)
    assert len(sodium.copies) == 2 and sodium.fixed is None and acetate.fixed is not None
    bent = np.array([[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]])
    made = [mol.GetConformer().GetPositions()[None], np.zeros((2, 1, 3)), bent]
    one, two = (join(whole, [acetate, sodium, water], made, [np.random.default_rng(s)])[0] for s in (1, 2))
    np.testing.assert_allclose(one[acetate.copies[0]], made[0][0])
    np.testing.assert_array_equal(one, join(whole, [acetate, sodium, water], made, [np.random.default_rng(1)])[0])
    assert np.abs(one - two).max() > 0.1 and contacts(whole, one).min() > 0.6
    ion = np.full((len(whole.z), 3), np.nan)
    ion[5] = [7.0, 8.0, 9.0]
    kept = [p for p in parts_of(whole, ion) if p.fixed is not None]
    assert [p.name for p in kept] == ["Na+"]
    np.testing.assert_array_equal(kept[0].in_place(), [[7.0, 8.0, 9.0]])


MEASURED = {"[H][H]": 0.741, "N#N": 1.098, "[C-]#[O+]": 1.128, "O=O": 1.208, "[OH-]": 0.964, "Cl": 1.275, "ClI": 2.321}


@pytest.mark.parametrize("smiles, length", MEASURED.items())
def test_two_atoms_have_the_measured_length(smiles, length):
    closed = closed_form(molecule(smiles))
    assert np.ptp(closed.pos, axis=0) == pytest.approx([length, 0, 0]) and "measured" in closed.source


def test_other_pairs_have_the_sum_of_their_radii_and_larger_molecules_no_closed_form():
    closed = closed_form(molecule("[Si]#[P]"))
    assert np.ptp(closed.pos[:, 0]) == pytest.approx(1.02 + 0.94) and "radii" in closed.source
    assert radii_length(6, 6, "aromatic") == pytest.approx((1.50 + 1.34) / 2)
    assert closed_form(molecule("[Ar]")).pos.tolist() == [[0, 0, 0]]
    assert closed_form(molecule("O")) is None and closed_form(molecule("[Na+].[Cl-]")) is None
