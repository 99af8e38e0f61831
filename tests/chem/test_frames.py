"""Frames of trajectories, written by mdtraj, and back from the store."""

import re

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from pyg_diffusion.chem.frames import prepare_frames
from pyg_diffusion.chem.records import RecordError
from pyg_diffusion.cli import main
from pyg_diffusion.data import MoleculeStore

md = pytest.importorskip("mdtraj")

BOX = 2.0  # nm
KETONE = "CC(=O)C[C@H](N)C(=O)[O-]"  # a residue that no table has


def topology_of(mol: Chem.Mol, residue: str, top=None):
    """An mdtraj topology of one residue with the molecule's bonds, added to `top`."""
    top = md.Topology() if top is None else top
    added = top.add_residue(residue, top.add_chain())
    atoms = [
        top.add_atom(f"{a.GetSymbol()}{a.GetIdx() + 1}", md.element.get_by_symbol(a.GetSymbol()), added)
        for a in mol.GetAtoms()
    ]
    for bond in mol.GetBonds():
        top.add_bond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return top


def embedded(smiles: str, count: int) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule and conformers in nm."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=7)
    return mol, np.array([c.GetPositions() for c in mol.GetConformers()]) / 10


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Twelve frames of two 2-butanols, three waters and a sodium, wrapped into a box; the topology has the first whole."""
    folder = tmp_path_factory.mktemp("boxed")
    mol, pos = embedded("CC[C@H](C)O", 12)
    water, at = embedded("O", 1)
    top = topology_of(mol, "SBU", topology_of(mol, "SBU"))
    for _ in range(3):
        topology_of(water, "HOH", top)
    top.add_atom("NA", md.element.sodium, top.add_residue("NA", top.add_chain()))
    solvent = np.concatenate([at[0] + 0.3 * k for k in range(1, 4)] + [[[1.5, 1.5, 0.5]]])
    xyz = np.stack([np.concatenate([p, pos[::-1][k] + [1.0, 0.8, 0], solvent]) for k, p in enumerate(pos)])
    cell = {"unitcell_lengths": np.full((12, 3), BOX), "unitcell_angles": np.full((12, 3), 90.0)}
    whole = md.Trajectory(xyz, top, time=2.0 * np.arange(12) + 10, **cell)
    whole[0].save_pdb(folder / "top.pdb")
    wrapped = md.Trajectory(xyz % BOX, top, time=whole.time, **cell)
    for suffix in ("xtc", "dcd", "pdb"):
        wrapped.save(str(folder / f"wrapped.{suffix}"))
    return folder, mol, pos


def distances(pos: np.ndarray) -> np.ndarray:
    return np.linalg.norm(pos[..., :, None, :] - pos[..., None, :, :], axis=-1)


@pytest.mark.parametrize("suffix", ["xtc", "dcd", "pdb"])
def test_frames_come_back_whole_without_solvent(boxed, suffix, tmp_path):
    folder, mol, pos = boxed
    report = prepare_frames([str(folder / f"wrapped.{suffix}")], str(tmp_path / "s.h5"), str(folder / "top.pdb"), level="MM")
    store = MoleculeStore(tmp_path / "s.h5")
    assert (len(store), store.count(0), report.frames, report.left_out) == (1, 24, 12, 0)
    found = store[0]
    assert Chem.CanonSmiles(found.smiles) == Chem.CanonSmiles("CC[C@H](C)O") and set(found.levels) == {"MM"}
    assert found.name == "SBU" and (found.z == [a.GetAtomicNum() for a in mol.GetAtoms()]).all()
    both = np.stack([pos, pos[::-1]], 1).reshape(24, -1, 3)  # the two of each frame, one after the other
    np.testing.assert_allclose(distances(np.array(found.pos)), distances(10 * both), atol=0.03)
    said = "\n".join(report.notes)
    assert "left out: 3 HOH, 1 NA, 10 of 40 atoms" in said and "made whole across the periodic box" in said
    assert "SBU, 2 of them, 15 atoms" in said and "12 frames" in said and "nm to Å" in said
    assert ("10 to 32 ps" in said) == (suffix == "xtc")


def test_strides_and_several_trajectories_in_order(boxed, tmp_path):
    folder, _, pos = boxed
    paths = [str(folder / "wrapped.xtc"), str(folder / "wrapped.dcd")]
    report = prepare_frames(paths, str(tmp_path / "s.h5"), str(folder / "top.pdb"), select="resid 0", stride=5)
    found = MoleculeStore(tmp_path / "s.h5")[0]
    np.testing.assert_allclose(distances(np.array(found.pos)), distances(10 * pos[[0, 5, 10, 0, 5, 10]]), atol=0.03)
    assert "3 frames, one of 5" in "\n".join(report.notes)


def test_a_template_says_what_no_table_does(tmp_path):
    mol, pos = embedded(KETONE, 4)
    top = topology_of(mol, "LIG")
    trajectory = md.Trajectory(pos, top)
    trajectory[0].save_pdb(tmp_path / "top.pdb")
    trajectory.save_dcd(str(tmp_path / "t.dcd"))
    arguments = ["prepare", str(tmp_path / "t.dcd"), "--top", str(tmp_path / "top.pdb"), "-o", str(tmp_path / "s.h5")]
    assert main([*arguments, "--template", KETONE]) == 0
    found = MoleculeStore(tmp_path / "s.h5")[0]
    assert Chem.CanonSmiles(found.smiles) == Chem.CanonSmiles(KETONE) and len(found.pos) == 4
    for template, said in ("CCO", "no --template has its atoms and bonds"), ("", "--template says its bonds, as a SMILES"):
        with pytest.raises(RecordError, match=rf"top.pdb: LIG: bonds cannot be told from its coordinates: .*; {said}"):
            prepare_frames([str(tmp_path / "t.dcd")], str(tmp_path / "s.h5"), str(tmp_path / "top.pdb"), template)


def peptide(swapped: bool) -> Chem.Mol:
    """Gly-Asp-His-Arg as it is in water, with the hydrogen of histidine at either nitrogen, and PDB names."""
    mol = Chem.RWMol(Chem.MolFromSequence("GDHR"))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    atoms = {(a.GetPDBResidueInfo().GetResidueNumber(), a.GetPDBResidueInfo().GetName().strip()): a for a in mol.GetAtoms()}
    ends = [atoms[name].GetIdx() for name in ((3, "ND1"), (3, "CE1"), (3, "NE2"))]
    bonds = [mol.GetBondBetweenAtoms(ends[1], ends[k]) for k in (0, 2)]
    if (bonds[1].GetBondType() == Chem.BondType.DOUBLE) != swapped:
        kinds = [bond.GetBondType() for bond in bonds]
        for bond, kind in zip(bonds, kinds[::-1], strict=True):
            bond.SetBondType(kind)
    for atom in atoms.values():
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(False)
    for name, charge in {(1, "N"): 1, (2, "OD2"): -1, (4, "OXT"): -1}.items():
        atoms[name].SetFormalCharge(charge)
    guanidine = next(b for b in atoms[4, "CZ"].GetBonds() if b.GetBondType() == Chem.BondType.DOUBLE)
    guanidine.GetOtherAtom(atoms[4, "CZ"]).SetFormalCharge(1)
    Chem.SanitizeMol(mol)
    full = Chem.AddHs(mol, addResidueInfo=True)
    residue = [atom.GetPDBResidueInfo().GetResidueNumber() for atom in full.GetAtoms()]
    full = Chem.RenumberAtoms(full, sorted(range(len(residue)), key=residue.__getitem__))
    rdDistGeom.EmbedMolecule(full, randomSeed=3)
    return full


@pytest.mark.parametrize("swapped", [False, True], ids=["one form of histidine", "the other"])
def test_standard_residues_have_their_bonds_and_charges(swapped, tmp_path):
    mol = peptide(swapped)
    (tmp_path / "top.pdb").write_text(Chem.MolToPDBBlock(mol, flavor=2))  # no CONECT lines
    md.load(str(tmp_path / "top.pdb")).save_xtc(str(tmp_path / "t.xtc"))
    report = prepare_frames([str(tmp_path / "t.xtc")], str(tmp_path / "s.h5"), str(tmp_path / "top.pdb"))
    found = MoleculeStore(tmp_path / "s.h5")[0]
    assert found.name == "GLY-ASP-HIS-ARG" and report.conformers == 1
    assert Chem.CanonSmiles(found.smiles) == Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def test_frames_that_are_none_are_counted(boxed, tmp_path):
    _, mol, pos = boxed
    top = topology_of(mol, "SBU")
    broken = pos.copy()
    broken[3, 0] += 1.0
    broken[5] *= [-1, 1, 1]
    broken[7, 2] = np.nan
    whole = md.Trajectory(broken, top)
    whole[0].save_pdb(tmp_path / "top.pdb")
    whole.save_dcd(str(tmp_path / "t.dcd"))
    report = prepare_frames([str(tmp_path / "t.dcd")], str(tmp_path / "s.h5"), str(tmp_path / "top.pdb"))
    assert (report.conformers, report.left_out) == (9, 3)
    said = "\n".join(report.notes)
    assert "left out for a bond that is none: 1" in said and "other stereo than the first frame: 1" in said
    assert "coordinates that are no numbers: 1" in said


def test_bad_input_is_one_sentence(boxed, tmp_path, capsys):
    folder, mol, pos = boxed
    top, xtc, out = str(folder / "top.pdb"), str(folder / "wrapped.xtc"), str(tmp_path / "s.h5")
    md.Trajectory(pos, topology_of(mol, "SBU"))[0].save_pdb(tmp_path / "other.pdb")
    (tmp_path / "empty.xtc").touch()
    (tmp_path / "text.dcd").write_text("no trajectory\n")
    (tmp_path / "text.pdb").write_text("no topology\n")
    md.Trajectory(np.zeros((1, 3, 3)), topology_of(embedded("O", 1)[0], "HOH")).save_pdb(tmp_path / "water.pdb")
    md.Trajectory(np.zeros((1, 3, 3)), topology_of(embedded("O", 1)[0], "HOH")).save_dcd(str(tmp_path / "water.dcd"))
    for arguments, said in {
        (xtc, "--top", str(tmp_path / "other.pdb")): r"wrapped.xtc: frames of 40 atoms, and .*other.pdb has 15: give the",
        (str(tmp_path / "none.xtc"), "--top", top): r"none.xtc: no such file",
        (xtc, "--top", str(tmp_path / "none.pdb")): r"none.pdb: no such file",
        (str(tmp_path / "empty.xtc"), "--top", top): r"empty.xtc: no trajectory that mdtraj reads: the file is empty",
        (str(tmp_path / "text.dcd"), "--top", top): r"text.dcd: no trajectory that mdtraj reads: ",
        (xtc, "--top", str(tmp_path / "text.pdb")): r"text.pdb: no topology that mdtraj reads: ",
        (str(tmp_path / "water.dcd"), "--top", str(tmp_path / "water.pdb")): r"nothing but water and single atoms; --select",
        (xtc, "--top", top, "--select", "resname ABC"): r"--select 'resname ABC': no atom of .* is so",
        (xtc, "--top", top, "--select", "resnam="): r"--select 'resnam=': not in mdtraj's language",
        (xtc, "--top", top, "--template", "none of it"): r"--template 'none of it': neither a file nor a SMILES",
        (xtc,): r"wrapped.xtc: a trajectory says no molecule: give its topology, --top TOP.pdb",
        (xtc, "--stride", "2"): r"--stride goes with --top TOP.pdb",
        (xtc, "--top", top, "--conformers", "3"): r"--conformers is not for trajectories",
        (top.replace("top.pdb", "top.sdf"), "--top", top): r"top.sdf: no such file",
    }.items():
        assert main(["prepare", *arguments, "-o", out]) in (1, 2)
        error = capsys.readouterr().err
        assert re.search(said, error), error
        assert error.count("\n") <= 2 and "Traceback" not in error
    assert not (tmp_path / "s.h5").exists()
