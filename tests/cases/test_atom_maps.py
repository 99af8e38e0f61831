"""Atom map numbers are labels: one molecule with and without, in sample, prepare, splits and evaluate."""

import io

import numpy as np
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.prepare import prepare
from pyg_diffusion.chem.records import set_maps_aside, with_maps
from pyg_diffusion.chem.smiles import record_from_smiles
from pyg_diffusion.chem.splits import connectivity, scaffold
from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.metrics import evaluate, group_records
from pyg_diffusion.metrics.references import flat_smiles, isomeric_smiles
from pyg_diffusion.tasks.molecules.inputs import input_records, unique_molecules

PLAIN, MAPPED, OTHER = (
    "C[C@H](O)C(=O)N",
    "[CH3:1][C@H:2]([OH:9])[C:4](=[O:5])[NH2:3]",
    "[CH3:1][C@@H:2]([OH:9])[C:4](=[O:5])[NH2:3]",
)


def mapped(mol: Chem.Mol) -> Chem.Mol:
    copy = Chem.Mol(mol)
    for atom in copy.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() % 4 + 1)
    return copy


def test_one_molecule_with_and_without():
    plain, labelled, other = (record_from_smiles(0, s, "m") for s in (PLAIN, MAPPED, OTHER))
    a, b, c = (molecule_from_mol(r.mol, conformers=False) for r in (plain, labelled, other))
    assert a.topology() == b.topology() != c.topology()
    entries = list(unique_molecules(input_records([f"{s} m" for s in (PLAIN, MAPPED, OTHER)]), print, print))
    assert [e.copies for e in entries] == [2, 1]
    assert [a.GetAtomMapNum() for a in with_maps(labelled.mol).GetAtoms()][:6] == [1, 2, 9, 4, 5, 3]


def test_labels_make_no_stereocentre():
    record = record_from_smiles(0, "[CH3:1][C@H:2]([CH3:3])[OH:4]")
    assert molecule_from_mol(record.mol).smiles == "CC(C)O" and not len(molecule_from_mol(record.mol).tetra)


def test_a_molecule_of_the_library_is_not_changed():
    mol = mapped(embed(PLAIN))
    assert molecule_from_mol(mol).topology() == molecule_from_mol(embed(PLAIN)).topology()
    assert mol.GetAtomWithIdx(1).GetAtomMapNum() == 2
    assert flat_smiles(mol) == "CC(O)C(N)=O" and isomeric_smiles(mol) == "C[C@H](O)C(N)=O"
    assert connectivity(mol) == connectivity(embed(PLAIN)) and scaffold(mol) == scaffold(embed(PLAIN))


def test_files(tmp_path):
    mol = embed(PLAIN, 4)
    mol.SetProp("_Name", "lactamide")
    for name, written in (("plain", mol), ("mapped", mapped(mol))):
        text = "".join(Chem.MolToMolBlock(written, confId=c.GetId()) + "$$$$\n" for c in written.GetConformers())
        (tmp_path / f"{name}.sdf").write_text(text)
    paths = [str(tmp_path / f"{name}.sdf") for name in ("plain", "mapped")]
    report = prepare(paths, str(tmp_path / "s.h5"), workers=1, progress=False)
    assert (report.molecules, report.conformers) == (1, 8)
    from pyg_diffusion.chem import read_sdf

    for generated, reference in (paths, paths[::-1]):
        ensembles, skipped = group_records(read_sdf(reference))
        result = evaluate(ensembles, read_sdf(generated))
        assert skipped == [] and result.molecules[0].status[:4] == ("ok",) * 4
        np.testing.assert_allclose(result.molecules[0].rmsd[:, :4].min(1), 0, atol=1e-3)


def test_the_output_keeps_them():
    mol = mapped(embed("CCO"))
    text = sdf_text(mol, 0)
    set_maps_aside(mol)
    assert mol.GetAtomWithIdx(0).GetAtomMapNum() == 0 and sdf_text(mol, 0) == text
    (read,) = Chem.ForwardSDMolSupplier(io.BytesIO(text.encode()), removeHs=False)
    assert [a.GetAtomMapNum() for a in read.GetAtoms()] == [k % 4 + 1 for k in range(9)]
