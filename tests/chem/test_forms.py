"""Parents, tautomers and states of protonation: what is made, under which name, and that nothing that was given is lost."""

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import read_records
from pyg_diffusion.chem.axial import axial_key
from pyg_diffusion.chem.forms import Forms, parent, protomers, taken_off, tautomers
from pyg_diffusion.chem.heavy import identity_smiles
from pyg_diffusion.chem.isomers import stereo_groups
from pyg_diffusion.chem.records import with_maps
from pyg_diffusion.chem.smiles import record_from_line, split_smiles
from pyg_diffusion.cli import main

pytest.importorskip("dimorphite_dl")
QUICK = ["-n", "1", "--seed", "3", "--quiet"]


def mol_of(text: str) -> Chem.Mol:
    record = record_from_line(0, split_smiles(text))
    assert record.mol is not None, record.problem
    return record.mol


def labels(mol: Chem.Mol) -> list[tuple[int, int, int]]:
    heavy = [atom for atom in with_maps(mol).GetAtoms() if atom.GetAtomicNum() > 1]
    return [(atom.GetAtomicNum(), atom.GetIsotope(), atom.GetAtomMapNum()) for atom in heavy]


def names(found) -> set[str]:
    return {identity_smiles(mol) for mol in found.mols}


@pytest.mark.parametrize(
    ("given", "kept", "off"),
    [
        ("C[C@H](O)C(=O)[O-].[Na+]", "C[C@H](O)C(=O)[O-]", {"[Na+]": 1}),
        ("OCCN.Cl.Cl.O", "NCCO", {"Cl": 2, "O": 1}),
        ("C/C=C\\CN.CS(C)=O", "C/C=C\\CN", {"CS(C)=O": 1}),
        ("[Na+].[Cl-]", "[Na+]", {"[Cl-]": 1}),
        ("CCO", "CCO", {}),
    ],
)
def test_parent(given, kept, off):
    mol = mol_of(given)
    made = parent(mol)
    assert identity_smiles(made) == identity_smiles(mol_of(kept)) or given == "[Na+].[Cl-]"
    assert taken_off(mol, made) == off or given == "[Na+].[Cl-]"
    assert (made is mol) == (not off)


def test_a_parent_has_its_coordinates_and_labels():
    mol = embed("[Na+].[O-:4]C(=O)[C@@H:2](C)F")
    made = parent(mol)
    np.testing.assert_array_equal(made.GetConformer().GetPositions(), mol.GetConformer().GetPositions()[1:])
    assert [a.GetAtomMapNum() for a in made.GetAtoms()][:4] == [4, 0, 0, 2]


@pytest.mark.parametrize(
    ("given", "canonical", "others"),
    [
        ("Oc1ccccn1", "O=c1cccc[nH]1", {"Oc1ccccn1"}),
        ("CC(O)=CC", "CCC(C)=O", set()),
        ("CC(=N)O", "CC(N)=O", {"CC(=N)O"}),
        ("c1ccccc1", "c1ccccc1", set()),
        ("C/C(O)=C\\C", "C/C(O)=C\\C", set()),  # the ketone has no such double bond
        ("C[C@H](C=O)F", "C[C@H](C=O)F", set()),  # nor the enol such a centre
        ("[2H]OC(C)=O", "[2H]OC(C)=O", set()),
    ],
)
def test_tautomers(given, canonical, others):
    mol = mol_of(given)
    first = tautomers(mol, 1)
    assert names(first) == {identity_smiles(mol_of(canonical))}
    every = names(tautomers(mol, 100))
    assert {identity_smiles(mol_of(s)) for s in (canonical, *others)} <= every
    assert identity_smiles(first.mols[0]) != identity_smiles(mol) or first.mols[0] is mol
    few = tautomers(mol, 2)
    assert few.left == max(0, len(every) - 2) and len(few.mols) == min(2, len(every))


@pytest.mark.parametrize(
    ("given", "ph", "likeliest"),
    [
        ("CC(=O)O", 7.4, "CC(=O)[O-]"),
        ("CC(=O)O", 1.0, "CC(=O)O"),
        ("CC(=O)[O-].[Na+]", 1.0, "CC(=O)O.[Na+]"),  # a counterion stays
        ("C[C@H](N)C(=O)O", 7.4, "C[C@H]([NH3+])C(=O)[O-]"),
        ("CC[C@](C)(S(=O)(=O)[O-])N.[K+]", 7.4, "CC[C@](C)(S(=O)(=O)[O-])[NH3+].[K+]"),
        ("C[N+](C)(C)C", 7.4, "C[N+](C)(C)C"),
        ("OP(=O)(O)OC", 7.4, "COP(=O)([O-])[O-]"),
    ],
)
def test_protomers(given, ph, likeliest):
    mol = mol_of(given)
    found = protomers(mol, ph)
    assert identity_smiles(found.mols[0]) == identity_smiles(mol_of(likeliest))
    assert (identity_smiles(mol) in names(found)) == (mol in found.mols)
    one = protomers(mol, ph, 1)
    assert names(one) == {identity_smiles(found.mols[0])} and one.left == len(found.mols) - 1


