"""What others make of the same molecules: relaxed, clustered, failed, and in another interpreter."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
from conformer_sets import embed, ensemble, from_3d, positions
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from pyg_diffusion.chem import with_positions
from pyg_diffusion.chem.relax import relax_mmff
from pyg_diffusion.chem.similarity import representatives
from pyg_diffusion.cli import main
from pyg_diffusion.metrics import BASELINES, BaselineError, compare, draw_each, etkdg, evaluate, group_records, records_of
from pyg_diffusion.metrics.validity import atom_map
from pyg_diffusion.tasks.molecules.options import BASELINES as NAMES

TWISTED = "C1C[C@@H]2C[C@@H]1CC2"  # norbornane with one bridgehead inside


def full(smiles):
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def draw(name, mol, n, seed=0):
    with BASELINES[name].open() as method:
        return method(mol, n, seed)


def test_the_command_line_knows_the_registry():
    assert list(BASELINES) == NAMES


def test_relaxed_at_the_dielectric_constant_that_is_said():
    """A zwitterion: its minimum at ε = 4 is none in vacuum, and the other way round."""
    mol = full("[NH3+]CCCC(=O)[O-]")
    for name, at, other in (("mmff", 1.0, 4.0), ("mmff4", 4.0, 1.0)):
        drawn = draw(name, mol, 3)
        assert drawn.mol.GetNumConformers() == 3 and drawn.seconds > 0 and not drawn.problem
        own, foreign = ([relax_mmff(drawn.mol, k, e).strain for k in range(3)] for e in (at, other))
        assert max(own) < 0.05 and min(foreign) > 0.2


@pytest.mark.parametrize(("name", "mmff"), [("etkdg2", False), ("mmff2", True)])
def test_twice_as_many_are_drawn_and_the_best_kept(name, mmff):
    mol = full("OCC(=O)NCC")
    kept, (made, _) = draw(name, mol, 4, seed=3).mol, etkdg(mol, 8, 3, mmff)
    everything = positions(made)
    np.testing.assert_array_equal(positions(kept), everything[representatives(made, everything, 4)])


@pytest.mark.parametrize("name", ["etkdg", "mmff2"])
def test_what_a_baseline_cannot_do_is_its_failure(name, monkeypatch):
    ethanol = etkdg(full("CCO"), 1)[0]
    amine = etkdg(full("CCN"), 1)[0]
    refs, _ = group_records([*records_of(ethanol, "ethanol"), *records_of(amine, "amine")])
    embed = rdDistGeom.EmbedMultipleConfs

    def breaks(mol, *args):
        if mol.HasSubstructMatch(Chem.MolFromSmarts("N")):
            raise RuntimeError("Invariant Violation\n\tbad bounds")
        return embed(mol, *args)

    monkeypatch.setattr(rdDistGeom, "EmbedMultipleConfs", breaks)
    with BASELINES[name].open() as method:
        made = draw_each(method, refs, [2, 2], 0)
        assert method(full(TWISTED), 1, 0).problem == "ETKDGv3 finds no conformer"
    assert made.problems == [("amine", "bad bounds")]
    found = compare({name: evaluate(refs, made.records)})
    assert found.failed[name] == ["amine"] and found.rows[name]["yield"] == 0.5


FAKE = """
import os
from dataclasses import dataclass
from types import SimpleNamespace
from rdkit import Chem
from rdkit.Chem import rdDistGeom

@dataclass
class Config:
    preset: str
    max_out: int = 50
    pool_max: int | None = 5
    random_seed: int = 0
    num_threads: int = 0

def preset_config(preset):
    return Config(preset)

def generate_conformers(smiles, config):
    assert config.num_threads == 1 and config.pool_max >= config.max_out
    print("something a library prints")
    if smiles == "CCN":
        raise ValueError("no nitrogen,\\nplease")
    if smiles == "CCS":
        os._exit(7)
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    ids = rdDistGeom.EmbedMultipleConfs(mol, config.max_out - 1, randomSeed=config.random_seed)
    return SimpleNamespace(mol=mol, conf_ids=list(ids)[::-1])
