"""`evaluate` on what has no heavy atom, one, no bond, or no Kekulé structure: finite figures, plain JSON, nothing lost."""

import json

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem import with_positions
from pyg_diffusion.cli import main

PLACES = {  # SMILES with its hydrogens -> positions in Å
    "[H][H]": [[0, 0, 0], [0.74, 0, 0]],
    "[He]": [[0, 0, 0]],
    "[Na+]": [[1, 2, 3]],
    "N#N": [[0, 0, 0], [1.1, 0, 0]],
    "[H]O[H]": [[0.76, 0.59, 0], [0, 0, 0], [-0.76, 0.59, 0]],
}


def molecules() -> dict[str, Chem.Mol]:
    options = Chem.SmilesParserParams()
    options.removeHs = False
    out = {text: with_positions(Chem.MolFromSmiles(text, options), np.array([pos], float)) for text, pos in PLACES.items()}
    angles = 0.4 * np.pi * np.arange(5)
    ring = np.stack([1.21 * np.cos(angles), 1.21 * np.sin(angles), np.full(5, 1.66)], 1)
    metallocene = Chem.RWMol()
    for k in range(11):
        atom = Chem.Atom(6 if k < 10 else 26)
        atom.SetFormalCharge({0: -1, 5: -1, 10: 2}.get(k, 0))
        metallocene.AddAtom(atom)
    for k in range(10):
        metallocene.AddBond(k, k - k % 5 + (k + 1) % 5, Chem.BondType.DOUBLE if k % 5 in (1, 3) else Chem.BondType.SINGLE)
        metallocene.AddBond(k, 10, Chem.BondType.DATIVE)
    mol = with_positions(metallocene.GetMol(), np.concatenate([ring, ring * [1, 1, -1], np.zeros((1, 3))])[None])
    Chem.SanitizeMol(mol)
    return out | {"ferrocene": Chem.AddHs(mol, addCoords=True)}


def write(path, scale: float) -> str:
    with Chem.SDWriter(str(path)) as writer:
        writer.SetKekulize(False)
        for name, mol in molecules().items():
            made = with_positions(mol, scale * mol.GetConformer().GetPositions()[None])
            made.SetProp("_Name", name)
            writer.write(made)
    return str(path)


def refuse(text: str) -> None:
    raise AssertionError(f"{text} in JSON")


def test_small_and_odd_references(tmp_path, capsys):
    reference, made = write(tmp_path / "reference.sdf", 1.0), write(tmp_path / "made.sdf", 1.04)
    result = tmp_path / "result.json"
    job = ["evaluate", made, reference, "--busters", "6", "--compare", "etkdg", "mmff4", "-j", "1", "-o", str(result)]
    assert main(job) == 0
    found = json.loads(result.read_text(), parse_constant=refuse)
    ours = {m["name"]: m["recall"] for m in found["per_molecule"]["pyg_diffusion"]}
    assert list(ours) == [*PLACES, "ferrocene"]
    assert ours["[He]"] == ours["[Na+]"] == ours["[H]O[H]"] == [0.0]  # one heavy atom
    assert ours["[H][H]"] == [pytest.approx(0.02 * 0.74, abs=1e-4)]  # each atom moves by half the change
    assert ours["N#N"] == [pytest.approx(0.02 * 1.1, abs=1e-4)]
    assert ours["ferrocene"] == [pytest.approx(0.04 * np.hypot(1.21, 1.66) * np.sqrt(10 / 11), abs=1e-3)]
    assert found["methods"]["pyg_diffusion"]["yield"] == 0.5 and not found["problems"]["pyg_diffusion"]
    heard = capsys.readouterr().err.splitlines()
    said = [line for line in heard if line.startswith("RDKit, ")]
    assert said and len(said) == len({line.partition(": ")[2] for line in said})  # each once, with its number
    assert not any(line.startswith("[") for line in heard)  # nothing of RDKit's own
