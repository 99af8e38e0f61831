"""Makes trajectory_molecule.gif and trajectory_field.gif of this folder: python docs/trajectories.py (a minute of one core).

The molecule is drawn by the shipped weights. The field is a Gaussian one on 32x32, of which the exact denoiser is a filter.
"""

import tempfile
from pathlib import Path

import torch

from pyg_diffusion.cli import main
from pyg_diffusion.data import laplacian_operator
from pyg_diffusion.data.field_file import grid_of
from pyg_diffusion.sample import Exponential, Recorder, Recording, time_grid
from pyg_diffusion.sde import GeometricTime, LinearSDE
from pyg_diffusion.tasks.trajectories import write_trajectories
from pyg_diffusion.testing import gaussian_denoiser

HERE = Path(__file__).parent
FRAMES, FIELD_FRAMES = 40, 16  # noise takes much room in a GIF


def field(path: Path) -> None:
    """A smooth scalar field on a torus."""
    data = {"kind": "fields", "shape": [32, 32], "kinds": "cycle", "spacing": 1.0, "channels": 1}
    operator = laplacian_operator(grid_of(data))
    sde = LinearSDE(GeometricTime(1e-3, 40.0), gamma=1.0, lambda0=0.05)
    denoiser = gaussian_denoiser(sde, lambda lam: 0.3 / (0.05 + lam) ** 2)
    recorder = Recorder(Recording(FIELD_FRAMES), denoiser, operator, FRAMES)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1024, 1, generator=generator)
    Exponential(2).sample(denoiser, operator, time_grid(FRAMES - 1), lambda: noise, watch=recorder)
    write_trajectories(path, recorder.trajectories(), data)


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        drawn, path = Path(folder) / "ibuprofen.sdf", Path(folder) / "path.sdf"
        smiles = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O ibuprofen"
        draw = ["sample", smiles, "-n", "1", "--steps", str(FRAMES), "--sampler", "exponential2", "--seed", "3"]
        assert main([*draw, "-o", str(drawn), "--trajectory", str(path), "--oversample", "1", "--quiet"]) == 0
        assert main(["plot", str(path), "-o", str(HERE / "trajectory_molecule.gif")]) == 0
        field(Path(folder) / "field.h5")
        assert main(["plot", str(Path(folder) / "field.h5"), "-o", str(HERE / "trajectory_field.gif")]) == 0


if __name__ == "__main__":
    run()
