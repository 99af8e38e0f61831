"""One molecule in several atom orders is one: its key, which atoms belong together, and the store of it."""

import random
import sys

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from pyg_diffusion.chem import Stereo, check_stereo, molecule_from_mol, read_sdf, with_positions
from pyg_diffusion.chem.atom_order import canonical, matching
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.data import MoleculeStore

module = sys.modules["pyg_diffusion.chem.prepare"]

MOLECULES = [
    "C[C@H](N)C(=O)O",
    "C/C=C/C=C\\CO",
    "CC(=O)[O-].[Na+]",
    "FC(Cl)=[C@]=C(F)Cl",
    "Cc1cccc(Cl)c1-c1c(C)cccc1Br",
    "CP(c1ccccc1)CC",
    "[2H]C([2H])(O)C",
    "C12C3C4C1C5C2C3C45",
    "CC(C)(C)C(/N=N/C)=N/O",
    "[CH3].[CH2]C",
    "CN1[C@H]2C[C@@H](CO)[C@]21C",
    "C[N+](C)(C)CC(=O)[O-]",
]


def shuffled(mol: Chem.Mol, seed: int) -> Chem.Mol:
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    return Chem.RenumberAtoms(mol, order)


def block(mol: Chem.Mol) -> str:
    return Chem.MolToMolBlock(mol) + "$$$$\n"


@pytest.mark.parametrize("smiles", MOLECULES)
def test_shuffled_records_are_one_molecule_atom_by_atom(smiles, tmp_path):
    """Each is the same structure in the first record's order, stereo and all; a mirror image is another molecule."""
    mol = embed(smiles, 1)
    texts = [block(mol), *(block(shuffled(mol, seed)) for seed in range(6))]
    (tmp_path / "a.sdf").write_text("".join(texts))
    first, *others = [(r.mol, molecule_from_mol(r.mol)) for r in read_sdf(tmp_path / "a.sdf")]
    key, order = canonical(*first)
    stereo = Stereo(first[1].tetra, first[1].ez, first[1].ez_type)
    for other in others:
        its_key, its_order = canonical(*other)
        assert its_key == key
        atoms = matching(its_order, order)
        np.testing.assert_array_equal(other[1].z[atoms], first[1].z)
        pos = other[1].pos[0][atoms]
        assert check_stereo(stereo, pos)
        assert rdMolAlign.GetBestRMS(with_positions(first[0], pos[None]), Chem.Mol(first[0]), maxMatches=10_000) < 1e-3
    if "@" in smiles:
        mirrored = with_positions(first[0], first[1].pos[0][None] * [1, 1, -1])
        (tmp_path / "b.sdf").write_text(block(mirrored))
        (record,) = read_sdf(tmp_path / "b.sdf")
        assert canonical(record.mol, molecule_from_mol(record.mol))[0] != key


def test_molecules_that_differ_have_other_keys():
    texts = [
        *MOLECULES,
        "C[C@@H](N)C(=O)O",
        "C/C=C\\C=C\\CO",
        "CC(=O)O.[Na]",
        "[2H]C(O)C[2H]",
        "CP(c1ccccc1)CCC",
        "[CH2]C[CH3]",
    ]
    mols = [Chem.AddHs(Chem.MolFromSmiles(text)) for text in texts]
    assert len({canonical(mol, molecule_from_mol(mol))[0] for mol in mols}) == len(texts)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_has_one_entry_for_all_orders(workers, tmp_path, monkeypatch):
    """Within a chunk and across chunks; the conformers are those of a store made of records in one order."""
    monkeypatch.setattr(module, "CHUNK", 5)
    mols = [embed(smiles, 4) for smiles in ("C[C@H](N)C(=O)O", "C/C=C/CO")]
    plain = [with_positions(m, m.GetConformer(k).GetPositions()[None]) for k in range(4) for m in mols]
    (tmp_path / "plain.sdf").write_text("".join(map(block, plain)))
    (tmp_path / "mixed.sdf").write_text("".join(block(shuffled(m, k) if k > 1 else m) for k, m in enumerate(plain)))
    stores = []
    for name in ("plain", "mixed"):
        report = prepare([str(tmp_path / f"{name}.sdf")], str(tmp_path / f"{name}.h5"), workers, progress=False)
        assert (report.records, report.molecules, report.conformers) == (8, 2, 8)
        stores.append(MoleculeStore(tmp_path / f"{name}.h5"))
    for want, got, mol in zip(*stores, mols, strict=True):
        assert want.topology() == got.topology() and len(got.pos) == 4
        for a, b in zip(want.pos, got.pos, strict=True):
            one, other = (with_positions(mol, pos[None]) for pos in (a, b))
            assert rdMolAlign.GetBestRMS(one, other) < 1e-3
