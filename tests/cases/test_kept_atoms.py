"""`--keep` anywhere in space: in a crystal's frame as at the origin; what has no coordinates is named, and ends nothing."""

import io

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.sample import Inpainted
from pyg_diffusion.spectral.cg import ConvergenceError
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.sample import Request, Sink, sample_records

RING = Chem.MolFromSmarts("[R]~[R]~[R]")


@pytest.fixture(scope="module")
def generator() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained(unsound="keep")


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", smiles)
    return mol


def sampled(generator: ConformerGenerator, path, mols, n=2) -> tuple[list[Chem.Mol], dict[str, str], list[str]]:
    """(what was written, what was skipped, remarks) for a file of these molecules."""
    path.write_text("".join(sdf_text(mol, 0) for mol in mols))
    out, skipped, said = io.StringIO(), {}, []
    sink = Sink(out, skipped.__setitem__, said.append)
    sample_records(generator, [str(path)], Request(n=n, keep=RING), sink, progress=False)
    supplier = Chem.SDMolSupplier()
    supplier.SetData(out.getvalue(), removeHs=False)
    return list(supplier), skipped, said


def positions(mol: Chem.Mol) -> np.ndarray:
    return mol.GetConformer().GetPositions()


def test_a_moved_file_gives_the_moved_conformers(generator, tmp_path):
    mols = [embedded("CCC1CC1C"), embedded("OCc1ccc[nH]1")]
    here, _, _ = sampled(generator, tmp_path / "here.sdf", mols, n=1)
    assert len(here) == 2
    for shift in ([8.0, 8.0, 8.0], [15.0, 60.0, 33.0], [-900.0, 2000.0, 700.0]):
        moved = [with_positions(mol, positions(mol)[None] + shift) for mol in mols]
        there, skipped, _ = sampled(generator, tmp_path / "there.sdf", moved, n=1)
        assert not skipped and len(there) == len(here)
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(positions(b) - shift, positions(a), rtol=0, atol=1e-3)
        match = list(mols[0].GetSubstructMatch(RING))
        np.testing.assert_allclose(positions(there[0])[match], positions(moved[0])[match], rtol=0, atol=2e-3)


def test_positions_far_from_the_origin_are_kept_by_the_generator(generator):
    mol = embedded("CCC1CC1C")
    match = list(mol.GetSubstructMatch(RING))
    fixed = np.full((mol.GetNumAtoms(), 3), np.nan)
    fixed[match] = positions(mol)[match]
    near, far = (generator.sample([molecule_from_mol(mol)], 2, fixed=[fixed + shift])[0] for shift in (0.0, 1e6))
    assert len(near.positions) == len(far.positions) == 2 and far.right_at_once == near.right_at_once
    # a shift of 1e6 costs ten digits, and mending stops within .03 Å
    np.testing.assert_allclose(far.positions - 1e6, near.positions, rtol=0, atol=1e-3)
    fixed[match[1]] = fixed[match[0]]
    with pytest.raises(ValueError, match=rf"atoms {match[0] + 1} and {match[1] + 1} to keep lie in one place"):
        generator.sample([molecule_from_mol(mol)], 1, fixed=[fixed])


def test_what_hangs_at_kept_atoms_turns_with_them(generator):
    """Three atoms of a ring of four: the others take the orientation that these have, and no bond is strained."""
    mol = embedded("CCO[C@H]1CC[C@H]1O")
    fixed, match = np.full((mol.GetNumAtoms(), 3), np.nan), [3, 4, 5]
    fixed[match] = positions(mol)[match]
    (result,) = generator.sample([molecule_from_mol(mol)], 6, fixed=[fixed])
    assert result.sound_at_once >= 4 and result.mended <= 2
    np.testing.assert_allclose(result.positions[:, match] - fixed[match], 0, rtol=0, atol=1e-3)


def test_hydrogens_follow_heavy_atoms_that_are_kept_in_a_geometry_of_another_kind(generator):
    """Bonds of the distance geometry are up to .1 Å off the model's own."""
    mol = embedded("C[C@H](N)C(=O)NCc1ccccc1")
    heavy = np.array([atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()])
    fixed = np.where(heavy[:, None], positions(mol), np.nan)
    (result,) = generator.sample([molecule_from_mol(mol)], 8, seed=1, fixed=[fixed], max_attempts=1)
    assert result.right_at_once == 8 and result.sound_at_once >= 6


def test_a_draw_that_does_not_reach_what_is_kept_is_drawn_again(generator, monkeypatch):
    draws: list[int] = []
    condition = Inpainted.condition

    def first_fails(self, *args):
        draws.append(1)
        if len(draws) == 1:
            raise ConvergenceError("for a test")
        return condition(self, *args)

    monkeypatch.setattr(Inpainted, "condition", first_fails)
    mol = embedded("CC1CC1C")
    (result,) = generator.sample([molecule_from_mol(mol)], 1, fixed=[positions(mol)])
    assert len(result.positions) == 1 and not result.problem and result.right_at_once == 0


def test_what_cannot_be_kept_is_named_and_ends_nothing(generator, tmp_path):
    zero, twice, chain, good = (embedded(s) for s in ("C1CC1", "CC1CC1", "CCO", "NC1CCC1"))
    zero = with_positions(zero, np.zeros((1, zero.GetNumAtoms(), 3)))
    one, other = twice.GetSubstructMatch(RING)[:2]
    pos = positions(twice)
    pos[other] = pos[one]
    twice = with_positions(twice, pos[None])
    flat = embedded("FC1CC1")
    flat = with_positions(flat, positions(flat)[None] * [1, 1, 0])
    flat.GetConformer().Set3D(False)
    written, skipped, _ = sampled(generator, tmp_path / "mixed.sdf", [zero, twice, chain, flat, good])
    assert {mol.GetProp("_Name") for mol in written} == {"NC1CCC1"} and len(written) == 2
    assert skipped["C1CC1"] == "has no coordinates to keep: all its atoms lie in one place"
    assert skipped["CC1CC1"] == f"has no coordinates to keep: its atoms C{one + 1} and C{other + 1} lie in one place"
    assert skipped["CCO"] == "has no atoms that match what to keep"
    assert skipped["FC1CC1"] == "has no 3D coordinates to keep atoms of"
    assert len(skipped) == 4


def test_a_system_that_is_not_solved_costs_its_own_molecule_only(generator, monkeypatch):
    """With no iteration allowed nothing can be kept, and nothing needs to be of the molecule that is free."""
    monkeypatch.setattr(Inpainted, "max_iterations", 1)
    mol, free = embedded("CCC1CC1C"), embedded("CCO")
    fixed = positions(mol).copy()
    fixed[8:] = np.nan
    kept, other = generator.sample([molecule_from_mol(m) for m in (mol, free)], 2, fixed=[fixed, None])
    assert len(kept.positions) == 0 and "could not be kept" in kept.problem
    assert len(other.positions) == 2 and not other.problem
