"""No option is silently ignored: another task's is refused and told whose it is, one without effect what it needs."""

import json

import pytest

from pyg_diffusion.cli import main
from pyg_diffusion.cli.parser import parse
from pyg_diffusion.console import UsageError
from pyg_diffusion.tasks import TASKS


@pytest.fixture
def weights(tmp_path) -> dict[str, str]:
    """Cards that say of what kind the weights are, which is all that the parser reads."""
    for task in TASKS:
        (tmp_path / f"{task}.json").write_text(json.dumps({"data": {"kind": task}}))
    return {task: str(tmp_path / f"{task}.safetensors") for task in TASKS}


@pytest.mark.parametrize(
    ("task", "option"),
    [
        *(
            ("matrices", option)
            for option in ("-n 3", "--steps 5", "--sampler ddim", "--compile", "--ask a=1", "--guide b=1")
        ),
        *(
            ("matrices", option)
            for option in ("--guide b=1", "--keep x", "--guidance 2", "--eta 0.5", "--relax MMFF94s", "--strict")
        ),
        *(("fields", option) for option in ("--relax MMFF94s", "--level B3LYP", "--diversity 1", "--oversample 3")),
        *(("fields", option) for option in ("--stereo enumerate", "--no-confidence", "--unsound keep", "--attempts 2")),
        *(("fields", option) for option in ("--landscapes 5", "--energies MMFF94s", "--prune 0.1", "--max-isomers 3")),
        *(("molecules", option) for option in ("--landscapes 5", "--descents 5")),
    ],
)
def test_sample_refuses_what_is_of_another_task(task, option, weights):
    with pytest.raises(UsageError, match=rf"{option.split()[0]} is for .* and these weights make {TASKS[task].makes}"):
        parse(["sample", "--weights", weights[task], *option.split()])


def test_what_all_tasks_have_is_taken_by_all(weights):
    for task, path in weights.items():
        args = parse(["sample", "--weights", path, "--device", "cpu", "--report", "r.json", "--seed", "3", "-o", "out"])
        assert args.task is TASKS[task] and (args.device, args.report, args.seed) == ("cpu", "r.json", 3)


@pytest.mark.parametrize(
    "option", ["--etkdg", "--mmff", "--delta 0.3", "--busters 3", "--xtb", "--report r.json", "--compare etkdg", "-j 2"]
)
def test_evaluate_of_fields_refuses_what_is_of_conformers(option):
    with pytest.raises(UsageError, match=r"is for conformers .* and this file holds fields"):
        parse(["evaluate", "made.h5", *option.split()])


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["sample", "CCO", "--guidance", "2"], "--guidance goes with --ask"),
        (["sample", "CCO", "--eta", "0.5"], "--eta belongs to --sampler ddim"),
        (["sample", "CCO", "--max-isomers", "3"], "--max-isomers goes with --stereo enumerate"),
        (["sample", "CCO", "-o", "w.sdf", "--failed", "./w.sdf"], "--failed and --output are one file, ./w.sdf: give two"),
        (["evaluate", "a.sdf", "b.sdf", "--openconf-python", "python"], "--openconf-python goes with --compare openconf"),
        (["evaluate", "a.sdf", "b.sdf", "--xtb", "--busters", "0"], "--xtb needs conformers to work on"),
        (["evaluate", "made.h5", "b.sdf", "--baselines", "--etkdg"], "--etkdg is for conformers"),
        (["prepare", "a.smi", "-o", "a.h5", "--window", "3"], "they go with --conformers"),
        (["prepare", "a.smi", "-o", "a.h5", "--split-by", "scaffold"], "--split-by goes with --split"),
        (["plot", ".", "--generated", "a.sdf"], "for an evaluation, and . is a run's folder"),
        (["train", "--schema", "a.yaml"], "--schema stands alone"),
        (["train", "a.yaml"], "a recipe and a folder are needed"),
    ],
)
def test_an_option_without_effect_says_what_it_needs(arguments, needs, capsys):
    assert main(arguments) == 2
    assert needs in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(tmp_path, capsys):
    wrong = ["evaluate", str(tmp_path / "none.h5")]
    assert main(wrong) == 1
    short = capsys.readouterr().err
    assert len(short.splitlines()) == 1 and short.startswith("pyg-diffusion evaluate: ")
    assert main([*wrong, "--debug"]) == 1
    assert "Traceback (most recent call last)" in (long := capsys.readouterr().err) and long.endswith(short)
