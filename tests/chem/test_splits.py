"""Splits without leaks: the keys against what must stay together, and the two stores against the one."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.chem import RecordError
from pyg_diffusion.chem.ensembles import EnsembleOptions
from pyg_diffusion.chem.prepare import held_out_path, prepare
from pyg_diffusion.chem.splits import Split, connectivity, scaffold, uniform
from pyg_diffusion.cli import main
from pyg_diffusion.data import MoleculeStore, StoreError

module = sys.modules[prepare.__module__]
DATASETS = Path(__file__).parents[2] / "datasets"
ENSEMBLES = str(DATASETS / "qm9_ensembles_20.sdf.gz")
ZINC = str(DATASETS / "zinc_100.smi")

STATES = [
    "CCO [13CH3]CO [2H]C([2H])(C)[O-] C[CH](O)[2H]",
    "C[C@H](F)Cl C[C@@H](F)Cl CC(F)Cl",
    "F/C=C/F F/C=C\\F FC=CF",
    "NCC(=O)O [NH3+]CC(=O)[O-] [NH3+]CC(=O)O NCC(=O)[O-]",
    "C[N+](C)(C)CC(=O)[O-] C[N+](C)(C)CC(=O)O",
    "CNC(N)=N CNC(N)=[NH2+] C[NH+]=C(N)N",
    "COP(=O)(O)O COP(=O)([O-])O COP(=O)([O-])[O-]",
    "c1nnn[nH]1 c1nnn[n-]1 c1nn[nH]n1",
    "Cc1c[nH]cn1 Cc1c[nH]c[nH+]1 Cc1c[n-]cn1",
    "O=c1cccc[nH]1 Oc1ccccn1 O=c1cccc[n-]1 [O-]c1ccccn1 Oc1cccc[nH+]1",
    "O=c1ccccn1C [O-]c1cccc[n+]1C Oc1cccc[n+]1C",
    "[Na+].[O-]C(=O)c1ccccc1 [Na+].OC(=O)c1ccccc1",
    "*c1ccccc1C(=O)O *c1ccccc1C(=O)[O-]",  # no InChI
]


def molecule(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize("key", [connectivity, scaffold])
def test_states_of_one_molecule_share_a_key_that_no_other_has(key):
    keys = [{key(molecule(s)) for s in group.split()} for group in STATES]
    assert [len(k) for k in keys] == [1] * len(STATES)
    if key is connectivity:
        assert len(set.union(*keys)) == len(STATES)


def test_keys_are_the_field_s():
    ibuprofen = molecule("CC(C)Cc1ccc([C@H](C)C(=O)[O-])cc1")
    assert connectivity(ibuprofen) == "HEFNNWSXXWATRW"  # of PubChem 3672
    assert scaffold(ibuprofen) == scaffold(molecule("Oc1ccccc1")) == "c1ccccc1"
    assert scaffold(molecule("CC1CCC(CC1)c1ncccc1Cl")) == "c1ccc(C2CCCCC2)nc1"
    assert scaffold(molecule("CCO")) == connectivity(molecule("CCO")) == "LFQSCWFLJHTTHZ"
    order = list(range(ibuprofen.GetNumAtoms()))
    random.Random(0).shuffle(order)
    turned = Chem.RenumberAtoms(ibuprofen, order)
    assert (connectivity(turned), scaffold(turned)) == (connectivity(ibuprofen), scaffold(ibuprofen))


def test_the_hash_is_uniform_and_for_ever_the_same():
    assert uniform("LFQSCWFLJHTTHZ") == pytest.approx(0.735492, abs=1e-6)
    u = np.sort([uniform(str(k)) for k in range(4000)])
    assert np.abs(u - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(4000)  # Kolmogorov and Smirnov, 0.1 %
    mols = [molecule(s) for s in ("C", "CC", "CCO", "c1ccccc1", "CCN", "COC", "CC=O", "C1CC1")]
    assert all(Split(0.7).holds_out(m) for m in mols if Split(0.3).holds_out(m))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Split(share)


def run(inputs, output, split=None, workers=1, **options):
    return prepare([str(i) for i in inputs], str(output), workers, progress=False, split=split, **options)


def contents(path) -> dict[bytes, list[np.ndarray]]:
    return {m.topology(): m.pos for m in MoleculeStore(path)}


@pytest.mark.parametrize("by", ["inchikey", "scaffold"])
def test_two_stores_are_the_one_parted_by_key(tmp_path, by):
    run([ENSEMBLES, ZINC], tmp_path / "all.h5")
    split = Split(0.3, by)
    report = run([ENSEMBLES, ZINC], tmp_path / "a.h5", split)
    train, held = contents(tmp_path / "a.h5"), contents(tmp_path / "a_held_out.h5")
    whole = contents(tmp_path / "all.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "a_held_out.h5", "all.h5"]
    assert not train.keys() & held.keys() and [t for t in whole if t in train] == list(train)
    for topology, pos in whole.items():
        np.testing.assert_array_equal(np.array((train | held)[topology]), np.array(pos))
    counts = [(len(side), sum(map(len, side.values()))) for side in (train, held)]
    assert counts[0] == (report.molecules, report.conformers)
    assert counts[1] == (report.held_out_molecules, report.held_out_conformers)
    assert 0.15 < len(held) / len(whole) < 0.45 and f"held out, {len(held)} with" in str(report)
    for m in MoleculeStore(tmp_path / "a_held_out.h5"):
        assert split.holds_out(molecule(m.smiles))


def test_no_leak_between_files_orders_or_stores(tmp_path, monkeypatch):
    """Enantiomers, ions and conformers strewn over files; each side's keys are the same whatever the store."""
    monkeypatch.setattr(module, "CHUNK", 7)
    states = [s for group in STATES[:-1] for s in group.split()]  # without the dummy atoms, which prepare refuses
    random.Random(1).shuffle(states)
    for k in range(2):
        (tmp_path / f"{k}.smi").write_text("\n".join(states[k::2] if k else reversed(states[k::2])))
    with Chem.SDWriter(str(tmp_path / "3d.sdf")) as writer:
        for mol in (embed("C[C@H](F)Cl", 2), embed("OC(=O)CN")):
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    split, sides = Split(0.4), []
    for inputs in (["0.smi", "1.smi", "3d.sdf"], ["1.smi"], ["3d.sdf", "0.smi"]):
        run([tmp_path / i for i in inputs], tmp_path / "a.h5", split)
        sides.append(
            [{connectivity(molecule(m.smiles)) for m in MoleculeStore(tmp_path / n)} for n in ("a.h5", "a_held_out.h5")]
        )
    train, held = (set.union(*(s[k] for s in sides)) for k in range(2))
    assert not train & held and len(train | held) == len(STATES) - 1


