"""Stereo that a small bridged ring cannot have is refused with a reason that says so, and its possible twin is made."""

import pytest
from rdkit import Chem

from pyg_diffusion import ConformerGenerator, embed_multiple_confs
from pyg_diffusion.chem import Soundness, molecule_from_mol


@pytest.fixture(scope="module")
def generator() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained(device="cpu")


# the bridgeheads of norbornane and bicyclo[2.2.2]octane point outwards; an in,out isomer of such small cages does not exist
@pytest.mark.parametrize(
    "smiles, exists",
    [
        ("O[C@@H]1C[C@H]2CC[C@@H]1C2", True),
        ("O[C@@H]1C[C@H]2CC[C@H]1C2", False),
        ("F[C@H]1C[C@@H]2CC[C@@H]1CC2", False),
        ("F[C@H]1C[C@H]2CC[C@@H]1CC2", True),
    ],
)
def test_bridgeheads(generator, smiles, exists):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    (result,) = generator.sample([molecule_from_mol(mol)], 2, seed=1)
    assert len(result.positions) == (2 if exists else 0)
    assert exists == (not result.problem)
    if not exists:
        assert "stereo" in result.problem and result.evaluations > 2 * 2 * 8  # more than two draws of each
    assert all(row == [] for row in Soundness(molecule_from_mol(mol)).faults(result.positions))


def test_kept_if_asked_for_they_are_marked_and_not_trusted(generator):
    mol = Chem.AddHs(Chem.MolFromSmiles("F[C@H]1C[C@@H]2CC[C@@H]1CC2"))
    keeping = ConformerGenerator(generator.denoiser, generator.card, device="cpu", unsound="keep")
    (result,) = keeping.sample([molecule_from_mol(mol)], 16, seed=1)
    assert len(result.positions) == len(result.faults) > 0 and all(result.faults)
    assert (result.confidence <= 0.1).all() and "Å" in result.faults[0] + "Å" * ("°" in result.faults[0])
    with pytest.warns(UserWarning, match="no (sound )?conformer of"):
        assert embed_multiple_confs(mol, 1, generator=generator) == []
    with pytest.raises(ValueError, match="unsound must be one of refuse, keep"):
        ConformerGenerator(generator.denoiser, generator.card, unsound="perhaps")
