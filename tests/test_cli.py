"""The command line as a user types it: exit status, streams, order, names."""

import gzip
import io
import json
import subprocess
import sys

import pytest
from conftest import embed
from rdkit import Chem

from pyg_diffusion.cli import main
from pyg_diffusion.sample.confidence import TAUS


def write_sdf(path, mols, **properties):
    with Chem.SDWriter(str(path)) as writer:
        for mol in mols:
            for key, value in properties.items():
                mol.SetProp(key, value)
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    return str(path)


def read_sdf(path):
    return list(Chem.SDMolSupplier(str(path), removeHs=False))


def test_help_everywhere(capsys):
    for command in ([], ["prepare"], ["train"], ["finetune"], ["sample"], ["evaluate"], ["plot"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["sample", "C", "-n", "0"],
        ["sample", "C", "--sampler", "magic"],
        ["sample", "--nonsense", "C"],
        ["prepare", "a"],
    ],
)
def test_wrong_usage_is_2_and_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--help says what there is" in said


def test_a_level_that_the_weights_do_not_know_is_wrong_usage(capsys):
    assert main(["sample", "C", "--level", "XX", "--quiet"]) == 2
    assert "no level of theory 'XX'; it knows GFN2-xTB" in capsys.readouterr().err


def test_eta_without_ddim_is_wrong_usage(capsys):
    assert main(["sample", "C", "--eta", "0.5", "--quiet"]) == 2
    assert "--eta belongs to" in capsys.readouterr().err


def test_sample_smiles_to_file(tmp_path, capsys):
    out = tmp_path / "deep" / "out.sdf"
    assert main(["sample", "-n", "3", "CCO ethanol", "C[C@H](N)O", "-o", str(out), "--seed", "4", "--quiet"]) == 0
    mols = read_sdf(out)
    assert [m.GetProp("_Name") for m in mols] == ["ethanol"] * 3 + ["C[C@H](N)O"] * 3
    assert all(m.GetConformer().Is3D() and m.GetNumAtoms() == Chem.AddHs(m).GetNumAtoms() for m in mols)
    again = tmp_path / "again.sdf"
    assert main(["sample", "CCO ethanol", "C[C@H](N)O", "-n", "3", "-o", str(again), "--seed", "4", "--quiet"]) == 0
    assert out.read_text() == again.read_text()
    assert "network evaluations each" in capsys.readouterr().err