def test_parallel_and_continued_runs_give_the_same_stores(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 40)
    split, names = Split(0.3), ("a.h5", "a_held_out.h5")
    run([ENSEMBLES], tmp_path / "a.h5", split)
    serial = [(tmp_path / n).read_bytes() for n in names]
    parse = module.parse_chunk

    def interrupted(chunk, task):
        if chunk.start == 120:
            raise KeyboardInterrupt
        return parse(chunk, task)

    for n in names:
        (tmp_path / n).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "parse_chunk", interrupted)
        run([ENSEMBLES], tmp_path / "a.h5", split)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5.parts"]
    assert run([ENSEMBLES], tmp_path / "a.h5", split, workers=2).resumed == 3
    assert [(tmp_path / n).read_bytes() for n in names] == serial
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "parse_chunk", interrupted)
        run([ENSEMBLES], tmp_path / "a.h5", split)
    assert run([ENSEMBLES], tmp_path / "a.h5", Split(0.4)).resumed == 0  # another split is another run


def test_neither_store_appears_before_both_are_whole(tmp_path, monkeypatch):
    written = []

    def full(path, *arguments):
        written.append(path)
        if len(written) == 2:
            raise OSError("no space left")
        return module_merge(path, *arguments)

    module_merge = module.merge_stores
    monkeypatch.setattr(module, "merge_stores", full)
    with pytest.raises(StoreError, match="no space left"):
        run([ENSEMBLES], tmp_path / "a.h5", Split(0.3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5.parts"]


def test_ensembles_are_made_on_both_sides(tmp_path):
    (tmp_path / "in.smi").write_text("CCO\nCCN\nCCC\nCOC\nCC=O\nC1CC1\nCCO again\n")
    options = EnsembleOptions(3, "ETKDGv3", rmsd=0)
    report = run([tmp_path / "in.smi"], tmp_path / "a.h5", Split(0.5), ensembles=options)
    assert (report.molecules + report.held_out_molecules, report.conformers + report.held_out_conformers) == (6, 18)
    assert report.molecules and report.held_out_molecules


def test_an_empty_side_is_refused_and_leaves_old_stores_alone(tmp_path):
    (tmp_path / "in.smi").write_text("CCO\n")
    (tmp_path / "a.h5").write_text("old")
    for share, message in ((1e-9, "none of 1 molecules .* larger"), (1 - 1e-9, "all of 1 molecules .* smaller")):
        with pytest.raises(RecordError, match=message):
            run([tmp_path / "in.smi"], tmp_path / "a.h5", Split(share))
    assert (tmp_path / "a.h5").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_the_held_out_store_is_an_output_like_the_other(tmp_path):
    assert held_out_path("runs/a.h5") == Path("runs/a_held_out.h5")
    (tmp_path / "a_held_out.h5").mkdir()
    with pytest.raises(StoreError, match=r"a_held_out\.h5: cannot be written: it is a folder"):
        run([ENSEMBLES], tmp_path / "a.h5", Split(0.3))
    (tmp_path / "b_held_out.smi").write_text("CCO\n")
    with pytest.raises(StoreError, match="also an input"):
        run([tmp_path / "b_held_out.smi"], tmp_path / "b.smi", Split(0.3))


def test_the_command(tmp_path, capsys):
    arguments = ["prepare", ENSEMBLES, "-o", str(tmp_path / "a.h5"), "-j", "1", "--quiet"]
    assert main([*arguments, "--split", "0.3", "--split-by", "scaffold"]) == 0
    said = capsys.readouterr().err
    held = MoleculeStore(tmp_path / "a_held_out.h5")
    assert f"a_held_out.h5: {len(held)} molecules, {held.num_conformers} conformers, held out by scaffold" in said
    assert len(MoleculeStore(tmp_path / "a.h5")) + len(held) == 20
    assert main(arguments) == 0 and "a_held_out.h5: left by an earlier run" in capsys.readouterr().err
    assert main([*arguments, "--split", "1"]) == 2 and "between 0 and 1" in capsys.readouterr().err
    assert main([*arguments, "--split-by", "scaffold"]) == 2 and "goes with --split" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--split", "0.1", "--split-by", "colour"])
