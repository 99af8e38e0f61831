"""What the page holds: every record as it was, laid on the first, and no more than there is room for."""

import base64
import gzip
import json
import re

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from pyg_diffusion import view
from pyg_diffusion.chem.heavy import heavy_atoms
from pyg_diffusion.chem.records import Record
from pyg_diffusion.chem.writing import sdf_text
from pyg_diffusion.cli import main
from pyg_diffusion.metrics.rmsd import rmsd_matrix
from pyg_diffusion.viewer import collected, page
from pyg_diffusion.viewer.collection import Collection

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


def records_of(mol, name=None):
    """A record for each conformer."""
    for k, conformer in enumerate(mol.GetConformers()):
        one = Chem.Mol(mol)
        one.RemoveAllConformers()
        one.AddConformer(Chem.Conformer(conformer), assignId=True)
        one.SetProp("energy_kcal_mol", f"{3 - k}.5")
        yield Record(k, name or mol.GetProp("_Name"), one)


def data_of(text):
    packed = re.search(r'<script id="data" type="text/plain">(.*?)</script>', text)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def butanol():
    return embed("CCCCO", 6)


@pytest.fixture(scope="module")
def shown(butanol):
    return data_of(page(collected(records_of(butanol)), "one"))["molecules"][0]


def test_records_come_out_as_they_went_in(butanol, shown):
    assert [c["record"] for c in shown["conformers"]] == [sdf_text(r.mol, -1) for r in records_of(butanol)]
    assert [c["fields"] for c in shown["conformers"]] == [{"energy_kcal_mol": f"{3 - k}.5"} for k in range(6)]
    assert shown["smiles"] == "CCCCO"
    assert shown["picture"].startswith("<?xml")


def test_the_matrix_is_that_of_the_scores(butanol, shown):
    expected = rmsd_matrix(butanol, butanol)[np.tril_indices(6, -1)]
    assert shown["rmsd"] == pytest.approx(expected, abs=6e-4)
    assert not shown["rmsd_is_bound"]


