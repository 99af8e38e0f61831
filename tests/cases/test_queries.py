"""What is no molecule: dummies, R groups and queries are refused by name, with the atom."""

import pytest
from rdkit import Chem

from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.chem.records import indefinite


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("*C1CC1", "dummy atom (*) at 1 of 4 atoms"),
        ("OCC[3*]", "dummy atom (*) at 4 of 4 atoms"),
        ("CC[*:7]", "dummy atom (*) at 3 of 3 atoms"),
        ("CN~C", "query bond (~) between atoms 2 and 3"),
        ("CO* |$;;Q_e$|", "query atom ([!#6&!#1]) at 3 of 3 atoms"),
        ("NCC |s:1:2|", "query atom ([#6&d2]) at 2 of 3 atoms"),
        ("CNC |LN:1:1.3|", "link node: a chain of variable length"),
        ("[#6]C", ""),
        ("[2H]O[2H]", ""),
        ("C->[Fe]", ""),
    ],
)
def test_the_atom_or_bond_is_named(smiles, reason):
    mol = Chem.MolFromSmiles(smiles)
    assert indefinite(mol) == reason
    if reason:
        with pytest.raises(ValueError, match=r"it has no geometry$"):
            molecule_from_mol(Chem.AddHs(mol))


@pytest.mark.parametrize(
    ("symbol", "last", "reason"),
    [
        ("R#", "M  RGP  1   2   5", "dummy atom (R5) at 2 of 2 atoms"),
        ("A ", "", "query atom ([!#1]) at 2 of 2 atoms"),
        ("Q ", "", "query atom ([!#6&!#1]) at 2 of 2 atoms"),
        ("L ", "M  ALS   2  2 F Cl  Br  ", "query atom ([#17,#35]) at 2 of 2 atoms"),
        ("O ", "M  SUB  1   2   1", "query atom ([#8&D1]) at 2 of 2 atoms"),
        ("O ", "", ""),
    ],
)
def test_in_mol_blocks(symbol, last, reason):
    atom = "    {:.4f}    0.0000    0.0000 {} 0  0"
    counts = "  2  1  0  0  0  0            999 V2000"
    lines = ["", "", "", counts, atom.format(0, "C "), atom.format(1.4, symbol), "  1  2  1  0"]
    text = "\n".join([*lines, *([last] if last else []), "M  END\n"])
    mol = Chem.MolFromMolBlock(text, sanitize=False)
    assert indefinite(mol) == reason
