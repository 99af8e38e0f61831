"""Cages come out closed, long chains without a broken bond: what no draw gets right at once is mended and counted."""

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion import ConformerGenerator
from pyg_diffusion.chem import Soundness, molecule_from_mol
from pyg_diffusion.cli import main

C60 = (
    "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8c4c4c9c5"
    "c1c1c6c2c3c41"
)


@pytest.fixture(scope="module")
def generator() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained(device="cpu", confidence=False)


def made(generator, smiles, n=1):
    molecule = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    (result,) = generator.sample([molecule], n, seed=0)
    assert len(result.positions) == n, result.problem
    assert Soundness(molecule).faults(result.positions) == [[]] * n
    return molecule, result


def test_c60_is_a_closed_cage_of_seven_angstrom(generator):
    _, result = made(generator, C60)
    radius = np.linalg.norm(result.positions[0] - result.positions[0].mean(0), axis=1)
    assert radius.min() > 3.1 and 3.3 < radius.mean() < 3.7 and radius.max() < 3.8


@pytest.mark.parametrize("smiles, length, angle", [("C12C3C4C1C5C2C3C45", 1.57, 90), ("C1C2CC3CC1CC(C2)C3", 1.54, 109.5)])
def test_cages_without_a_torsion(generator, smiles, length, angle):
    molecule, result = made(generator, smiles, 2)
    heavy = (molecule.z[molecule.bond_index.astype(int)] > 1).all(1)
    i, j = molecule.bond_index.astype(int)[heavy].T
    lengths = np.linalg.norm(result.positions[:, i] - result.positions[:, j], axis=-1)
    assert np.abs(lengths - length).max() < 0.08


def test_a_chain_far_longer_than_training_has_seen(generator):
    molecule, result = made(generator, "C" * 60)
    i, j = molecule.bond_index.astype(int).T
    lengths = np.linalg.norm(result.positions[:, i] - result.positions[:, j], axis=-1)[0]
    both = (molecule.z[molecule.bond_index.astype(int)] > 1).all(1)
    assert np.abs(lengths[both] - 1.53).max() < 0.15 and np.abs(lengths[~both] - 1.09).max() < 0.11
    assert result.redrawn == 0 or result.mended == 1


def test_smiles_longer_than_a_name_of_a_file_may_be(tmp_path, capsys):
    out, smiles = tmp_path / "out.sdf", "[H]" + "C([H])([H])" * 25 + "[H] long"
    assert len(smiles) > 255
    assert main(["sample", smiles, "-n", "1", "--steps", "2", "--unsound", "keep", "-o", str(out), "--quiet"]) == 0
    assert out.read_text(encoding="utf-8").startswith("long\n")
    assert main(["sample", "C", "-n", "1", "-o", str(tmp_path / (300 * "x")), "--quiet"]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_what_no_memory_has_room_for_is_named_before_any_work(tmp_path, monkeypatch, capsys):
    source, out, failed = tmp_path / "in.smi", tmp_path / "out.sdf", tmp_path / "failed.smi"
    source.write_text("C" * 10_000 + " long\nCC ethane\n")
    monkeypatch.setattr("pyg_diffusion.tasks.molecules.sharing.largest", lambda: 3_000)
    words = ["sample", str(source), "-n", "1", "--steps", "2", "-o", str(out), "--failed", str(failed), "--quiet"]
    assert main(words) == 0
    assert "1 molecules done, 1 skipped: long" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8").startswith("ethane\n")
    smiles, _, reason = failed.read_text(encoding="utf-8").partition(" ")
    assert smiles == "C" * 10_000
    assert reason == "long: 10000 atoms other than hydrogen, and the memory has room for 3000\n"
