"""What the command line gives for a seed, and names and defaults of its options, frozen before the tasks had a room each.

Small float32 weights are made here, so the figures are those of no trained model. Processors differ in the last digits:
arrays agree to 1e-3 Å, fields and inverses to 1e-4 of their size. `python tests/golden/test_outputs.py` writes the figures
anew, for changes that are wanted.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from pyg_diffusion.cli import main, parse
from pyg_diffusion.data.field_file import read_fields
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.weights_io import Card, build_denoiser, save_pretrained

FROZEN = Path(__file__).with_name("outputs.json")
PROCESS = {"gamma": 1.33, "lambda0": 0.0, "noise": "white", "tau_min": 2e-4, "tau_max": 40.0}
FIELDS = {"kind": "fields", "law": "matern", "shape": [6, 6], "kinds": "cycle", "spacing": 1.0, "parameters": {}}
CARDS = {
    "conformers": Card(
        process=PROCESS,
        model={"kind": "conformer", "width": 16, "depths": [1], "heads": 2, "pair_width": 8, "levels": ["one", "two"]},
        bf16=False,
        elements=[1, 6, 7, 8],
        data={"kind": "molecules"},
    ),
    "fields": Card(
        process=PROCESS | {"lambda0": 1.0},
        model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 1, "positions": 2},
        bf16=False,
        data=FIELDS | {"seed": 0, "num_samples": 8, "channels": 1},
    ),
    "matrices": Card(
        process={"gamma": 0.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 5.0},
        model={"kind": "matrix_energy", "depth": 2, "channels": 2, "node_channels": 2, "n": 5},
        bf16=False,
        data={"kind": "matrices", "n": 5, "c": 0.5, "seed": 0, "num_samples": 8},
    ),
}
ETHANOL = [
    [0.9, -0.08, -0.02], [-0.58, -0.35, 0.06], [-1.32, 0.81, 0.2], [1.27, 0.15, 1.01], [1.05, 0.82, -0.63],
    [1.45, -0.97, -0.34], [-0.8, -0.96, 0.97], [-0.86, -0.94, -0.82], [-1.11, 1.51, -0.44],
]  # fmt: skip


def weights(folder: Path, name: str) -> str:
    """Weights of a network that says something: its parameters are not those it begins training with."""
    denoiser = build_denoiser(CARDS[name], PowerSpectrum.harmonic(1.33))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in denoiser.net.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_pretrained(folder / f"{name}.safetensors", denoiser, CARDS[name])
    return str(folder / f"{name}.safetensors")


def conformers(path: Path) -> list[list]:
    """[name, positions] of every record."""
    mols = Chem.SDMolSupplier(str(path), removeHs=False)
    return [[m.GetProp("_Name"), m.GetConformer().GetPositions().round(4).tolist()] for m in mols]


def sampled(folder: Path) -> dict[str, list]:
    """What `sample` writes, by what is asked of it."""
    known = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    known.AddConformer(Chem.Conformer(len(ETHANOL)))
    known.GetConformer().SetPositions(np.array(ETHANOL))
    known.SetProp("_Name", "kept")
    with Chem.SDWriter(str(folder / "kept.sdf")) as writer:
        writer.write(known)
    field, matrix = np.full((36, 1), np.nan), np.random.default_rng(0).uniform(-1, 1, (2, 5, 5)) + 3 * np.eye(5)
    field[:9] = 1.0
    np.save(folder / "field.npy", field)
    np.save(folder / "matrix.npy", matrix)
    raw = ["--attempts", "1", "--unsound", "keep", "--oversample", "1", "--seed", "7", "-n", "2"]
    jobs = {
        "conformers": ["CCO", "O", "CC(=O)[O-].[Na+]", "C[C@H](F)C(=O)OCC1CC1", *raw],
        "conformers, ddim, a level": ["CC=O", "--sampler", "ddim", "--eta", "0.5", "--steps", "5", "--level", "two", *raw],
        "conformers, guided": ["CCO", "--guide", "clashes=10", "--diversity", "5", *raw],
        "conformers, kept": [str(folder / "kept.sdf"), "--keep", "CO", *raw],
        "fields": ["-n", "2", "--steps", "6", "--seed", "3"],
        "fields, kept": ["-n", "1", "--steps", "6", "--guide", "smoothness=0.1", "--keep", str(folder / "field.npy")],
        "matrices": [str(folder / "matrix.npy"), "--seed", "2"],
    }
    results: dict[str, list] = {}
    for job, arguments in jobs.items():
        kind = job.partition(",")[0]
        out = folder / {"conformers": "out.sdf", "fields": "out.h5", "matrices": "out.npy"}[kind]
        assert main(["sample", *arguments, "--weights", weights(folder, kind), "-o", str(out), "--quiet"]) == 0, job
        if kind == "conformers":
            results[job] = conformers(out)
        else:
            values = read_fields(out)[0].numpy() if kind == "fields" else np.load(out)
            results[job] = values.astype(float).round(6).tolist()
    return results


def defaults() -> dict[str, dict]:
    """Every option of every command and what it is where it is not given."""
    least = (
        ["prepare", "a.sdf", "-o", "a.h5"],
        ["train", "a.yaml", "-o", "run"],
        ["finetune", "a.sdf", "-o", "run"],
        ["sample", "C"],
        ["evaluate", "a.h5", "b.sdf"],  # of fields
        ["evaluate", "a.sdf", "b.sdf"],
        ["plot", "run"],
    )
    found: dict[str, dict] = {}
    for arguments in least:
        options = vars(parse(arguments)) | {"task": None}
        found[arguments[0]] = found.get(arguments[0], {}) | json.loads(json.dumps(options))
    return found


def test_sample_gives_what_it_gave(tmp_path):
    frozen = json.loads(FROZEN.read_text())["sampled"]
    now = sampled(tmp_path)
    assert list(now) == list(frozen)
    for job, values in frozen.items():
        if job.startswith("conformers"):
            assert [name for name, _ in now[job]] == [name for name, _ in values], job
            for (name, new), (_, old) in zip(now[job], values, strict=True):
                np.testing.assert_allclose(new, old, atol=1e-3, err_msg=f"{job}: {name}")
        else:
            np.testing.assert_allclose(now[job], values, atol=1e-4 * np.abs(values).max(), err_msg=job)


@pytest.mark.parametrize("command", ["prepare", "train", "finetune", "sample", "evaluate", "plot"])
def test_options_have_the_names_and_defaults_they_had(command):
    """New ones may have come; none has gone, or means something else where it is not given."""
    frozen, now = json.loads(FROZEN.read_text())["defaults"][command], defaults()[command]
    assert {name: now.get(name, "gone") for name in frozen} == frozen


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        torch.set_num_threads(1)
        FROZEN.write_text(json.dumps({"sampled": sampled(Path(name)), "defaults": defaults()}, separators=(",", ":")) + "\n")
    sys.exit(0)