def test_sample_keeps_order_names_properties_and_atom_order(tmp_path):
    mols = [embed("OCC"), embed("c1ccccc1O")]
    source = write_sdf(tmp_path / "in.sdf", mols, activity="7.5")
    out = tmp_path / "out.sdf.gz"
    assert main(["sample", source, "-n", "2", "-o", str(out), "--quiet"]) == 0
    with gzip.open(out) as stream:
        made = list(Chem.ForwardSDMolSupplier(stream, removeHs=False))
    assert [m.GetProp("_Name") for m in made] == ["OCC", "OCC", "c1ccccc1O", "c1ccccc1O"]
    for k, mol in enumerate(made):
        assert mol.GetProp("activity") == "7.5"
        assert [a.GetAtomicNum() for a in mol.GetAtoms()] == [a.GetAtomicNum() for a in mols[k // 2].GetAtoms()]


def test_skipped_records_are_named_and_strict_counts_them(tmp_path, capsys):
    source = tmp_path / "in.smi"
    source.write_text("CCO good\nC1CC bad\n\nO water\n")
    arguments = ["sample", str(source), "-n", "1", "-o", str(tmp_path / "o.sdf"), "--quiet"]
    assert main(arguments) == 0
    errors = capsys.readouterr().err
    assert "skipped bad: not a valid SMILES" in errors and "2 molecules done, 1 skipped: bad" in errors
    assert main([*arguments, "--strict"]) == 1
    assert main(["sample", "C1CC", "-o", str(tmp_path / "n.sdf"), "--quiet"]) == 1


def test_sample_through_pipes(capsys, monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode())))

    give("# comment\nCCO\nO water\n")
    assert main(["sample", "-n", "1", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert text.count("$$$$") == 2 and "water" in text
    for again in (text, text.replace("$$$$", "$$$$ ").encode(), gzip.compress(text.encode())):  # what it wrote, it reads
        give(again)
        assert main(["sample", "-", "-n", "2x", "--quiet"]) == 0
        assert capsys.readouterr().out.count("$$$$") == 4
    give("")
    assert main(["sample", "--quiet"]) == 1
    assert "stdin: the file is empty" in capsys.readouterr().err


def test_a_failing_job_leaves_the_output_alone(tmp_path, capsys):
    out = tmp_path / "good.sdf"
    out.write_text("precious")
    assert main(["sample", "missing.sdf", "-o", str(out), "--quiet"]) == 1
    assert main(["sample", "C1CC", "-o", str(out), "--quiet"]) == 1
    assert out.read_text() == "precious"
    source = write_sdf(tmp_path / "in.sdf", [embed("CCO")])
    before = (tmp_path / "in.sdf").read_text()
    assert main(["sample", source, "-o", source, "--quiet"]) == 2
    assert (tmp_path / "in.sdf").read_text() == before
    assert "also an input" in capsys.readouterr().err
    assert main(["sample", "C1CC", "-o", str(tmp_path / "none.sdf"), "--quiet"]) == 1
    assert not (tmp_path / "none.sdf").exists()


def test_prepare_names_all_it_skipped_even_if_nothing_is_left(tmp_path, capsys):
    source = tmp_path / "bad.smi"
    source.write_text("C1CC one\nC(( two\n")
    assert main(["prepare", str(source), "-o", str(tmp_path / "deep" / "s.h5"), "--quiet", "-j", "1"]) == 1
    errors = capsys.readouterr().err
    assert "skipped one" in errors and "skipped two" in errors and "no store was written" in errors


@pytest.mark.parametrize("text", ['{"per_molecule": 3}', '{"per_molecule": {"a": [{"x": 1}]}}', "[]", "no json"])
def test_plot_refuses_other_json(text, tmp_path, capsys):
    (tmp_path / "r.json").write_text(text)
    assert main(["plot", str(tmp_path / "r.json")]) == 1
    assert "not a result" in capsys.readouterr().err


def test_nameless_conformers_are_one_molecule_and_stay_nameless(tmp_path):
    mol = embed("CCO", 3)
    mol.ClearProp("_Name")
    heavy = Chem.Mol(mol)
    heavy.GetAtomWithIdx(0).SetIsotope(13)  # another molecule, of the same features
    source, out = write_sdf(tmp_path / "in.sdf", [mol, heavy]), tmp_path / "out.sdf"
    assert main(["sample", source, "-n", "1", "-o", str(out), "--quiet"]) == 0
    made = read_sdf(out)
    assert [m.GetProp("_Name") for m in made] == ["", ""]
    assert [m.GetAtomWithIdx(0).GetIsotope() for m in made] == [0, 13]


def test_conformers_of_one_molecule_are_one_molecule(tmp_path, capsys):
    source = write_sdf(tmp_path / "in.sdf", [embed("CCO", 3)])
    out = tmp_path / "out.sdf"
    assert main(["sample", source, "-n", "2x", "-o", str(out), "--quiet"]) == 0
    assert len(read_sdf(out)) == 6
    assert "2 records repeat a molecule" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "missing.smi", "--quiet"], "missing.smi: no such file"),
        (["sample", "C", "-o", "/proc/none/x.sdf", "--quiet"], "cannot write"),
        (["sample", "C", "--weights", "nowhere.safetensors", "--quiet"], "no such file"),
        (["train", "nowhere.yaml", "-o", "x"], "nowhere.yaml: no such file"),
        (["evaluate", "a.sdf", "b.sdf"], "b.sdf: no such file"),
        (["plot", "nowhere"], "no such file"),
        (["prepare", "nowhere.sdf", "-o", "x.h5"], "nowhere.sdf: no such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    assert message in capsys.readouterr().err


def test_the_whole_road(tmp_path, capsys):
    """prepare, train, sample, evaluate, plot: each from the output of the one before."""
    source = write_sdf(tmp_path / "mols.sdf", [embed(s, 2) for s in ("CCO", "CCN", "CC(C)O", "COC")])
    store, run, made = (str(tmp_path / n) for n in ("s.h5", "run", "made.sdf"))
    report, result = str(tmp_path / "report.json"), str(tmp_path / "result.json")
    assert main(["prepare", source, "-o", store, "--quiet", "-j", "1"]) == 0
    config = tmp_path / "c.yaml"
    config.write_text("model: {width: 16, depths: [1], heads: 2, pair_width: 8}\ntrain: {max_steps: 4, val_every: 2}\n")
    assert main(["train", str(config), f"data.store={store}", "data.val_fraction=0.3", "-o", run, "--quiet"]) == 0
    assert main(["sample", source, "-n", "2x", "--weights", run, "-o", made, "--report", report, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", made, source, "--etkdg", "--report", report, "-o", result, "--busters", "2", "-j", "1"]) == 0
    table = capsys.readouterr().out
    assert "ETKDGv3" in table and "network evaluations per conformer" in table
    scored = json.loads((tmp_path / "result.json").read_text())
    assert scored["molecules"] == 4 and len(scored["per_molecule"]["pyg_diffusion"][0]["recall"]) == 2
    assert main(["plot", run]) == 0 and (tmp_path / "run" / "training.png").stat().st_size > 10_000
    assert main(["plot", result, "--generated", made, "--reference", source]) == 0
    assert (tmp_path / "result.png").stat().st_size > 10_000


def test_finetune_then_sample_like_the_own_data(store_path, tmp_path, capsys):
    """From any weights; the own level is what is sampled by default, and what the weights knew before is still there."""
    recipe = tmp_path / "r.yaml"
    model = "model: {width: 16, depths: [1], heads: 2, pair_width: 8, levels: [GFN2-xTB]}"
    recipe.write_text(f"data: {{store: {store_path}, batch_size: 4, val_fraction: 0.2}}\n{model}\ntrain: {{max_steps: 1}}\n")
    assert main(["train", str(recipe), "-o", str(tmp_path / "first"), "--quiet"]) == 0
    source = write_sdf(tmp_path / "mine.sdf", [embed("OCC"), embed("c1ccccc1O"), embed("CC=O")])
    end = "train.max_steps=2"
    command = ["finetune", source, "-o", str(tmp_path / "mine"), "--weights", str(tmp_path / "first"), "--quiet", "--set"]
    assert main([*command, end]) == 0
    card = json.loads((tmp_path / "mine" / "weights.json").read_text())
    assert card["model"]["levels"] == ["own", "GFN2-xTB"] and card["training"]["steps"] == 2
    assert {1, 6, 7, 8, 9, 11} == set(card["elements"])  # those of the first weights are not forgotten
    assert main([*command, end]) == 2 and "already holds a run" in capsys.readouterr().err
    assert main([*command, "train.max_steps=3", "--resume"]) == 0
    assert main([*command, "nonsense"]) == 2
    out = tmp_path / "o.sdf"
    sample = ["sample", "CCO", "-n", "4", "--steps", "3", "--weights", str(tmp_path / "mine"), "-o", str(out), "--quiet"]
    assert main(sample) == 0
    own = out.read_text()
    assert main([*sample, "--level", "own"]) == 0 and out.read_text() == own
    assert main([*sample, "--level", "AM1"]) == 2 and "it knows own, GFN2-xTB" in capsys.readouterr().err


def test_relaxed_and_pruned_conformers_say_so(tmp_path, capsys):
    out, report = tmp_path / "o.sdf", tmp_path / "r.json"
    command = ["sample", "CCO", "-n", "6", "--relax", "MMFF94s", "--prune", "0.1", "-o", str(out), "--report", str(report)]
    assert main([*command, "--quiet"]) == 0
    mols = read_sdf(out)
    energies = [float(m.GetProp("energy_kcal_mol")) for m in mols]
    assert 1 <= len(mols) <= 3 and energies[0] == 0 and energies == sorted(energies)
    assert {m.GetProp("relaxed") for m in mols} == {"MMFF94s"}
    assert json.loads(report.read_text())["finished"] == {"conformers left out as near-duplicates": 6 - len(mols)}
    assert "missing" not in capsys.readouterr().err


def test_oversampled_and_repelling_conformers_are_as_many_and_cost_what_they_cost(tmp_path):
    out, report = tmp_path / "out.sdf", tmp_path / "report.json"
    command = ["sample", "OCCO", "-n", "3", "--steps", "4", "-o", str(out), "--report", str(report), "--quiet"]
    made = {}
    for options in (["--oversample", "1"], ["--oversample", "2.5"], ["--oversample", "1", "--diversity", "10"]):
        assert main([*command, *options]) == 0
        tally = json.loads(report.read_text())
        assert tally["conformers"] == 3 and len(list(Chem.SDMolSupplier(str(out)))) == 3
        assert tally["asked"] == 3 and tally["drawn"] == (8 if "2.5" in options else 3)
        assert tally["evaluations"] == (4 + len(TAUS)) * tally["drawn"]  # no stereo, so nothing is drawn again
        made[tuple(options)] = out.read_text()
    assert len(set(made.values())) == 3


def test_evaluating_a_file_against_itself_is_perfect(tmp_path, capsys):
    source = write_sdf(tmp_path / "mols.sdf", [embed("C[C@H](N)C(=O)O", 2)])
    result = tmp_path / "r.json"
    assert main(["evaluate", source, source, "-o", str(result), "--busters", "0", "-j", "1"]) == 0
    row = json.loads(result.read_text())["methods"]["pyg_diffusion"]
    assert row["AMR-R mean"] < 1e-3 and row["COV-R(0.1) mean"] == 1.0
    assert row["COV-P(0.1) mean"] == 0.5  # four are expected of two references; the missing two are misses


def test_files_of_other_methods_are_columns_of_the_table(tmp_path, capsys):
    mol = embed("C[C@H](N)C(=O)O", 2)
    source = write_sdf(tmp_path / "mols.sdf", [mol])
    mol.RemoveConformer(1)
    half = write_sdf(tmp_path / "half.sdf", [mol])
    command = ["evaluate", source, source, "--busters", "0", "-j", "1", "-o", str(tmp_path / "r.json")]
    assert main([*command, "--beside", f"one of two={half}"]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())["methods"]
    assert list(rows) == ["pyg_diffusion", "one of two"]
    assert [row["COV-P(0.1) mean"] for row in rows.values()] == [0.5, 0.25]
    assert "one of two" in capsys.readouterr().out.splitlines()[2]
    assert main([*command, "--beside", f"pyg_diffusion={half}"]) == 1
    assert "'pyg_diffusion' is the name of another column" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_command_that_is_offered_resumes(store_path, tmp_path):
    """Also where paths have blanks and the recipe was changed on the command line: what is printed can be pasted."""
    import shlex
    import signal
    import time

    config, run = tmp_path / "my recipe.yaml", tmp_path / "it's a [run]"
    config.write_text(
        f"data: {{store: {store_path}, batch_size: 4, val_fraction: 0.2}}\n"
        "model: {width: 8, depths: [1], heads: 2, pair_width: 8}\ntrain: {max_steps: 100000, threads: 1}\n"
    )
    changes = ["model.width=16", f"data.store=[{json.dumps(str(store_path))}]"]
    command = ["train", str(config), *changes, "-o", str(run), "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "pyg_diffusion", *command], stderr=subprocess.PIPE, text=True)
    log = run / "logs" / "from_step_0000000" / "metrics.csv"
    for _ in range(600):
        if log.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    assert "interrupted; to continue:" in errors
    offered = shlex.split(errors.splitlines()[-1])
    assert offered == ["pyg-diffusion", "train", str(config), *changes, "-o", str(run), "--resume", "--quiet"]
    steps = json.loads((run / "weights.json").read_text())["training"]["steps"]
    assert main([*offered[1:], f"train.max_steps={steps + 2}"]) == 0
    assert json.loads((run / "weights.json").read_text())["training"]["steps"] == steps + 2
