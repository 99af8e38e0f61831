"""`--core`, `--around` and `--lock` through the command line: places far from the origin, what is said, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

from pyg_diffusion.chem import molecule_from_mol, with_positions
from pyg_diffusion.chem.acceptance import Acceptance
from pyg_diffusion.chem.relax import relax_mmff
from pyg_diffusion.chem.torsions import torsion
from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.cli import main
from pyg_diffusion.tasks.molecules import sample
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.kept import Pose

CRYSTAL = np.array([412.3, -88.1, 230.7])
AMIDE, ETHER = "C[C@H](N)C(=O)NCc1ccccc1", "CN1CCC(OCC)CC1"


def minimum(smiles: str, shift: np.ndarray = CRYSTAL) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert EmbedMolecule(mol, randomSeed=1) == 0
    mol.SetProp("_Name", smiles)
    return with_positions(mol, (relax_mmff(mol).pos + shift)[None])


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cores") / "cores.sdf"
    path.write_text("".join(sdf_text(minimum(smiles), 0) for smiles in (AMIDE, ETHER)))
    return path


def read(path: Path) -> list[Chem.Mol]:
    return list(Chem.SDMolSupplier(str(path), removeHs=False))


def sampled(tmp_path: Path, *words: str) -> list[Chem.Mol]:
    out = tmp_path / "out.sdf"
    out.unlink(missing_ok=True)
    assert main(["sample", *words, "--quiet", "-o", str(out)]) == 0
    return read(out)


def test_the_core_lies_where_the_template_has_it(templates, tmp_path, capsys):
    inputs = ["C[C@H](N)C(=O)NCc1ccc(Cl)cc1 chloro", "C[C@@H](N)C(=O)NCc1ccccc1 other", "CCN1CCC(OCC)CC1 ether", "CCO none"]
    failed = tmp_path / "failed.smi"
    mols = sampled(
        tmp_path, *inputs, "--core", str(templates), "-n", "2", "--preset", "docking", "--prune", "0", "--relax", "MMFF94s",
        "--failed", str(failed),
    )  # fmt: skip
    assert [mol.GetProp("_Name") for mol in mols] == [name for name in ("chloro", "other", "ether") for _ in range(2)]
    places = {mol.GetProp("_Name"): mol for mol in read(templates)}
    for mol in mols:
        template, own = places[mol.GetProp("core")], [int(k) - 1 for k in mol.GetProp("core_atoms").split()]
        match = template.GetConformer().GetPositions()
        apart = np.linalg.norm(mol.GetConformer().GetPositions()[own][:, None] - match, axis=-1)
        assert apart.min(1).max() < 1e-3 and len(set(apart.argmin(1))) == len(own) >= 9
        assert mol.GetProp("relaxed") in ("MMFF94s", "no")
        molecule = molecule_from_mol(mol, conformers=False)
        assert Acceptance(molecule).right(mol.GetConformer().GetPositions()[None])[0]
    assert any(mol.GetProp("relaxed") == "MMFF94s" for mol in mols)
    hands = {mol.GetProp("_Name"): Chem.FindMolChiralCenters(Chem.RemoveHs(mol)) for mol in mols}
    assert hands["chloro"] != hands["other"]
    told = capsys.readouterr().err
    assert f"other: core {AMIDE}, 12 atoms kept; C1 of it have no match; the other hand there at C2" in told
    reason = "none: has 3 atoms in common with a core, which is less than a third of it"
    assert f"skipped {reason}" in told and failed.read_text() == f"CCO {reason}\n"


def test_a_pattern_and_isomers(templates, tmp_path):
    words = ["CC(N)C(=O)NC name", "--core", str(templates), "--core-smarts", "NC(=O)C", "--stereo", "enumerate", "-n", "1"]
    mols = sampled(tmp_path, *words, "--unsound", "keep")
    assert [mol.GetProp("_Name") for mol in mols] == ["name isomer 1", "name isomer 2"]
    assert all(len(mol.GetProp("core_atoms").split()) == 4 for mol in mols)


def test_poses_are_stayed_near_and_torsions_held(templates, tmp_path):
    poses = {mol.GetProp("_Name"): mol.GetConformer().GetPositions() for mol in read(templates)}
    common = ["--around", str(templates), "-n", "4", "--oversample", "1", "--seed", "3", "--no-confidence"]
    near = sampled(tmp_path, *common, "--spread", "0.1")
    assert [mol.GetProp("pose") for mol in near] == ["1"] * 4 + ["2"] * 4
    far = sampled(tmp_path, *common, "--spread", "1.2")
    rmsd = {n: np.median([float(mol.GetProp("rmsd_to_pose")) for mol in mols]) for n, mols in (("near", near), ("far", far))}
    assert 0.03 < rmsd["near"] < 0.3 < 0.6 < rmsd["far"] < 2.2
    for mol in [*near, *far]:
        pose, pos = poses[mol.GetProp("_Name")], mol.GetConformer().GetPositions()
        heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
        np.testing.assert_allclose(pos[heavy].mean(0), pose[heavy].mean(0), atol=2e-3)  # superposed


def test_locked_torsions_are_those_of_the_pose_after_relaxing_too(templates, tmp_path):
    pose = next(mol for mol in read(templates) if mol.GetProp("_Name") == ETHER)
    path, row = tmp_path / "pose.sdf", (4, 5, 6, 7)
    path.write_text(sdf_text(pose, 0))

    def off(mols: list[Chem.Mol]) -> float:
        before = torsion(pose.GetConformer().GetPositions(), row)
        return max(abs((torsion(mol.GetConformer().GetPositions(), row) - before + 180) % 360 - 180) for mol in mols)

    common = ["--around", str(path), "-n", "2", "--spread", "1.2", "--no-confidence"]
    for more in ([], ["--relax", "MMFF94s"]):
        mols = sampled(tmp_path, *common, "--lock", "7,6", *more)
        assert len(mols) == 2 and off(mols) < 0.02  # written to 1e-4 Å
        for mol in mols:
            molecule = molecule_from_mol(mol, conformers=False)
            assert Acceptance(molecule)(mol.GetConformer().GetPositions()[None])[1][0] == 0
    assert off(sampled(tmp_path, *common)) > 2


def test_a_salt_stays_in_its_places():
    salt = Chem.AddHs(Chem.MolFromSmiles("CC(=O)[O-].[Na+].CCN"))
    assert EmbedMolecule(salt, randomSeed=2) == 0
    pose = salt.GetConformer().GetPositions() + CRYSTAL
    pose[4] += [0, 0, 8]
    pose[np.isin(np.arange(len(pose)), [5, 6, 7, *range(11, len(pose))])] += [8, 0, 0]  # RDKit lays fragments on each other
    generator = ConformerGenerator.from_pretrained(device="cpu", confidence=False)
    (result,) = generator.sample([molecule_from_mol(salt, conformers=False)], 2, seed=1, around=[Pose(pose, 0.1)])
    assert len(result.positions) == 2
    np.testing.assert_array_equal(result.positions[:, 4], [pose[4]] * 2)
    heavy = [a.GetIdx() for a in salt.GetAtoms() if a.GetAtomicNum() > 1]
    assert np.linalg.norm(result.positions[:, heavy] - pose[heavy], axis=-1).max() < 1.0
    with pytest.raises(ValueError, match="a pose must be"):
        generator.sample([molecule_from_mol(salt, conformers=False)], 1, around=[Pose(pose[:3], 0.1)])


def test_a_cut_job_goes_on_where_its_cores_are_the_same(templates, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sample, "CHUNK", 1)
    cores, out = tmp_path / "cores.sdf", tmp_path / "out.sdf"
    cores.write_text(templates.read_text())
    words = ["sample", "CCN1CCC(OCC)CC1 a", "CN1CCC(OC)CC1 b", "--core", str(cores), "-n", "1", "--steps", "3", "--quiet"]
    words += ["--no-confidence", "--unsound", "keep", "--attempts", "1", "-o", str(out)]
    assert main(words) == 0
    whole, take, taken = out.read_text(), sample.Sink.take, []

    def cut(self, entry, request, result):
        taken.append(entry)
        if len(taken) > 1:
            raise KeyboardInterrupt
        take(self, entry, request, result)

    monkeypatch.setattr(sample.Sink, "take", cut)
    assert main(words) == 130
    monkeypatch.setattr(sample.Sink, "take", take)
    cores.write_text(templates.read_text() + "\n")
    assert main([*words, "--resume"]) == 2 and "another size of the inputs" in capsys.readouterr().err
    cores.write_text(templates.read_text())
    assert main([*words, "--resume"]) == 0
    assert out.read_text() == whole and whole.count("$$$$") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("CCO --around P.sdf", "--around P.sdf brings its molecules: leave CCO out"),
        ("--around P.sdf --spread 9", "--spread: a spread is between"),
        ("CCO --lock 1,2", "--lock goes with --around POSE.sdf"),
        ("CCO --spread 0.3", "--spread goes with --around POSE.sdf"),
        ("CCO --core P.sdf --keep C", "--core says where atoms lie by a template"),
        ("CCO --core-smarts C", "--core-smarts says what of --core is kept"),
        ("CCO --core P.sdf --core-smarts (", "--core-smarts '(': not a SMARTS pattern"),
        ("--around P.sdf --tautomers all", "--tautomers makes other molecules than the poses"),
        ("--around P.sdf --lock c1ccccc1", "--lock: 'c1ccccc1' must be a pattern of two bonded atoms"),
        ("--around P.sdf --lock 1,x", "--lock: '1,x' is neither two numbers of atoms"),
    ],
)
def test_what_does_not_go_together_is_refused(words, told, capsys):
    assert main(["sample", *words.split(), "-o", "never.sdf"]) == 2
    assert told in capsys.readouterr().err
    assert not Path("never.sdf").exists()
