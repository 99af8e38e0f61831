"""Salts, hydrates and clusters through the command line: every fragment as sound as alone, side by side."""

import numpy as np
from rdkit import Chem

from pyg_diffusion.chem import read_sdf, stereo_of
from pyg_diffusion.chem.stereo import check_stereo
from pyg_diffusion.cli import main

SALTS = {
    "lactate": "C[C@H](O)C(=O)[O-].[K+]",
    "hydrate": "C[NH3+].[Br-].O.O",
    "cocrystal": "NC(N)=O.OC(=O)C(=O)O",
    "rock_salt": "[Na+].[F-]",
    "magnesium": "[Mg+2].[Cl-].[Cl-]",
}


def sampled(tmp_path, *arguments: str) -> list:
    out = tmp_path / "out.sdf"
    assert main(["sample", *arguments, "-o", str(out), "--quiet"]) == 0
    return list(read_sdf(str(out)))


def test_fragments_stand_beside_each_other(tmp_path, capsys):
    records = sampled(tmp_path, *(f"{smiles} {name}" for name, smiles in SALTS.items()), "-n", "3", "--oversample", "1")
    assert [r.name for r in records] == [name for name in SALTS for _ in range(3)]
    table = Chem.GetPeriodicTable()
    for record in records:
        mol, pos = record.mol, record.mol.GetConformer().GetPositions()
        d = np.linalg.norm(pos[:, None] - pos, axis=-1)
        radius = np.array([table.GetRvdw(a.GetAtomicNum()) for a in mol.GetAtoms()])
        apart = Chem.GetDistanceMatrix(mol) > len(pos)
        assert (d / (radius[:, None] + radius))[apart].min() > 0.6
        charge = np.array([a.GetFormalCharge() for a in mol.GetAtoms()])
        for k in np.flatnonzero(charge):
            other = np.flatnonzero((charge * charge[k] < 0) & apart[k])
            assert 2 < d[k, other].min() < 6
        covalent = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()])
        for bond in mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            assert 0.75 < d[i, j] / (covalent[i] + covalent[j]) < 1.3
        assert check_stereo(stereo_of(mol), pos)
    assert {Chem.MolToSmiles(Chem.RemoveHs(r.mol)) for r in records if r.name == "lactate"} == {
        Chem.CanonSmiles(SALTS["lactate"])
    }
    said = capsys.readouterr().err
    for name, count in (("lactate", 2), ("hydrate", 4), ("magnesium", 3)):
        assert f"{name}: {count} fragments, generated apart and placed beside each other" in said
        assert said.count(f"{name}: {count} fragments") == 1


def test_the_seed_decides(tmp_path):
    made = [
        [r.mol.GetConformer().GetPositions() for r in sampled(tmp_path, "C[NH3+].[Cl-].O x", "-n", "2", "--seed", seed)]
        for seed in "445"
    ]
    np.testing.assert_allclose(made[0], made[1], atol=1e-3)
    assert np.abs(np.array(made[0]) - made[2]).max() > 0.1


def test_steering_repulsion_and_atoms_to_keep(tmp_path):
    records = sampled(tmp_path, "CCCC[NH3+].[Cl-] x", "-n", "3", "--diversity", "5", "--guide", "clashes=1")
    assert len(records) == 3
    salt = tmp_path / "salt.sdf"
    with Chem.SDWriter(str(salt)) as writer:
        writer.write(records[0].mol)
    kept = sampled(tmp_path, str(salt), "-n", "2", "--keep", "[NH3+]C")
    match = list(kept[0].mol.GetSubstructMatch(Chem.MolFromSmarts("[NH3+]C")))
    for record in kept:
        moved = record.mol.GetConformer().GetPositions()[match] - records[0].mol.GetConformer().GetPositions()[match]
        assert np.abs(moved).max() < 2e-3