"""


@pytest.fixture
def interpreter(tmp_path):
    """A Python with a package `openconf` that embeds by RDKit; isolated, so that has to be put on its path."""
    (tmp_path / "openconf").mkdir()
    (tmp_path / "openconf" / "__init__.py").write_text(FAKE)
    (tmp_path / "openconf-0.1.dist-info").mkdir()
    (tmp_path / "openconf-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: openconf\nVersion: 0.1\n")
    start = f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_path(sys.argv[1], run_name='__main__')"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\n[ "$1" = -I ] || exit 9\nexec {sys.executable} -c "{start}" "$2"\n')
    program.chmod(0o755)
    return program


def test_openconf_in_its_own_interpreter(interpreter):
    """Conformers, a molecule it refuses, one that ends its process, and the next one as if nothing had been."""
    mols = [full(s) for s in ("C[C@H](O)F", "CCN", "CCS", "[H]/N=C/OC")]
    with BASELINES["openconf"].open(interpreter) as method:
        assert method.version == "0.1"
        made, refused, ended, after = (method(m, 9, 0) for m in mols)
    assert made.mol.GetNumConformers() == 8 and not made.problem and made.seconds > 0
    assert (refused.problem, ended.problem) == ("no nitrogen, please", "openconf ended with exit status 7")
    assert refused.mol.GetNumConformers() == ended.mol.GetNumConformers() == 0
    reference = etkdg(mols[0], 1)[0]
    refs, _ = group_records(records_of(reference, "m"))
    (found,) = evaluate(refs, records_of(made.mol, "m"), expected=9).molecules
    assert found.counts == {"ok": 8, "missing": 1}  # stereo went along in the SMILES
    assert after.mol.GetNumConformers() == 8 and Chem.MolToSmiles(Chem.RemoveHs(after.mol)) == "[H]/N=C/OC"


def test_openconf_that_does_not_run_is_said_with_what_to_do(tmp_path):
    for python, reason in (
        (None, "openconf needs an environment of its own: python3.12 -m venv"),
        (tmp_path / "nothing", "No such file or directory"),
        (sys.executable, "openconf does not run there (ModuleNotFoundError: No module named 'openconf')"),
    ):
        with pytest.raises(BaselineError) as caught, BASELINES["openconf"].open(python):
            pass
        assert reason in str(caught.value)


def test_through_the_command_line(interpreter, tmp_path, capsys):
    """All at once: a row each, with its cost; openconf needs its interpreter."""
    two = tmp_path / "two.sdf"
    with Chem.SDWriter(str(two)) as writer:
        for name, smiles in (("alcohol", "CCCO"), ("ester", "COC(C)=O")):
            mol, _ = etkdg(full(smiles), 2)
            mol.SetProp("_Name", name)
            for conformer in mol.GetConformers():
                writer.write(mol, conformer.GetId())
    job = ["evaluate", str(two), str(two), "--busters", "0", "-j", "1"]
    assert main([*job, "--compare", "etkdg", "openconf"]) == 2
    assert "--openconf-python" in capsys.readouterr().err
    assert main([*job, "--openconf-python", str(interpreter)]) == 2
    assert "goes with --compare openconf" in capsys.readouterr().err
    result = tmp_path / "r.json"
    names = ["etkdg2", "mmff4", "etkdg", "openconf"]
    assert main([*job, "--mmff", "--compare", *names, "--openconf-python", str(interpreter), "-o", str(result)]) == 0
    rows = json.loads(result.read_text())["methods"]
    assert list(rows) == ["pyg_diffusion", *(BASELINES[n].label for n in ("mmff", *names))]
    assert all(row["seconds per conformer"] > 0 for name, row in rows.items() if name != "pyg_diffusion")
    assert rows["openconf"]["missing"] == 2 and rows["ETKDGv3, 2x drawn"]["missing"] == 0


def test_baseline_uses_the_graph_and_keeps_it():
    mol = from_3d(embed("C[C@H](O)c1nonc1N", 1))
    far = with_positions(mol, positions(mol) + 100.0)
    a, seconds = etkdg(mol, 3, seed=1)
    b, _ = etkdg(far, 3, seed=1)
    np.testing.assert_array_equal(positions(a), positions(b))  # the coordinates it is given do not matter
    assert a.GetNumConformers() == 3 and seconds > 0 and mol.GetNumConformers() == 1
    relaxed, _ = etkdg(mol, 3, seed=1, mmff=True)
    assert np.abs(positions(relaxed) - positions(a)).max() > 1e-3
    assert np.array_equal(atom_map(mol, relaxed), np.arange(mol.GetNumAtoms()))  # MMFF's aromaticity stays out
    (out,) = evaluate([ensemble(mol, "m")], [*records_of(a, "m"), *records_of(relaxed, "m")]).molecules
    assert out.counts == Counter(ok=6)


def test_baseline_that_fails_returns_fewer():
    impossible = Chem.AddHs(Chem.MolFromSmiles("C1C[C@@H]2C[C@@H]1CC2"))  # norbornane with one bridgehead inside
    made, _ = etkdg(impossible, 2)
    assert made.GetNumConformers() == 0


def test_baseline_conformers_differ_under_every_seed():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCCO"))
    for seed in (0, 1):
        first, second = positions(etkdg(mol, 2, seed)[0])
        assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(positions(etkdg(mol, 2, 4)[0]), positions(etkdg(mol, 2, 4)[0]))
