"""Presets, counts by rotatable bonds, windows and populations through the command line."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem.finish import GAS_CONSTANT
from pyg_diffusion.cli import main
from pyg_diffusion.cli.parser import parse
from pyg_diffusion.tasks.molecules.commands import finish_of, with_preset
from pyg_diffusion.tasks.molecules.inputs import input_records, unique_molecules
from pyg_diffusion.tasks.molecules.presets import PRESETS
from pyg_diffusion.tasks.molecules.sample import Request

PAGE = (Path(__file__).parents[2] / "docs" / "start" / "conformers.md").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_the_readme_says_what_a_preset_stands_for(name):
    assert f"| `{name}` | {PRESETS[name].purpose} | `{PRESETS[name]}` |" in PAGE


def test_counts_by_rotatable_bonds():
    texts = ["CCO", "CCCCCCCCCCC", "CCCCCCCCCCCCCCCC", "CCO[2H]"]  # 0, 8, 13 and 0 rotatable bonds
    entries = unique_molecules(input_records(texts), pytest.fail, pytest.fail)
    assert [Request(n=None).count(entry) for entry in entries] == [50, 200, 300, 50]


def test_a_preset_gives_way_to_what_is_given(tmp_path, capsys):
    out = tmp_path / "out.sdf"
    assert main(["sample", "CCCC butane", "--preset", "ensemble", "-n", "6", "--prune", "0", "--quiet", "-o", str(out)]) == 0
    told = "--preset ensemble: -n auto --relax MMFF94s(eps=4) --window 10.0 --prune 0.5 --kelvin 298.15"
    assert told in capsys.readouterr().err
    mols = list(Chem.SDMolSupplier(str(out)))
    assert len(mols) == 6 and all(mol.GetProp("relaxed") == "MMFF94s(eps=4)" for mol in mols)
    share, energy, equal = (
        np.array([float(mol.GetProp(name)) for mol in mols])
        for name in ("population", "energy_kcal_mol", "equal_conformers")
    )
    weight = np.exp(-energy / (GAS_CONSTANT * 298.15)) / equal
    np.testing.assert_allclose(share, weight / weight.sum(), atol=0.01)  # energies are written to .01 kcal/mol


OTHERS = {
    "n": ("-n 3", (3, False)), "oversample": ("--oversample 4", 4.0), "no_confidence": ("--confidence", False),
    "prune": ("--prune 0", 0.0), "relax": ("--relax none", "none"), "energies": ("--energies MMFF94s", "MMFF94s"),
    "window": ("--window 3", 3.0), "kelvin": ("--kelvin 500", 500.0),
}  # fmt: skip


@pytest.mark.parametrize(("preset", "option"), [(name, option) for name in PRESETS for option in PRESETS[name].options])
def test_every_option_of_a_preset_gives_way(preset, option, capsys):
    words, value = OTHERS[option]
    args = parse(["sample", "C", *words.split(), "--preset", preset])
    with_preset(args)
    assert {name: getattr(args, name) for name in PRESETS[preset].options} == PRESETS[preset].options | {option: value}
    assert PRESETS[preset].options[option] != value


def test_a_preset_without_its_surface(capsys):
    args = parse(["sample", "C", "--preset", "docking", "--energies", "none", "--relax", "MMFF94s"])
    with_preset(args)
    assert (finish_of(args).relax, finish_of(args).energies, finish_of(args).window) == ("MMFF94s", "", 25.0)
    assert main(["sample", "C", "--preset", "ensemble", "--relax", "none"]) == 2
    assert "--window needs energies: add --energies" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--window 5", "--kelvin 300"])
def test_what_needs_energies_says_so(option, capsys):
    assert main(["sample", "CCO", *option.split()]) == 2
    assert f"{option.split()[0]} needs energies: add --energies" in capsys.readouterr().err


def test_a_molecule_without_energies_is_named(tmp_path, capsys):
    out = str(tmp_path / "out.sdf")
    assert main(["sample", "[Xe]", "-n", "1", "--energies", "MMFF94s", "--window", "5", "-o", out, "--quiet"]) == 1
    assert "skipped [Xe]: conformers without an energy, left out of the window" in capsys.readouterr().err
