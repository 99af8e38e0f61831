"""Coordinates that are not the molecule's: in nm or Bohr, broken, coincident, far away, flat though marked as 3D."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pyg_diffusion import MoleculeStore
from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.coordinates import LENGTHS, NEAREST, fault_of
from pyg_diffusion.chem.prepare import NothingUsable, prepare
from pyg_diffusion.metrics import group_records
from pyg_diffusion.tasks.molecules.evaluate import evaluate_files
from pyg_diffusion.tasks.molecules.inputs import unique_molecules

UNCLEAR = "F[C@@H](Cl)/C=C/O"


def embedded(smiles: str, name: str = "mol", hydrogens: bool = True) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    mol = mol if hydrogens else Chem.RemoveHs(mol)
    mol.SetProp("_Name", name)
    return mol


def moved(mol: Chem.Mol, change) -> Chem.Mol:
    copy = Chem.Mol(mol)
    copy.GetConformer().SetPositions(np.ascontiguousarray(change(mol.GetConformer().GetPositions())))
    return copy


@pytest.fixture
def written(tmp_path):
    def write(*mols: Chem.Mol, name: str = "mols.sdf") -> str:
        path = tmp_path / name
        path.write_text("".join(Chem.MolToMolBlock(m, forceV3000=True) + "$$$$\n" for m in mols))
        return str(path)

    return write


def smiles(record) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(record.mol))


@pytest.mark.parametrize(
    ("factor", "words"),
    [(0.1, "coordinates in nm?"), (1.8897, "coordinates in Bohr?"), (100, "coordinates in pm?"), (0.3, "times their usual")],
)
def test_another_unit_is_said_and_keeps_the_stereo(written, factor, words):
    mol = embedded(UNCLEAR)
    (record,) = read_sdf(written(moved(mol, lambda x: factor * x)))
    assert words in record.fault and record.fault in record.notes[0]
    assert smiles(record) == Chem.MolToSmiles(Chem.MolFromSmiles(UNCLEAR))
    np.testing.assert_allclose(
        record.mol.GetConformer().GetPositions(), factor * mol.GetConformer().GetPositions(), atol=1e-3
    )
    assert fault_of(moved(mol, lambda x: 1.12 * x)) is None


def test_another_unit_without_hydrogens_keeps_the_stereo(written):
    (record,) = read_sdf(written(moved(embedded(UNCLEAR, hydrogens=False), lambda x: 0.1 * x)))
    assert smiles(record) == Chem.MolToSmiles(Chem.MolFromSmiles(UNCLEAR))


def shifted(atom: int, by: float):
    def change(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[atom, 0] += by
        return x

    return change


def onto(atom: int, other: int):
    def change(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[atom] = x[other] + 0.1
        return x

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shifted(8, 6.0), "a bond that is none: O3-H9"),
        (lambda x: x * np.linspace(1, 60, 9)[:, None], "a bond that is none"),
        (onto(4, 3), "two atoms at one place: H4-H5 0.17 Å"),
        (lambda x: 0 * x, "all atoms at one place"),
        (lambda x: x * np.nan, "cannot|no numbers"),
    ],
    ids=["stretched", "exploded", "coincident", "zero", "nan"],
)
def test_broken_conformers_are_left_out_by_name(written, tmp_path, change, words):
    good = embedded("CCO", "good")
    path = written(
        good, moved(embedded("CCO", "broken"), change), moved(good, lambda x: x + np.array([9000.0, -900.0, 50.0]))
    )
    store = tmp_path / "store.h5"
    report = prepare([path], str(store), workers=1, progress=False)
    (skipped,) = report.skipped
    assert (skipped.record, skipped.name) == (2, "broken")
    assert any(word in skipped.reason for word in words.split("|")), skipped.reason
    (pos, far) = MoleculeStore(store)[0].pos
    np.testing.assert_allclose(far, pos, atol=2e-4)
    ensembles, unusable = group_records(read_sdf(path))
    assert [e.size for e in ensembles] == [2]
    assert [(u.name, u.reason) for u in unusable] == [("broken", skipped.reason)]


def test_nothing_but_broken_conformers_is_no_store(written, tmp_path):
    path = written(moved(embedded("CCO"), lambda x: 0.1 * x))
    with pytest.raises(NothingUsable, match="coordinates in nm"):
        prepare([path], str(tmp_path / "store.h5"), workers=1, progress=False)
    assert not (tmp_path / "store.h5").exists()


def test_stereo_is_not_read_where_the_geometry_is_broken(written):
    mol = embedded("C[C@H](F)CO")
    centre, near = 1, [n.GetIdx() for n in mol.GetAtomWithIdx(1).GetNeighbors()]
    broken, elsewhere = read_sdf(written(moved(mol, shifted(near[2], 5.0)), moved(mol, shifted(mol.GetNumAtoms() - 1, 5.0))))
    assert broken.mol.GetAtomWithIdx(centre).GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED
    assert smiles(elsewhere) == Chem.MolToSmiles(Chem.MolFromSmiles("C[C@H](F)CO"))
    assert all("not its geometry" in r.notes[0] for r in (broken, elsewhere))


def test_no_stereo_without_places(written):
    (record,) = read_sdf(written(moved(embedded("C[C@H](F)/C=C/O"), np.zeros_like)), need_3d=False)
    assert smiles(record) == "CC(F)C=CO" and record.notes == ["stereo left open: no usable coordinates"]


@pytest.mark.parametrize("height", [0.0, 3.0])
@pytest.mark.parametrize("hydrogens", [False, True])
def test_a_drawing_marked_3d_has_the_stereo_of_its_wedges_alone(written, tmp_path, height, hydrogens):
    mol = Chem.MolFromSmiles("C[C@H](F)/C=C/O")
    mol = Chem.AddHs(mol) if hydrogens else mol
    AllChem.Compute2DCoords(mol)
    plain = Chem.Mol(mol)
    Chem.RemoveStereochemistry(plain)
    for drawn, expected in ((mol, "C[C@H](F)/C=C/O"), (plain, "CC(F)C=CO")):  # RDKit crosses what is unspecified
        Chem.WedgeMolBonds(drawn, drawn.GetConformer())
        drawn.SetProp("_Name", "flat")
        text = Chem.MolToMolBlock(drawn).replace("RDKit          2D", "RDKit          3D")
        lines = text.split("\n")
        atoms = range(4, 4 + drawn.GetNumAtoms())
        lines = [f"{line[:20]}{height:10.4f}{line[30:]}" if k in atoms else line for k, line in enumerate(lines)]
        path = tmp_path / "flat.sdf"
        path.write_text("\n".join(lines) + "$$$$\n")
        (record,) = read_sdf(str(path), need_3d=False)
        assert smiles(record) == Chem.CanonSmiles(expected)
        (record,) = read_sdf(str(path))
        assert record.mol is None and ("flat" in record.problem or "2D" in record.problem)


def test_a_flat_sulfoxide_is_a_drawing(written):
    mol = moved(embedded("O=[S@](c1ccccc1)c1ccncc1"), lambda x: x * [1, 1, 0])
    Chem.RemoveStereochemistry(mol)  # or its wedges would be read
    (record,) = read_sdf(written(mol), need_3d=False)
    assert smiles(record) == "O=S(c1ccccc1)c1ccncc1" and record.notes[0].startswith("read as a drawing")


def test_what_is_flat_by_nature_is_3d(written):
    benzene, water = embedded("c1ccccc1"), embedded("O")
    flat = np.linalg.svd(benzene.GetConformer().GetPositions(), full_matrices=False)
    mols = [moved(benzene, lambda x: flat[0] * flat[1] * [1, 1, 0]), moved(water, lambda x: x - x[:, 2:] * [0, 0, 1])]
    for record in read_sdf(written(*mols)):
        assert record.mol is not None and not record.fault and not record.notes, record.problem


def test_bounds_leave_real_molecules_alone(written):
    for text in ("[H][H]", "F[P-](F)(F)(F)(F)F", "C[Si](C)(C)C", "BrI", "[Na+].[Cl-]", "C1CC1", "N#N", "OO"):
        mol = embedded(text)
        if "." in text:
            mol = moved(mol, lambda x: np.array([[0.0, 0, 0], [2.4, 0, 0]]))
        assert fault_of(mol) is None, text
    assert LENGTHS[0] < 0.668 and LENGTHS[1] > 1.18 and NEAREST < 0.74


def test_one_molecule_in_several_atom_orders_is_one(written):
    mol = embedded("C[C@H](F)CO", "same")
    order = list(range(mol.GetNumAtoms()))[::-1]
    other = moved(embedded("C[C@H](F)CO", "same"), lambda x: x * [-1, 1, 1])  # the other hand
    reordered = Chem.RenumberAtoms(mol, order)
    reordered.SetProp("_Name", "same")
    path = written(mol, reordered, other)
    said: list[str] = []
    entries = list(unique_molecules(read_sdf(path), lambda *_: None, said.append))
    assert [e.copies for e in entries] == [2, 1]
    assert [a.GetSymbol() for a in entries[0].record.mol.GetAtoms()] == [a.GetSymbol() for a in mol.GetAtoms()]
    assert said == ["1 records repeat a molecule already named; each molecule is sampled once"]


def test_evaluate_says_that_what_was_generated_is_in_another_unit(written):
    mol = embedded("C[C@H](F)CO", "same")
    reference, generated = written(mol, name="ref.sdf"), written(moved(mol, lambda x: 0.1 * x), name="gen.sdf")
    said: list[str] = []
    evaluate_files(generated, reference, lambda *row: said.append(str(row)), said.append, checked=0, workers=1)
    (words,) = said
    assert words.startswith("generated records, coordinates not of the molecule: 1, the first same, record 1: bonds are 0.1")


@pytest.mark.parametrize(
    ("x", "number"), [("  1.25E-01", True), ("       nan", False), ("    0,1250", True), ("-1.00E+300", False)]
)
def test_coordinates_that_rdkit_does_not_read(tmp_path, x, number):
    text = Chem.MolToMolBlock(embedded("C[C@H](F)CO", "odd"))
    lines = text.split("\n")
    assert len(x) == 10
    lines[4] = x + lines[4][10:]
    path = tmp_path / "odd.sdf"
    path.write_text("\n".join(lines) + "$$$$\n")
    (drawn,) = read_sdf(str(path), need_3d=False)
    (record,) = read_sdf(str(path))
    if number:
        assert record.mol.GetConformer().GetPositions()[0, 0] == 0.125
    else:
        assert record.mol is None and "Cannot process coordinates on line 5" in record.problem
        assert smiles(drawn) == "CC(F)CO" and drawn.notes == ["stereo left open: no usable coordinates"]