@pytest.mark.parametrize(
    "given",
    [
        "C[C@H](N)C(=O)O", "OC(=O)/C=C\\C[C@@H](O)C", "CC=C=CC(=O)O", "C[C@]1(N)C[C@@H](O)C1", "C[S@](=O)CCN",
        "CC=[C@]=CC(=O)O", "CC=[C@@]=CC(=O)O", "C/C=N/O", "N[C@@H](Cc1cnc[nH]1)C(=O)O", "O=C1NC(=O)[C@H](CC)N1",
        "[CH3:3]/[CH:1]=[CH:9]/C(=O)[OH:2]", "C[C@H](O)[C@@H](C)C(=O)O |&1:1,o2:3|", "CC=CC(=O)O", "CC(O)C=CCN",
        "[13CH3][C@H]([2H])C(=O)O", "OC(=O)C(F)=C(Cl)C#N",
    ],
)  # fmt: skip
def test_no_form_loses_or_gains_stereo_labels_or_isotopes(given):
    mol = mol_of(given)
    centres = len(Chem.FindMolChiralCenters(mol, useLegacyImplementation=False))
    for found in (tautomers(mol, 100), protomers(mol, 7.4, 100), protomers(mol, 1.0, 100)):
        for made in found.mols:
            assert len(Chem.FindMolChiralCenters(made, useLegacyImplementation=False)) == centres
            assert [b.GetStereo() for b in mol.GetBonds() if b.GetStereo() > Chem.BondStereo.STEREOANY] == [
                b.GetStereo() for b in made.GetBonds() if b.GetStereo() > Chem.BondStereo.STEREOANY
            ]
            assert bool(axial_key(made)) == bool(axial_key(mol)) and stereo_groups(made) == stereo_groups(mol)
            heavy = [
                [
                    (a.GetAtomicNum(), a.GetIsotope(), a.GetAtomMapNum())
                    for a in with_maps(m).GetAtoms()
                    if a.GetAtomicNum() > 1
                ]
                for m in (mol, made)
            ]
            assert heavy[0] == heavy[1]


def test_opposite_hands_stay_opposite():
    for step in (lambda m: tautomers(m, 100), lambda m: protomers(m, 7.4, 100)):
        for one, other in (("CC=[C@]=CC(=O)O", "CC=[C@@]=CC(=O)O"), ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")):
            a, b = ([(identity_smiles(m), axial_key(m)) for m in step(mol_of(smiles)).mols] for smiles in (one, other))
            assert len(a) == len(b) and not set(a) & set(b)


@pytest.mark.parametrize("wrong", [{"tautomers": "some"}, {"ph": 15.0}, {"most": 0}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Forms(**wrong)


def test_each_is_named_for_its_parent_and_counted(tmp_path, capsys):
    source, out = tmp_path / "in.smi", tmp_path / "out.sdf"
    source.write_text("C[C@H](N)C(=O)[O-].[Na+] ala\nCC(O)=N imide\nC/C=C\\C butene\nC[C@H](N)C(=O)O ala\n")
    asked = ["--parent", "--tautomers", "canonical", "--ph", "7.4", "--relax", "MMFF94s"]
    assert main(["sample", str(source), *QUICK, *asked, "-o", str(out)]) == 0
    told = capsys.readouterr().err
    records = list(read_records(out))
    assert [r.name for r in records] == ["ala protomer 1", "ala protomer 2", "imide", "butene"]
    made = [identity_smiles(r.mol) for r in records]  # their stereo is that of the coordinates
    assert made == ["C[C@H]([NH3+])C(=O)[O-]", "C[C@H](N)C(=O)[O-]", "CC(N)=O", "C/C=C\\C"]
    inputs = [r.mol.GetProp("input_smiles") if r.mol.HasProp("input_smiles") else "" for r in records]
    assert inputs == ["C[C@H](N)C(=O)[O-].[Na+]"] * 2 + ["CC(=N)O", ""]
    assert "--parent: salts and solvents taken off 1 molecules: [Na+] 1" in told
    assert "2 molecules in another protomer than was given, 6 protomers in all" in told
    assert "2 forms are of a molecule already named" in told


def test_what_goes_with_what(capsys):
    assert main(["sample", "C", "--max-forms", "2"]) == 2 and "--max-forms goes with" in capsys.readouterr().err
    assert main(["sample", "C", "--ph", "20"]) == 2 and "ph must lie between 0 and 14" in capsys.readouterr().err
