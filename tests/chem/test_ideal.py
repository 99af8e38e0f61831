"""Conformers moved to tabulated lengths and angles: shapes by hand, and what has to stay."""

from pathlib import Path

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.ideal import Ideal
from pyg_diffusion.chem.smiles import record_from_smiles
from pyg_diffusion.chem.soundness import Soundness
from pyg_diffusion.chem.stereo import check_stereo, stereo_of
from pyg_diffusion.chem.surroundings import Surroundings

ROOT = Path(__file__).parents[2]
KNOWN = {1, 6, 7, 8, 9, 15, 16, 17, 35, 53}


def moved(smiles: str, seed: int = 0, spread: float = 1.0):
    """The molecule, and positions moved to the ideal from a random heap."""
    mol = record_from_smiles(0, smiles).mol
    assert mol is not None
    pos = np.random.default_rng(seed).normal(scale=spread, size=(mol.GetNumAtoms(), 3))
    return mol, Ideal(molecule_from_mol(mol, smiles, False), KNOWN)(pos)


def angle(pos, i, j, k) -> float:
    u, v = pos[i] - pos[j], pos[k] - pos[j]
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def angles_at(pos, j, others) -> list[float]:
    return sorted(angle(pos, a, j, b) for n, a in enumerate(others) for b in others[n + 1 :])


@pytest.mark.parametrize(
    "smiles, length, degrees",
    [
        ("O", 0.96, 106), ("S", 1.34, 93), ("N", 1.01, 106), ("C", 1.09, 109.5), ("[OH3+]", 0.98, 112), ("O=C=O", 1.15, 180),
        ("S=C=S", 1.54, 180), ("O=S=O", 1.44, 118), ("F[B-](F)(F)F", 1.39, 109.5), ("B", 1.19, 120), ("F[Xe]F", 1.98, 180),
        ("[SiH4]", 1.48, 109.5), ("[N-]=[N+]=[N-]", 1.18, 180), ("[O-]Cl(=O)(=O)=O", 1.44, 109.5),
    ],
)  # fmt: skip
def test_symmetric_molecules(smiles, length, degrees):
    mol, pos = moved(smiles)
    centre = max(mol.GetAtoms(), key=lambda a: a.GetDegree())
    near = [n.GetIdx() for n in centre.GetNeighbors()]
    np.testing.assert_allclose(np.linalg.norm(pos[near] - pos[centre.GetIdx()], axis=1), length, atol=0.03)
    np.testing.assert_allclose(angles_at(pos, centre.GetIdx(), near), degrees, atol=3.5)


@pytest.mark.parametrize(
    "smiles, wanted",
    [
        ("FS(F)(F)(F)(F)F", [90] * 12 + [180] * 3),
        ("F[P-](F)(F)(F)(F)F", [90] * 12 + [180] * 3),
        ("FP(F)(F)(F)F", [90] * 6 + [120] * 3 + [180]),
        ("FS(F)(F)F", [90] * 4 + [102, 180]),
        ("F[Xe](F)(F)F", [90] * 4 + [180] * 2),
        ("FI(F)(F)(F)F", [85] * 4 + [90] * 4 + [170] * 2),
    ],
)
def test_polyhedra(smiles, wanted):
    for seed in range(3):
        mol, pos = moved(smiles, seed)
        near = [a.GetIdx() for a in mol.GetAtoms() if a.GetIdx() != 1]
        np.testing.assert_allclose(angles_at(pos, 1, near), wanted, atol=3)


def test_what_pulls_most_is_axial_and_a_double_bond_is_not():
    _, pos = moved("CP(F)(F)(F)F")
    assert sorted(round(angle(pos, 0, 1, k), -1) for k in (2, 3, 4, 5)) == [90, 90, 120, 120]
    _, pos = moved("O=S(F)(F)(F)F")
    assert sorted(round(angle(pos, 0, 1, k), -1) for k in (2, 3, 4, 5)) == [90, 90, 120, 120]


def test_an_iodyl_group_on_a_ring():
    mol = record_from_smiles(0, "O=I(=O)c1ccccc1").mol
    ideal = Ideal(molecule_from_mol(mol), KNOWN)
    assert ideal.atoms == [0, 1, 2, 3]
    pos = ideal(embed("O=I(=O)c1ccccc1").GetConformer().GetPositions())
    np.testing.assert_allclose(np.linalg.norm(pos[[0, 2]] - pos[1], axis=1), 1.78, atol=0.05)


def test_cumulenes():
    def torsions(smiles, one, other):
        mol, pos = moved(smiles, 3)
        near = [[n.GetIdx() for n in mol.GetAtomWithIdx(k).GetNeighbors() if n.GetAtomicNum() == 1] for k in (one, other)]
        axis = pos[other] - pos[one]
        planes = [np.cross(axis, pos[k[0]] - pos[k[1]]) for k in near]
        cosine = planes[0] @ planes[1] / np.linalg.norm(planes[0]) / np.linalg.norm(planes[1])
        return np.degrees(np.arccos(abs(cosine))), [angle(pos, k - 1, k, k + 1) for k in range(one + 1, other)]

    turned, bent = torsions("C=C=C", 0, 2)
    assert turned > 87 and min(bent) > 177
    turned, bent = torsions("C=C=C=C", 0, 3)
    assert turned < 3 and min(bent) > 177