def test_moves_lay_each_on_the_first(butanol, shown):
    heavy = [a.GetIdx() for a in butanol.GetAtoms() if a.GetAtomicNum() > 1]
    first = butanol.GetConformer(0).GetPositions()[heavy]
    for k, conformer in enumerate(shown["conformers"]):
        motion = np.array(conformer["move"]).reshape(3, 4)
        assert motion[:, :3] @ motion[:, :3].T == pytest.approx(np.eye(3), abs=1e-5)
        laid = butanol.GetConformer(k).GetPositions()[heavy] @ motion[:, :3].T + motion[:, 3]
        # butanol has no symmetry, so the best order of atoms is their own
        apart = np.sqrt(((laid - first) ** 2).sum(1).mean())
        assert apart == pytest.approx(0 if k == 0 else shown["rmsd"][k * (k - 1) // 2], abs=1e-3)


def test_another_order_of_atoms_is_the_same_molecule(butanol):
    turned = [*reversed(range(butanol.GetNumAtoms()))]
    records = [*records_of(butanol), *records_of(Chem.RenumberAtoms(butanol, turned), butanol.GetProp("_Name"))]
    (molecule,) = data_of(page(collected(records), "two"))["molecules"]
    assert molecule["conformers"][0]["order"] is None
    order = molecule["conformers"][6]["order"]
    heavy = butanol.GetNumHeavyAtoms()
    assert order[:heavy] == turned[:heavy]  # hydrogens of one carbon may be interchanged
    assert molecule["rmsd"][15] == pytest.approx(0, abs=1e-3)  # 6 against 0, the same conformer


def test_what_there_is_no_room_for_is_counted(butanol):
    found = collected(records_of(butanol), most=4)
    assert (found.shown, found.left_out) == (4, 2)
    assert "2 conformers beyond 4 of a molecule are left out" in data_of(page(found, "some"))["notes"]
    full = Collection(room=1)
    full.add(next(records_of(butanol)), print)
    assert full.full and full.shown == 1


def test_very_symmetric_molecules_have_fewer_in_the_matrix(monkeypatch):
    mol = Chem.Mol(embed("CC(C)(C)CC(C)(C)C", 2))  # 6 * 6 * 2 orders
    for _ in range(78):
        mol.AddConformer(Chem.Conformer(mol.GetConformer(0)), assignId=True)
    monkeypatch.setattr("pyg_diffusion.viewer.collection.COMPARED", 72 * 10)
    (molecule,) = collected(records_of(mol)).molecules
    heavy = heavy_atoms(mol)
    rmsd, bound = molecule.distances()
    assert (len(rmsd), bound) == (10, False)  # of 80 conformers the first five
    assert max(rmsd) == pytest.approx(rdMolAlign.GetBestRMS(heavy, heavy, 0, 1), abs=1e-3)
    monkeypatch.setattr("pyg_diffusion.viewer.collection.MATCHES", 71)
    assert molecule.distances()[1]


def test_names_are_no_html(butanol):
    text = page(collected(records_of(butanol, EVIL)), EVIL)
    assert EVIL not in text and "onerror=alert(1)>" not in text
    assert data_of(text)["molecules"][0]["name"] == EVIL
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'") and "unsafe-inline'; script" in policy
    assert "unsafe" not in policy.split("script-src")[1]  # scripts only by their hashes


def test_the_command_writes_a_page_of_any_format(butanol, tmp_path, capsys):
    sdf, xyz, out = tmp_path / "a.sdf", tmp_path / "b.xyz", tmp_path / "page.html"
    sdf.write_text("".join(sdf_text(r.mol, -1) for r in records_of(butanol)) + "damaged\n\n$$$$\n")
    xyz.write_text("3\nwater\nO 0 0 0\nH 0.76 0.59 0\nH -0.76 0.59 0\n")
    assert main(["view", str(sdf), str(xyz), "-o", str(out), "--most", "5", "--quiet"]) == 0
    said = capsys.readouterr().err
    assert "2 molecules, 6 conformers" in said and "1 conformers beyond 5" in said and "skipped damaged" in said
    data = data_of(out.read_text(encoding="utf-8"))
    assert data["title"] == "a.sdf, b.xyz"
    assert [m["smiles"] for m in data["molecules"]] == ["CCCCO", "O"]
    assert data["molecules"][1]["rmsd"] == []
    assert any("could not be shown" in note for note in data["notes"])
    assert main(["view", str(sdf), "-o", str(out), "--strict", "--quiet"]) == 1


def test_without_coordinates_there_is_nothing_to_look_at(tmp_path, capsys):
    (tmp_path / "a.smi").write_text("CCO ethanol\n")
    assert main(["view", str(tmp_path / "a.smi"), "-o", str(tmp_path / "p.html"), "--quiet"]) == 1
    assert "nothing to look at" in capsys.readouterr().err
    assert not (tmp_path / "p.html").exists()
    assert main(["view", str(tmp_path / "none.sdf"), "-o", str(tmp_path / "p.html")]) == 2
    assert "none.sdf: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"), [("", "the file is empty"), ("\n\n", "the file is empty"), ("$$$$\n", "nothing to look at")]
)
def test_a_file_with_nothing_in_it_is_one_sentence(text, said, tmp_path, capsys):
    source, out = tmp_path / "a.sdf", tmp_path / "p.html"
    source.write_text(text)
    assert main(["view", str(source), "-o", str(out), "--quiet"]) in (1, 2)
    assert said in capsys.readouterr().err and not out.exists()


def test_the_notebook_shows_conformers_laid_on_each_other(butanol):
    shown = view(butanol)
    assert shown.startjs.count("addModel") == 6
    assert view(butanol, conformer=2).startjs.count("addModel") == 1
    with pytest.raises(ValueError, match="no conformer 9"):
        view(butanol, conformer=9)
    with pytest.raises(ValueError, match="has no conformers"):
        view(Chem.MolFromSmiles("CCO"))
