"""The gate against real conformers, faults put into them, and molecules whose geometry is known in closed form."""

from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from pyg_diffusion.chem import Soundness, molecule_from_mol, read_sdf
from pyg_diffusion.chem.soundness import reason

DATASETS = Path(__file__).parents[2] / "datasets"


def gate(smiles: str) -> Soundness:
    return Soundness(molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles))))


def told(smiles: str, pos) -> str:
    """What is wrong with a geometry, in words."""
    return reason(gate(smiles).faults(np.array([pos], dtype=float))[0])


def embedded(smiles: str) -> tuple[Soundness, np.ndarray]:
    mol = embed(smiles)
    return Soundness(molecule_from_mol(mol)), mol.GetConformer().GetPositions()


@pytest.mark.parametrize("name", ["qm9_3000", "dft8k_200", "qm9_ensembles_20"])
def test_real_conformers_pass_and_broken_ones_do_not(name, rng):
    """Of each conformer once a hydrogen moved, once everything shrunk by 15 %, once an atom on top of another."""
    refused = conformers = 0
    for record in islice(read_sdf(str(DATASETS / f"{name}.sdf.gz")), 120):
        molecule = molecule_from_mol(record.mol)
        own, pos = Soundness(molecule), np.array(molecule.pos)
        conformers += len(pos)
        refused += int((own.excess(pos) > 0).sum())
        broken = np.concatenate([pos, 0.85 * pos, pos])
        broken[0, int(rng.integers(pos.shape[1]))] += [0.8, 0.7, 0.4]
        broken[-1, 0] = broken[-1, -1] + 0.2
        assert (own.excess(broken) > 0).tolist() == [True] * len(broken)
    assert conformers >= 120 and refused == 0


LENGTHS = {
    "[H][H]": 0.741, "N#N": 1.098, "[C-]#[O+]": 1.128, "Cl": 1.275, "F": 0.917, "Br": 1.414, "I": 1.609, "O=O": 1.208,
    "FF": 1.412, "ClCl": 1.988, "BrBr": 2.281, "II": 2.666, "[OH-]": 0.964, "[C-]#N": 1.177, "N#[O+]": 1.063,
}  # fmt: skip


@pytest.mark.parametrize("smiles", LENGTHS)
def test_diatomics_have_their_length(smiles):
    """Huber and Herzberg 1979; 12 % off is a fault."""
    own = gate(smiles)
    length = np.array([1.0, 1.03, 0.97, 0.86, 1.14]) * LENGTHS[smiles]
    pos = np.zeros((5, 2, 3))
    pos[:, 1, 2] = length
    assert (own.excess(pos) == 0).tolist() == [True, True, True, False, False]
    assert own.faults(pos[3:4])[0][0].kind == "bond length"


def test_a_single_atom_is_sound_and_what_is_not_finite_is_not():
    assert gate("[Na+]").faults(np.zeros((2, 1, 3))) == [[], []]
    assert told("[Na+]", [[np.nan, 0, 0]]) == "coordinates that are not finite"
    assert gate("O").excess(np.full((1, 3, 3), np.inf)).tolist() == [np.inf]
    assert gate("CCO").faults(np.zeros((0, 9, 3))) == [] and gate("CCO").excess(np.zeros((0, 9, 3))).size == 0


