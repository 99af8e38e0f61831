"""How samples were drawn: from generators, through files, in pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from rdkit import Chem

from pyg_diffusion import ConformerGenerator, FieldGenerator, MatrixInverter
from pyg_diffusion.chem import molecule_from_mol
from pyg_diffusion.cli import main
from pyg_diffusion.sample import Recording
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import owner
from pyg_diffusion.tasks.molecules import trajectory as of_molecules
from pyg_diffusion.tasks.molecules.trajectory_plot import energies_along
from pyg_diffusion.tasks.trajectories import read_trajectories
from pyg_diffusion.tasks.trajectory_plot import aligned, to_the_end
from pyg_diffusion.weights_io import Card, build_denoiser, save_pretrained

PROCESS = {"gamma": 1.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0}
FIELDS = Card(
    process=PROCESS,
    model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 2, "positions": 2},
    bf16=False,
    data={"kind": "fields", "shape": [4, 3], "kinds": "cycle", "spacing": 1.0, "channels": 2},
)
MATRICES = Card(
    process=PROCESS | {"gamma": 0.0},
    model={"kind": "matrix_energy", "depth": 2, "channels": 2, "node_channels": 2, "n": 3},
    bf16=False,
    data={"kind": "matrices"},
)
MOLECULES = Card(
    process=PROCESS | {"lambda0": 0.0, "tau_max": 40.0},
    model={"kind": "conformer", "width": 16, "depths": [1], "heads": 2, "pair_width": 8},
    bf16=False,
    elements=[1, 6, 8],
    data={"kind": "molecules"},
)


def denoiser(card):
    torch.manual_seed(0)
    return build_denoiser(card, PowerSpectrum.harmonic(1.0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    for card in (FIELDS, MATRICES, MOLECULES):
        save_pretrained(root / f"{card.data['kind']}.safetensors", denoiser(card), card)
    return root


def drawn(source, target):
    """Draws as `plot` does; the picture's kind and size."""
    assert main(["plot", str(source), "-o", str(target)]) == 0
    with Image.open(target) as image:
        return image.format, getattr(image, "n_frames", 1), target.stat().st_size


