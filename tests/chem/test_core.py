"""What a molecule has in common with a template, and its hand there."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.rdDistGeom import EmbedMolecule

from pyg_diffusion.chem import with_positions
from pyg_diffusion.chem.core import Cores, Template, read_templates
from pyg_diffusion.chem.writing import sdf_text


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert EmbedMolecule(mol, randomSeed=1) == 0
    mol.SetProp("_Name", smiles)
    return mol


def template(smiles: str) -> Template:
    return Template(smiles, embedded(smiles))


def matched(smiles: str, *templates: Template, pattern: str | None = None):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return mol, Cores(templates, pattern and Chem.MolFromSmarts(pattern))(mol)


AMIDE = template("C[C@H](N)C(=O)NCc1ccccc1")


def test_the_largest_common_part_lies_where_the_template_has_it():
    mol, match = matched("CC[C@H](N)C(=O)NCc1ccc(Cl)cc1", AMIDE)
    own, theirs = np.array(match.pairs).T
    assert len(own) == 13 and match.remark(mol) == ""  # the whole template
    places = match.positions(mol.GetNumAtoms())
    np.testing.assert_array_equal(places[own], AMIDE.mol.GetConformer().GetPositions()[theirs])
    assert np.isnan(np.delete(places, own, axis=0)).all()
    for a, b in match.pairs:
        assert mol.GetAtomWithIdx(a).GetSymbol() == AMIDE.mol.GetAtomWithIdx(b).GetSymbol()


def test_what_has_no_match_is_named():
    mol, match = matched("C[C@H](N)C(=O)NCC1CC1", AMIDE)
    assert match.remark(mol) == (
        f"core {AMIDE.name}, 7 atoms kept; C8, C9, C10, C11, C12, C13 of it have no match; generated: C8, C9, C10"
    )


@pytest.mark.parametrize(
    ("smiles", "kept", "turned"),
    [
        ("C[C@@H](N)C(=O)NCc1ccccc1", 12, (1,)),  # the other hand: the methyl group is let go
        ("C[C@@](F)(N)C(=O)NCc1ccccc1", 12, (1,)),
        ("CC(N)C(=O)NCc1ccccc1", 13, ()),  # none asked for
    ],
)
def test_no_match_gives_the_wrong_hand(smiles, kept, turned):
    mol, match = matched(smiles, AMIDE)
    assert len(match.pairs) == kept and match.turned == turned
    assert not turned or "the other hand there at C2, so a branch is let go" in match.remark(mol)


def test_another_placement_has_the_right_hand():
    """Of the four fluorines two pairs are alike, and one choice of them is right."""
    both = template("C[C@H](F)C[C@@H](F)C")
    _, match = matched("C[C@H](F)C[C@@H](F)CO", both)
    assert len(match.pairs) == 7 and not match.turned


def test_the_side_of_a_double_bond_and_of_a_ring():
    assert len(matched("C/C=C/CCO", template("C/C=C/CCO"))[1].pairs) == 6
    _, match = matched("C/C=C\\CCO", template("C/C=C/CCO"))
    assert {pair[0] for pair in match.pairs} == {1, 2, 3, 4, 5} and match.turned == (1,)
    _, match = matched("O[C@@H]1CCCC[C@H]1c1ccccc1", template("O[C@H]1CCCC[C@H]1c1ccccc1"))
    assert len(match.pairs) == 12 and 0 not in {pair[0] for pair in match.pairs}  # the hydroxyl group turns


def test_the_template_of_which_most_is_found_is_taken():
    small, large = template("CCCC"), template("CCCCO")
    _, match = matched("CCCCCCO", small, large)
    assert match.template is large
    _, match = matched("CCCCCC", small, large)
    assert match.template is small  # as much of both, and this is the first


def test_a_pattern_tells_what_is_kept():
    _, match = matched("CCOC(=O)c1ccccc1", template("COC(=O)c1ccccc1"), pattern="C(=O)O")
    assert match.pairs == ((2, 1), (3, 2), (4, 3))
    with pytest.raises(ValueError, match="no core has the pattern"):
        Cores([template("CCO")], Chem.MolFromSmarts("c1ccccc1"))
    assert Cores([template("CCO"), template("CCN")], Chem.MolFromSmarts("O")).lacking == ["CCN"]
    with pytest.raises(ValueError, match="does not have the pattern of the core"):
        matched("CCO", template("COC(=O)c1ccccc1"), pattern="C(=O)O")


def test_too_little_in_common_is_no_core():
    with pytest.raises(ValueError, match="no core has 3 heavy atoms or more"):
        Cores([template("CO")])
    assert Cores([template("CO"), AMIDE]).lacking == ["CO"]
    assert len(matched("CCO", template("CO"), pattern="CO")[1].pairs) == 2
    with pytest.raises(ValueError, match="has nothing in common with a core, or less than a third of it"):
        matched("CCO", AMIDE)
    with pytest.raises(ValueError, match="has 4 atoms in common with a core, which is less than a third of it"):
        matched("CC(=O)N", AMIDE)


def test_templates_without_places_are_refused(tmp_path):
    good = AMIDE.mol
    zero = with_positions(good, np.zeros((1, good.GetNumAtoms(), 3)))
    positions = good.GetConformer().GetPositions()
    positions[1] = positions[0]
    twice = with_positions(good, positions[None])
    flat = Chem.MolFromSmiles("CCC")
    rdDepictor.Compute2DCoords(flat)
    said = []
    path = tmp_path / "cores.sdf"
    path.write_text("".join(sdf_text(mol, 0) for mol in (zero, twice, flat, good)))
    (left,) = read_templates(str(path), said.append)
    assert left.name == AMIDE.name and len(said) == 3 and all("a core left out" in text for text in said)
    path.write_text("".join(sdf_text(mol, 0) for mol in (zero, flat)))
    with pytest.raises(ValueError, match=r"no core with 3D coordinates .*all atoms at one place"):
        read_templates(str(path), said.append)


def with_r_groups(smiles: str, *, v3000: bool = False) -> str:
    """A record of SDF: a molecule with chlorines for R groups, `R#` with numbers or `*`."""
    mol = Chem.RWMol(embedded(smiles))
    for number, atom in enumerate([a for a in mol.GetAtoms() if a.GetSymbol() == "Cl"], 1):
        if v3000:
            atom.SetAtomicNum(0)
        else:
            atom.SetUnsignedProp("_MolFileRLabel", number)
            atom.SetAtomicNum(0)
            atom.SetProp("dummyLabel", f"R{number}")
    mol.SetProp("_Name", "core")
    return Chem.MolToMolBlock(mol, forceV3000=v3000, kekulize=True) + "$$$$\n"


@pytest.mark.parametrize("v3000", [False, True])
def test_r_groups_of_a_core_match_what_hangs_there_and_are_not_kept(tmp_path, v3000):
    path, said = tmp_path / "core.sdf", []
    path.write_text(with_r_groups("NC(=O)c1ccc(Cl)cc1", v3000=v3000))
    (core,) = read_templates(str(path), said.append)
    assert said == [] and core.sites == {6} and core.mol.GetAtomWithIdx(7).GetAtomicNum() == 1
    for smiles, own in (("CCOc1ccc(C(N)=O)cc1", 3), ("NC(=O)c1ccccc1", 6), ("NC(=O)c1ccc(Br)cc1", 6)):
        mol, match = matched(smiles, core)
        assert len(match.pairs) == 9 and (own, 6) in match.pairs and match.remark(mol) == ""


def test_what_hangs_on_a_ring_lies_where_the_r_groups_are(tmp_path):
    path = tmp_path / "core.sdf"
    text, said = with_r_groups("Clc1cccc(Cl)c1"), []
    path.write_text(text + text.replace("M  RGP  2   1   1   7   2\n", "").replace("R#", "A ", 1))
    (core,) = read_templates(str(path), said.append)
    assert core.sites == {1, 5} and len(said) == 1 and "query atom" in said[0]
    _, match = matched("FC1=CC=CC(=C1)C#N", core)
    assert {theirs for own, theirs in match.pairs if own in (1, 5)} == {1, 5}
    _, match = matched("Fc1ccccc1C", core)  # one of the two has to hang elsewhere
    assert {theirs for own, theirs in match.pairs if own in (1, 6)} & {1, 5}


def test_r_groups_of_a_pattern():
    core = template("CNC(=O)c1cccc(C)c1")
    _, match = matched("OC(=O)c1cccc(Cl)c1", core, pattern="[*:1]c1cccc(*)c1")
    assert len(match.pairs) == 6 and {theirs for own, theirs in match.pairs if own in (3, 7)} == {4, 8}
    assert {pair[0] for pair in match.pairs} == {3, 4, 5, 6, 7, 9}
    _, match = matched("CCO", template("CCN"), pattern="C*")
    assert len(match.pairs) == 1
    with pytest.raises(ValueError, match="does not have the pattern of the core"):
        matched("CC#N", template("CC=N"), pattern="C~N*")  # nothing hangs there, no hydrogen either
    with pytest.raises(ValueError, match="R groups alone"):
        matched("CC", template("CC"), pattern="**")