def test_the_rest_keeps_its_shape_and_kept_atoms_their_place():
    mol = embed("C[C@H](F)CCCN=C=S")
    molecule = molecule_from_mol(mol)
    ideal = Ideal(molecule, KNOWN)
    assert ideal.atoms == [5, 6, 7, 8]
    pos = mol.GetConformer().GetPositions()
    bent = pos.copy()
    bent[8] += [0.3, -0.4, 0.2]
    after = ideal(bent)
    assert angle(after, 6, 7, 8) > 165 and abs(np.linalg.norm(after[7] - after[8]) - 1.57) < 0.03
    assert check_stereo(stereo_of(mol), after)
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if not {i, j} & {*ideal.atoms}:
            assert np.linalg.norm(after[i] - after[j]) == pytest.approx(np.linalg.norm(pos[i] - pos[j]), abs=5e-3)
    kept = np.zeros(len(pos), bool)
    kept[[6, 7]] = True
    held = Ideal(molecule, KNOWN, kept)(bent)
    assert np.abs(held[8] - bent[8]).max() > 0.1
    np.testing.assert_allclose(held[kept], bent[kept], atol=1e-9)


def test_molecules_that_the_model_knows_stay_as_they_are():
    mol = embed("CC(=O)Nc1ccc(O)cc1")
    pos = mol.GetConformer().GetPositions()
    ideal = Ideal(molecule_from_mol(mol), KNOWN)
    assert ideal.atoms == [] and ideal(pos) is pos
    assert Ideal(molecule_from_mol(embed("c1ccoc1")), KNOWN).atoms == []
    assert len(Ideal(molecule_from_mol(embed("C1CO1")), KNOWN).atoms) == 7
    assert Ideal(molecule_from_mol(embed("C[Si](C)(C)CCC")), KNOWN).atoms[:3] == [0, 1, 2]


def test_hands_and_frames():
    mol = embed("[C@](F)(Cl)(Br)I")
    molecule = molecule_from_mol(mol)
    ideal, pos = Ideal(molecule, KNOWN), mol.GetConformer().GetPositions()
    after = ideal(pos)
    assert check_stereo(stereo_of(mol), after)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(ideal(pos @ turn.T + 7.0), after @ turn.T + 7.0, atol=2e-2)
    assert ideal(pos.astype(np.float32)).dtype == np.float32


def test_surroundings():
    around = Surroundings(molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("C1CC1C(=O)[O-]"))))
    assert around.ring(0, 1) == around.ring(0, 1, 2) == 3 and around.ring(2, 3) == around.ring(1, 2, 3) == 0
    assert around.full[3] == "C(-C -O- =O)" and around.short[5] == "O-1" and around.short[0] == "Cr34"
    assert around.lone[4:6] == [2, 3]
    spiro = Surroundings(molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("C1CC12CCC2"))))
    assert spiro.ring(0, 2, 3) == 0 and spiro.ring(3, 2, 5) == 4 and spiro.ring(0, 2) == 3


ODD = [
    line.split()[0] for line in (ROOT / "datasets" / "odd.smi").read_text().splitlines() if line.strip() and line[0] != "#"
]
ONCE_APART = ["N=C=O", "[O-]Cl(=O)(=O)=O", "C12CC1C2", "FOOF", "C[O-]", "O=[N+]([O-])Cl", "C[Si](C)(C)O[Si](C)(C)C"]


@pytest.mark.parametrize("smiles", ONCE_APART + ODD[::12])
def test_what_is_tabulated_is_within_the_bounds_of_the_gate(smiles):
    """Two tables, ideal.json and bounds.json: no molecule may be moved to what the gate then turns away."""
    record = record_from_smiles(0, smiles)
    assert record.mol is not None
    molecule = molecule_from_mol(record.mol, smiles, False)
    ideal, limits = Ideal(molecule, KNOWN), {}
    for check in Soundness(molecule).checks:
        if check.family in ("bond", "angle"):
            limits |= {
                tuple(a): (low, high) for a, low, high in zip(check.atoms.tolist(), check.low, check.high, strict=True)
            }
    values = {bond: length for bond, length in zip(ideal.around.bonds, ideal.lengths, strict=True) if length is not None}
    values |= {(a.i, a.j, a.k): a.degrees for a in ideal.angles if a.degrees is not None}
    for atoms, value in values.items():
        low, high = limits.get(atoms, limits.get(atoms[::-1], (-np.inf, np.inf)))
        assert low <= value <= high, atoms


def test_the_molecules_that_are_judged_are_not_those_of_the_table():
    def canonical(path):
        lines = (ROOT / path).read_text().splitlines()
        return {Chem.CanonSmiles(line.split()[0]) for line in lines if line.strip() and line[0] != "#"}

    judged = canonical("benchmarks/odd_100.smi")
    assert len(judged) == 100 and not judged & canonical("datasets/odd.smi")