def test_fields_from_python_file_and_picture(weights, tmp_path):
    generator = FieldGenerator(denoiser(FIELDS), FIELDS, steps=8, device="cpu")
    plain = generator.sample(2, seed=1)
    assert generator.trajectories == []
    x = generator.sample(2, seed=1, record=Recording(5))
    torch.testing.assert_close(x, plain)  # to look on changes nothing
    for field, path in zip(x, generator.trajectories, strict=True):
        assert path.signal.shape == (5, 12, 2) and path.snr.shape == (5, 12)
        torch.testing.assert_close(path.denoised[-1], field)
    out, kept = tmp_path / "x.h5", tmp_path / "path.h5"
    command = ["sample", "-n", "2", "--steps", "8", "--seed", "1", "--weights", str(weights / "fields.safetensors")]
    assert main([*command, "-o", str(out), "--trajectory", str(kept), "--frames", "5", "--quiet"]) == 0
    found, data = read_trajectories(kept)
    assert data == FIELDS.data and len(found) == 2
    for one, two in zip(found, generator.trajectories, strict=True):
        torch.testing.assert_close(one.signal, two.signal, rtol=1e-2, atol=1e-2)  # weights on disk are float16
        torch.testing.assert_close(one.snr, two.snr)
    assert owner(kept).name == owner(out).name == "fields"
    kind, frames, _ = drawn(kept, tmp_path / "p.png")
    assert (kind, frames) == ("PNG", 1)
    kind, frames, _ = drawn(kept, tmp_path / "p.gif")
    assert kind == "GIF" and frames > 2
    kept.write_bytes(kept.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a file of trajectories, or a damaged one"):
        read_trajectories(kept)


def test_matrices_show_every_step_of_the_descent(weights, tmp_path):
    inverter = MatrixInverter(denoiser(MATRICES), MATRICES, 3, 2, device="cpu")
    inverse = inverter.invert(2 * torch.eye(3), record=Recording())
    (path,) = inverter.trajectories
    assert path.signal.shape == (6, 9, 1) and path.t.unique().numel() == 3
    torch.testing.assert_close(path.denoised[-1].view(3, 3), inverse)
    np.save(tmp_path / "a.npy", 2 * np.eye(3))
    kept = tmp_path / "path.h5"
    command = ["sample", str(tmp_path / "a.npy"), "--weights", str(weights / "matrices.safetensors"), "--quiet"]
    assert main([*command, "-o", str(tmp_path / "y.npy"), "--trajectory", str(kept), "--landscapes", "3"]) == 0
    assert read_trajectories(kept)[0][0].signal.shape == (30, 9, 1) and owner(kept).name == "matrices"
    assert drawn(kept, tmp_path / "p.png")[0] == "PNG"


@pytest.mark.parametrize("suffix", [".sdf", pytest.param(".xyz", marks=pytest.mark.slow)])
def test_conformers_through_a_file(suffix, weights, tmp_path, capsys):
    kept, out = tmp_path / f"path{suffix}", tmp_path / "o.sdf"
    command = ["sample", "CCCCCO pentanol", "[Na+].[Cl-]", "-n", "2", "--steps", "6", "--unsound", "keep", "--attempts", "1"]
    command += ["--weights", str(weights / "molecules.safetensors"), "-o", str(out), "--oversample", "1", "--quiet"]
    assert main([*command, "--trajectory", str(kept), "--frames", "4"]) == 0
    assert f"{kept}: 2 trajectories" in capsys.readouterr().err  # a salt's parts are put together afterwards
    found = of_molecules.read_trajectories(kept)
    assert len(found) == 2
    for mol, path in found:
        assert [a.GetAtomicNum() for a in mol.GetAtoms()] == [6] * 5 + [8] + [1] * 12
        assert path.signal.shape == path.denoised.shape == (4, 18, 3) and path.snr.shape == (4, 18)
        assert bool((path.tau.diff() < 0).all()) and path.tau[-1] == pytest.approx(2e-3, rel=1e-3)
        assert len(energies_along(mol, path)) == (4 if suffix == ".sdf" else 0)  # XYZ knows no bond orders
    ends = [m.GetConformer().GetPositions() for m in Chem.SDMolSupplier(str(out), removeHs=False)][:2]
    for (_, path), end in zip(found, ends, strict=True):
        assert to_the_end(path.denoised[-1:], torch.from_numpy(end).float(), True)[0] < 2e-3
    assert drawn(kept, tmp_path / "p.png")[0] == "PNG"
    assert drawn(kept, tmp_path / "p.gif")[0] == "GIF"


def test_a_mended_or_later_draw_shows_its_own_path():
    """Where a conformer is drawn again the trajectory is that of the draw that was kept."""
    generator = ConformerGenerator(denoiser(MOLECULES), MOLECULES, steps=4, device="cpu", unsound="keep", confidence=False)
    chiral = molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCC[C@H](O)CC")))
    (made,) = generator.sample([chiral], 6, seed=1, max_attempts=3, record=Recording())
    assert len(made.trajectories) == len(made.positions) > 0
    for position, path, fault in zip(made.positions, made.trajectories, made.faults, strict=True):
        gap = to_the_end(path.denoised[-1:], torch.from_numpy(np.array(position)).float(), True)[0]
        assert gap < 1e-3 or not fault  # mending moves atoms


def test_alignment_takes_out_turn_and_shift():
    x = torch.randn(7, 3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    turn = turn * turn.det()
    moved = (x @ turn + 3)[None]
    torch.testing.assert_close(aligned(moved, x)[0], x - x.mean(0), rtol=0, atol=1e-5)
    assert to_the_end(-moved, x, True)[0] > 0.1  # no reflection
    assert to_the_end(x[None] + 1, x, False)[0] == pytest.approx(3**0.5)


def test_bad_requests_are_refused_by_a_sentence(weights, tmp_path, capsys):
    fields = ["sample", "--weights", str(weights / "fields.safetensors"), "-o", str(tmp_path / "x.h5"), "--quiet"]
    path = str(tmp_path / "p.h5")
    molecules = [
        "sample",
        "CCO",
        "--weights",
        str(weights / "molecules.safetensors"),
        "-o",
        str(tmp_path / "o.sdf"),
        "--quiet",
    ]
    for command, message in (
        ([*fields, "--frames", "5"], "--frames goes with --trajectory"),
        ([*fields, "--trajectory", path, "--frames", "1000000"], "a trajectory holds 2 to 1,000 frames, got 1,000,000"),
        ([*fields, "--trajectory", path, "--steps", "1000000"], "at most 1,000 frames, and this one would have 1,000,000"),
        ([*fields, "--trajectory", path, "-n", "40000"], "at most 50,000,000 numbers in all"),
        ([*fields, "--trajectory", str(tmp_path / "p.sdf")], "these are written as .h5 or .hdf5"),
        ([*fields, "--trajectory", str(tmp_path / "x.h5")], "that is the output"),
        ([*molecules, "--trajectory", path], "these are written as .sdf or .xyz"),
        ([*molecules, "-n", "101", "--trajectory", str(tmp_path / "p.sdf")], "at most 100 conformers"),
        ([*molecules, "-n", "50", "CO", "CN", "--trajectory", str(tmp_path / "p.sdf")], "at most 100 conformers"),
    ):
        assert main(command) in (1, 2)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x.h5").exists() and not (tmp_path / "o.sdf").exists()
    (tmp_path / "other.xyz").write_text("1\nhe\nHe 0 0 0\n")
    assert main(["plot", str(tmp_path / "other.xyz")]) == 1
    assert "no trajectory as 'pyg-diffusion sample --trajectory' writes it" in capsys.readouterr().err
