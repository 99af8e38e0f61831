"""A SMILES that is refused comes with RDKit's reason and the place, as an SDF record does."""

import pytest
from rdkit import Chem

from pyg_diffusion.chem.sdf import record_from_block
from pyg_diffusion.chem.smiles import record_from_smiles

HINT = "an aromatic nitrogen may lack its hydrogen: [nH]"


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("Cc1ccn(C)c1C(F)(F)(F)F", "valence for atom # 7 C, 5, is greater than permitted (counted from 0)"),
        ("CO(C)C", "valence for atom # 1 O, 3, is greater"),
        ("Nc1ccnc1", f"Can't kekulize mol. Unkekulized atoms: 1 2 3 4 5 (counted from 0); {HINT}"),
        ("c1cccc1", "Unkekulized atoms: 0 1 2 3 4 (counted from 0)"),
        ("C1CCC2CC1", "ring not closed"),
        ("CC(C(=O)N", "parenthesis at 3 not closed"),
        ("CCC)C", "extra close parentheses"),
        ("CCQC", "no element Q at 3"),
        ("C[Zz]C", "no element Zz at 3"),
        ("CCNaC", "Na at 3 needs brackets: [Na]"),
        ("CC=", "syntax error at 3"),
        ("CCO>>CC=O", "a reaction, not a molecule"),
        ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "an InChIKey"),
        ("CC(=O)[O\u2013]", "U+2013 (EN DASH) at 9 is in no SMILES; is '-' meant?"),
        ("CC\x00O", "U+0000 (a control character) at 3"),
        ("InChI=1S/C2H6O/nonsense", "not a valid InChI"),
        ("C" * 100_001, "100001 characters; the longest that is read has 100000"),
        ("C(" * 30_000, "parenthesis at 2 not closed"),
    ],
)
def test_the_reason_names_the_place(smiles, reason):
    record = record_from_smiles(0, smiles, "some name")
    assert record.mol is None and record.name == "some name"
    assert reason in record.problem and "\n" not in record.problem and len(record.problem) < 250
    if "kekulize" in reason and HINT not in reason:
        assert HINT not in record.problem


def test_an_sdf_record_gets_the_same_reason():
    for smiles in ("Nc1ccnc1", "C[N](C)(C)C"):
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
        mol.AddConformer(Chem.Conformer(mol.GetNumAtoms()))
        block = record_from_block(0, Chem.MolToMolBlock(mol, kekulize=False), False)
        assert block.mol is None and block.problem == record_from_smiles(0, smiles).problem


def test_what_rdkit_puts_right_is_made(capfd):
    for smiles in ("CN(=O)=O", "CN=[N]#N", "c1c[nH]cn1"):
        record = record_from_smiles(0, smiles)
        assert record.mol is not None, record.problem
    record_from_smiles(0, "CC)C")
    assert capfd.readouterr().err == ""  # what RDKit says is in the reason