def test_faults_name_atoms_from_one_and_their_values():
    own, pos = embedded("CCO")
    stretched = pos.copy()
    stretched[8] = stretched[2] + 0.29 * (pos[8] - pos[2]) / np.linalg.norm(pos[8] - pos[2])
    assert reason(own.faults(stretched[None])[0]) == "O3-H9 .29 Å"
    assert told("O", [[0, 0, 0], [0.96, 0, 0], [0.96 * np.cos(1.047), 0.96 * np.sin(1.047), 0]]) == "angle H2-O1-H3 60°"
    dimer = [[0, 0, 0], [2.8, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [3.0, 0.94, 0], [3.0, -0.47, 0.81]]
    assert told("O.O", dimer) == ""
    dimer[1:2] = [[1.9, 0, 0]]
    assert "O2...H3 .94 Å apart" in [f.text for f in gate("O.O").faults(np.array([dimer]))[0]]


def test_acetylene_has_its_triple_bond_and_is_straight():
    line = np.array([[0, 0, 0], [0, 0, 1.20], [0, 0, -1.06], [0, 0, 2.26]])
    assert told("C#C", line) == ""
    line[[0, 2], 2] += 0.12
    assert told("C#C", line) == "C1-C2 1.08 Å"
    line[[0, 2], 2] -= 0.12
    bent = line.copy()
    bent[3] = [1.06 * np.sin(0.6), 0, 1.20 + 1.06 * np.cos(0.6)]
    assert told("C#C", bent) == "angle C1-C2-H4 146°"


@pytest.mark.parametrize("smiles", ["C=C=C", "CC=C=CC", "C=C=C=C=C", "C=C=C=C", "CC=C=C=CC"])
def test_end_groups_of_cumulenes(smiles):
    """Across for an even number of double bonds, in one plane for an odd one."""
    own, pos = embedded(smiles)
    chain = own.environment.cumulenes()[0]
    far = _side(own, chain)
    if len(chain) % 2 == 0:  # which ETKDG leaves at any angle
        twist = min(range(180), key=lambda d: own.excess(_turned(pos, far, chain[0], chain[-1], d)[None])[0])
        pos = _turned(pos, far, chain[0], chain[-1], float(twist))
    assert own.faults(pos[None])[0] == []
    for degrees, sound in ((8, True), (50, False), (90, False)):
        turned = _turned(pos, far, chain[0], chain[-1], degrees)
        faults = own.faults(turned[None])[0]
        assert [f.kind for f in faults] == ([] if sound else ["cumulene"])
    assert "end groups of" in faults[0].text


def _side(own: Soundness, chain: tuple[int, ...]) -> list[int]:
    """Atoms that hang on the last atom of the chain."""
    seen, stack = {chain[-2], chain[-1]}, [chain[-1]]
    while stack:
        new = [k for k in own.environment.near[stack.pop()] if k not in seen]
        seen.update(new)
        stack += new
    return sorted(seen - set(chain))


def _turned(pos, atoms, a, b, degrees):
    axis = (pos[b] - pos[a]) / np.linalg.norm(pos[b] - pos[a])
    x, angle = pos[atoms] - pos[a], np.radians(degrees)
    along = (x @ axis)[:, None] * axis
    new = pos.copy()
    new[atoms] = pos[a] + along + np.cos(angle) * (x - along) + np.sin(angle) * np.cross(axis, x)
    return new


@pytest.mark.parametrize("smiles, atoms, name", [
    ("CC(=O)NC", (0, 1, 3, 4), "amide C2-N4 twisted by"),
    ("C/C=C/C", (0, 1, 2, 3), "double bond C2=C3 twisted by"),
])  # fmt: skip
@pytest.mark.parametrize("degrees, sound", [(0, True), (15, True), (60, False), (-60, False)])
def test_planes_are_not_twisted(smiles, atoms, name, degrees, sound):
    mol = embed(smiles)
    rdMolTransforms.SetDihedralDeg(mol.GetConformer(), *atoms, 180 + degrees)
    own = Soundness(molecule_from_mol(mol))
    told = reason(own.faults(mol.GetConformer().GetPositions()[None])[0])
    assert (told == "") is sound and (sound or name in told)


def test_an_aromatic_ring_is_flat():
    own, pos = embedded("c1ccccc1")
    up = np.linalg.svd(pos[:6] - pos[:6].mean(0))[2][2]
    bent = pos.copy()
    bent[:6] += 0.35 * np.array([1, -1, 1, -1, 1, -1])[:, None] * up
    assert own.faults(pos[None])[0] == []
    assert any(f.text.startswith("aromatic ring C1-") for f in own.faults(bent[None])[0])
    chair, chair_pos = embedded("C1CCCCC1")
    assert chair.faults(chair_pos[None])[0] == []


AXES = np.concatenate([np.eye(3), -np.eye(3)])
THIRDS = [[np.cos(a), np.sin(a), 0] for a in np.radians([0, 120, 240])]
BIPYRAMID = np.array([*THIRDS, [0, 0, 1], [0, 0, -1]])
PRISM = np.array([[np.cos(a) * 0.76, np.sin(a) * 0.76, h] for a in np.radians([0, 120, 240]) for h in (-0.65, 0.65)])
SQUARE = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
SQUARE_PYRAMID = np.array([[np.sin(1.8) * x, np.sin(1.8) * y, np.cos(1.8)] for x, y, _ in SQUARE] + [[0, 0, 1]])
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


@pytest.mark.parametrize("smiles, length, right, wrong", [
    ("FS(F)(F)(F)(F)F", 1.56, AXES, PRISM),
    ("F[P-](F)(F)(F)(F)F", 1.60, AXES, PRISM),
    ("FP(F)(F)(F)F", 1.56, BIPYRAMID, SQUARE_PYRAMID),
    ("F[Xe]F", 1.98, AXES[[0, 3]], AXES[[0, 1]]),
    ("F[Xe](F)(F)F", 1.94, SQUARE, TETRAHEDRON),
    ("FI(F)(F)(F)F", 1.85, SQUARE_PYRAMID, BIPYRAMID),
    ("[O-][Cl](=O)(=O)=O", 1.45, TETRAHEDRON, SQUARE),
    ("F[B-](F)(F)F", 1.40, TETRAHEDRON, SQUARE),
])  # fmt: skip
def test_coordination_polyhedra(smiles, length, right, wrong):
    mol = Chem.MolFromSmiles(smiles)
    centre = max(mol.GetAtoms(), key=lambda a: a.GetDegree()).GetIdx()
    own = Soundness(molecule_from_mol(Chem.AddHs(mol)))
    for shape, sound in ((right, True), (wrong, False)):
        pos = np.insert(length * shape, centre, 0, axis=0)
        assert (own.excess(pos[None])[0] == 0) is np.bool_(sound), own.faults(pos[None])


def truncated_icosahedron() -> np.ndarray:
    """The 60 vertices, edge 1.43 Å."""
    golden = (1 + np.sqrt(5)) / 2
    seeds = [(0, 1, 3 * golden), (1, 2 + golden, 2 * golden), (golden, 2, 2 * golden + 1)]
    points = {
        tuple(np.round(np.roll(np.array(seed) * signs, k), 9))
        for seed, signs, k in product(seeds, product((1, -1), repeat=3), range(3))
    }
    return np.array(sorted(points)) * 1.43 / 2


def test_c60_is_a_closed_cage_and_no_atom_goes_inside():
    pos = truncated_icosahedron()
    mol = Chem.MolFromSmiles(
        "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8c4c4"
        "c9c5c1c1c6c2c3c41"
    )
    assert pos.shape == (60, 3)
    edges = Chem.RWMol()
    for _ in range(60):
        edges.AddAtom(Chem.Atom(6))
    for i, j in zip(*np.nonzero(np.triu(np.linalg.norm(pos[:, None] - pos, axis=-1) < 1.5, 1)), strict=True):
        edges.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    plain = Chem.RWMol(mol)
    for atom in plain.GetAtoms():
        atom.SetIsAromatic(False)
    for bond in plain.GetBonds():
        bond.SetBondType(Chem.BondType.SINGLE)
        bond.SetIsAromatic(False)
    order = list(edges.GetSubstructMatch(plain))
    own, cage = Soundness(molecule_from_mol(mol)), pos[order]
    assert own.faults(cage[None])[0] == []
    dented = cage.copy()
    dented[0] *= 0.6
    crushed = cage * [1, 1, 0.6]
    assert (own.excess(np.stack([dented, crushed])) > 0).all()


def test_fragments_do_not_touch_but_ions_may_meet():
    own = gate("[Na+].[Cl-]")
    pos = np.zeros((3, 2, 3))
    pos[:, 1, 0] = [1.0, 2.36, 100.0]
    assert (own.excess(pos) == 0).tolist() == [False, True, True]
    assert own.faults(pos)[0][0].text == "Na1...Cl2 1.00 Å apart"


def test_the_verdict_does_not_depend_on_place_and_numbering(rng):
    mol = embed("CC(=O)Nc1ccccc1[C@H](F)Cl")
    pos = mol.GetConformer().GetPositions()
    broken = pos + 0.15 * rng.standard_normal(pos.shape)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(pos))
    other = Chem.RenumberAtoms(mol, order.tolist())
    one = Soundness(molecule_from_mol(mol)).excess(np.stack([pos, broken]))
    two = Soundness(molecule_from_mol(other)).excess(np.stack([pos, broken])[:, order] @ turn + 7)
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-9)
    assert one[0] == 0 < one[1]
