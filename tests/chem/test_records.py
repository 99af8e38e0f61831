import gzip
import io
import sys
from functools import cache

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion.chem import RecordError, molecule_from_mol, read_records, read_sdf, read_smiles
from pyg_diffusion.chem.formats import SDF, SMILES, format_of
from pyg_diffusion.data.schema import ATOM_FEATURES, ELEMENTS


@cache
def block(smiles: str, name: str = "mol", hydrogens: bool = True, seed: int = 1, v3000: bool = False) -> str:
    """A mol block with ETKDG coordinates."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed, useRandomCoords=True) == 0
    for k, fragment in enumerate(Chem.GetMolFrags(mol)):  # ETKDG may put lone ions into one place
        for i in fragment:
            p = mol.GetConformer().GetAtomPosition(i)
            mol.GetConformer().SetAtomPosition(i, [p.x + 4 * k, p.y, p.z])
    mol = mol if hydrogens else Chem.RemoveHs(mol)
    mol.SetProp("_Name", name)
    return Chem.MolToMolBlock(mol, forceV3000=v3000)


def flat_block(smiles: str, coordinates: bool) -> str:
    mol = Chem.MolFromSmiles(smiles)
    if coordinates:
        AllChem.Compute2DCoords(mol)
    mol.SetProp("_Name", "flat")
    return Chem.MolToMolBlock(mol)


@pytest.fixture
def sdf(tmp_path):
    def write(*blocks: str, name: str = "mols.sdf") -> str:
        path = tmp_path / name
        text = "".join(b + "$$$$\n" for b in blocks).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return str(path)

    return write


def only(path: str, need_3d: bool = True):
    (record,) = read_sdf(path, need_3d)
    return record


def test_a_good_record_keeps_order_coordinates_and_name(sdf):
    text = block("CCO", "ethanol")
    record = only(sdf(text))
    reference = Chem.MolFromMolBlock(text, removeHs=False)
    assert (record.index, record.name, record.problem, record.notes) == (0, "ethanol", "", [])
    molecule = molecule_from_mol(record.mol)
    assert molecule.name == "ethanol" and molecule.smiles == "CCO"
    assert molecule.z.tolist() == [a.GetAtomicNum() for a in reference.GetAtoms()]
    np.testing.assert_array_equal(molecule.pos[0], reference.GetConformer().GetPositions())


def test_what_rdkit_cannot_parse_or_sanitize_is_named_and_the_rest_is_read(sdf):
    good = block("CCO", "good")
    broken = good.replace("good", "broken", 1).replace("V2000", "V9999")
    garbage = "garbage\nthis is\nno\nmol block\n"
    mol = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    mol.SetProp("_Name", "five bonds")
    mol.AddConformer(Chem.Conformer(6))
    records = list(read_sdf(sdf(good, broken, garbage, Chem.MolToMolBlock(mol, kekulize=False), good)))
    assert [r.mol is not None for r in records] == [True, False, False, False, True]
    assert [r.name for r in records] == ["good", "broken", "garbage", "five bonds", "good"]
    assert [r.index for r in records] == [0, 1, 2, 3, 4]
    assert "cannot parse" in records[1].problem and "cannot parse" in records[2].problem
    assert "sanitize" in records[3].problem and "valence" in records[3].problem


@pytest.mark.parametrize("coordinates", [True, False], ids=["2D only", "no coordinates"])
def test_records_without_3d_are_refused_where_coordinates_are_needed(sdf, coordinates):
    path = sdf(flat_block("C[C@H](N)C(=O)O", coordinates))
    assert only(path).mol is None
    assert "3D" in only(path).problem
    record = only(path, need_3d=False)
    assert record.mol is not None and not record.problem
    if coordinates:  # wedges carry the stereo
        assert molecule_from_mol(record.mol).smiles == "C[C@H](N)C(=O)O"


def test_a_record_marked_3d_with_all_atoms_in_one_place_has_no_coordinates(sdf):
    mol = Chem.AddHs(Chem.MolFromSmiles("CC"))
    mol.AddConformer(Chem.Conformer(mol.GetNumAtoms()))
    mol.GetConformer().Set3D(True)
    assert "3D" in only(sdf(Chem.MolToMolBlock(mol))).problem


def test_a_truly_flat_molecule_marked_3d_is_accepted(sdf):
    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    for k, (x, y) in enumerate(np.linalg.svd(mol.GetConformer().GetPositions(), full_matrices=False)[0][:, :2] * 4):
        mol.GetConformer().SetAtomPosition(k, [x, y, 0.0])
    record = only(sdf(Chem.MolToMolBlock(mol)))
    assert record.mol is not None, record.problem


@pytest.mark.parametrize("bad", ["nan", "inf", "1e7"])
def test_coordinates_that_are_no_places_are_refused(sdf, bad):
    text = block("CCO", v3000=True)
    line = next(line for line in text.split("\n") if line.startswith("M  V30 1 C "))
    x = line.split()[4]
    assert only(sdf(text.replace(line, line.replace(x, "2.5", 1)))).mol is not None
    record = only(sdf(text.replace(line, line.replace(x, bad, 1))))
    assert record.mol is None and record.problem


def test_conformers_of_one_molecule_share_a_topology(sdf):
    a, b, other = (molecule_from_mol(r.mol) for r in read_sdf(sdf(block("CCCO"), block("CCCO", seed=9), block("CCOC"))))
    assert a.topology() == b.topology() != other.topology()
    assert np.abs(a.pos[0] - b.pos[0]).max() > 0.1


def test_duplicate_names_stay_apart(sdf):
    records = list(read_sdf(sdf(block("CCO", "same"), block("CCN", "same"))))
    assert [r.name for r in records] == ["same", "same"]
    assert molecule_from_mol(records[0].mol).topology() != molecule_from_mol(records[1].mol).topology()


def test_a_record_without_name_gets_its_number(sdf):
    assert [r.name for r in read_sdf(sdf(block("C", ""), block("N", "")))] == ["record 1", "record 2"]


@pytest.mark.parametrize(
    ("smiles", "atoms"),
    [
        ("[Na+].[Cl-]", 2),
        ("CC(=O)[O-].[NH4+]", 12),
        ("O.CCO", 12),
        ("[Ar]", 1),
        ("[Na+]", 1),
        ("[NH3+]CC(=O)[O-]", 10),
        ("C[N+](C)(C)C", 17),
        ("[O-]P([O-])([O-])=O", 5),
        ("[Fe+2]", 1),
        ("C[Se]C", 9),
        ("[H][H]", 2),
    ],
)
def test_salts_fragments_single_atoms_ions_and_rare_elements(sdf, smiles, atoms):
    record = only(sdf(block(smiles)))
    assert record.mol is not None, record.problem
    molecule = molecule_from_mol(record.mol)
    assert len(molecule.z) == atoms
    assert (molecule.x < np.array(list(ATOM_FEATURES.values()))).all()
    elements = [ELEMENTS.index(z) if z in ELEMENTS else len(ELEMENTS) for z in molecule.z.tolist()]
    assert molecule.x[:, 0].tolist() == elements
    assert (molecule.x[:, 1].astype(int) - 2).sum() == Chem.GetFormalCharge(Chem.MolFromSmiles(smiles))
    assert molecule.pos[0].shape == (atoms, 3)


def test_missing_hydrogens_are_added_last_with_coordinates_and_said(sdf):
    text = block("CCO", hydrogens=False)
    record = only(sdf(text))
    assert record.notes == ["missing hydrogens added: 6"]
    assert [a.GetAtomicNum() for a in record.mol.GetAtoms()] == [6, 6, 8] + [1] * 6
    pos = record.mol.GetConformer().GetPositions()
    np.testing.assert_array_equal(pos[:3], Chem.MolFromMolBlock(text).GetConformer().GetPositions())
    for hydrogen in range(3, 9):
        heavy = record.mol.GetAtomWithIdx(hydrogen).GetNeighbors()[0].GetIdx()
        assert 0.9 < np.linalg.norm(pos[hydrogen] - pos[heavy]) < 1.2


def test_a_large_molecule(sdf):
    record = only(sdf(block("C" * 80 + "O")))
    assert record.mol is not None and record.mol.GetNumAtoms() == 243
    molecule = molecule_from_mol(record.mol)
    assert molecule.bond_index.max() == 242 and len(molecule.bond_index) == 242


def test_v3000(sdf):
    text = block("C[C@H](F)Cl", v3000=True)
    assert "V3000" in text
    old, new = read_sdf(sdf(block("C[C@H](F)Cl"), text))
    assert molecule_from_mol(new.mol).topology() == molecule_from_mol(old.mol).topology()


def test_crlf_line_ends(sdf, tmp_path):
    plain = sdf(block("CCO", "a"), block("CCN", "b"))
    crlf = tmp_path / "crlf.sdf"
    with open(plain, "rb") as file:
        crlf.write_bytes(file.read().replace(b"\n", b"\r\n"))
    for a, b in zip(read_sdf(plain), read_sdf(str(crlf)), strict=True):
        assert a.name == b.name and b.mol is not None
        assert molecule_from_mol(a.mol).topology() == molecule_from_mol(b.mol).topology()
        np.testing.assert_array_equal(a.mol.GetConformer().GetPositions(), b.mol.GetConformer().GetPositions())


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n$$$$", "\n$$$$\n\n"])
def test_the_last_record_may_lack_its_end(tmp_path, end):
    path = tmp_path / "mols.sdf"
    path.write_text(block("CCO", "a") + "$$$$\n" + block("CCN", "b").rstrip("\n") + end)
    assert [(r.name, r.problem) for r in read_sdf(str(path))] == [("a", ""), ("b", "")]


def test_properties_do_not_disturb(sdf):
    text = block("CCO", "a") + ">  <energy>  (1)\n0.5\n\n>  <text>\nM  END\n\n"
    assert only(sdf(text)).mol.GetProp("energy") == "0.5"


def test_gzip_is_recognised_whatever_the_name(sdf, tmp_path):
    path = sdf(block("CCO"), name="mols.sdf.gz")
    renamed = tmp_path / "plain.sdf"
    with open(path, "rb") as file:
        renamed.write_bytes(file.read())
    assert only(path).mol is not None
    assert only(str(renamed)).mol is not None


def test_a_truncated_gzip_gives_its_whole_records_and_says_where_it_ends(sdf, tmp_path):
    blocks = [block("C" * k, f"alkane {k}", seed=k) for k in range(1, 13)]
    with open(sdf(*blocks, name="whole.sdf.gz"), "rb") as file:
        data = file.read()
    path = tmp_path / "cut.sdf.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    *good, last = read_sdf(str(path))
    assert 1 <= len(good) < 12
    assert all(r.mol is not None for r in good)
    assert last.mol is None and "damaged" in last.problem and "end-of-stream" in last.problem

    path.write_bytes(data[: len(data) // 2] + bytes(b ^ 0xFF for b in data[len(data) // 2 :]))  # corrupted, not cut
    *good, last = read_sdf(str(path))
    assert good and "damaged" in last.problem and "decompressing" in last.problem

    path.write_bytes(data[:30])
    with pytest.raises(RecordError, match=r"cut\.sdf\.gz.*cannot be read"):
        list(read_sdf(str(path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n  \n", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (b"just a text\nof two lines\n", "not an SDF"),
        (bytes(range(256)) * 20, "a binary file"),
    ],
    ids=["empty", "blank", "empty gz", "text", "binary"],
)
def test_files_that_are_no_sdf_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "wrong.sdf"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=rf"wrong\.sdf: {message}"):
        list(read_records(str(path)))


def test_missing_files_and_folders_are_refused_by_name(tmp_path):
    for name in ("absent.sdf", "absent.smi"):
        with pytest.raises(RecordError, match=f"{name}: no such file"):
            list(read_records(str(tmp_path / name)))
    with pytest.raises(RecordError, match="cannot be read"):
        list(read_records(str(tmp_path)))


@pytest.mark.parametrize("zipped", [False, True])
def test_stdin_is_sdf_and_stays_open(monkeypatch, zipped):
    text = (block("CCO", "a") + "$$$$\n" + block("CCN", "b") + "$$$$\n").encode()
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(gzip.compress(text) if zipped else text)))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [r.name for r in read_records("-")] == ["a", "b"]
    assert not stdin.buffer.closed


def test_smiles_lines(tmp_path):
    path = tmp_path / "mols.smi"
    lines = ["# comment", "CCO ethanol absolute\r", "", "C[C@H](F)Cl\ttabbed name", "not_a_smiles bad", "C(C)(C)(C)(C)C"]
    path.write_text("\n".join([*lines, "[Na+].[Cl-]\n"]))
    records = list(read_records(str(path)))
    assert [r.name for r in records] == ["ethanol absolute", "tabbed name", "bad", "C(C)(C)(C)(C)C", "[Na+].[Cl-]"]
    assert [r.index for r in records] == [0, 1, 2, 3, 4]
    assert [r.mol is not None for r in records] == [True, True, False, False, True]
    assert "not_a_smiles" in records[2].problem
    assert records[0].mol.GetNumAtoms() == 9
    assert molecule_from_mol(records[1].mol).smiles == "C[C@H](F)Cl"
    assert molecule_from_mol(records[1].mol).pos == []


def test_damaged_and_empty_smiles_files_are_refused(tmp_path):
    path = tmp_path / "mols.smi.gz"
    path.write_bytes(gzip.compress(b"CCO\n" * 1000)[:30])
    with pytest.raises(RecordError, match="cannot be read"):
        list(read_smiles(str(path)))
    path.write_bytes(b"# only a comment\n")
    with pytest.raises(RecordError, match="the file is empty"):
        list(read_smiles(str(path)))


def test_the_name_tells_the_kind():
    assert [format_of(n) for n in ("a.sdf", "A.SDF.GZ", "a.mol")] == [SDF] * 3
    assert [format_of(n) for n in ("a.smi", "a.SMI.gz", "a.smiles", "a.txt.gz")] == [SMILES] * 4
    assert [format_of(n) for n in ("-", "a.h5", "CCO")] == [None] * 3
