"""A package of one file brings a task; the program trains, samples, scores and draws it, and no line here knows of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RECIPE = """
data: {kind: trees, nodes: 8, batch_size: 16}
process: {gamma: 1.0, lambda0: 1.0}
model: {width: 16, depth: 1, heads: 2}
train: {max_steps: 5, val_every: 5, threads: 1, bf16: false}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages with the task installed in it."""
    site = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    source = tmp_path_factory.mktemp("trees")  # building leaves files beside the source
    for name in ("pyproject.toml", "diffused_trees.py"):
        (source / name).write_bytes((HERE / "trees" / name).read_bytes())
    subprocess.run([*install, "--target", str(site), str(source)], check=True)
    return site


def run(site: Path, *arguments: str, code: int = 0) -> str:
    paths = os.pathsep.join([str(site), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "pyg_diffusion.cli", *arguments],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_its_whole_life(site, tmp_path):
    recipe, folder, made = tmp_path / "trees.yaml", str(tmp_path / "run"), str(tmp_path / "made.trees")
    recipe.write_text(RECIPE)
    assert "5 steps" in run(site, "train", str(recipe), "-o", folder, "--quiet")
    assert "6 signals" in run(site, "sample", "--weights", folder, "--trees", "6", "-o", made)
    assert "of the law 1" in run(site, "evaluate", made)
    run(site, "plot", made, "-o", str(tmp_path / "made.png"))
    assert (tmp_path / "made.png").stat().st_size > 1000
    refused = run(site, "sample", "--weights", folder, "-n", "3", "-o", made, code=2)
    assert "-n is for conformers or fields" in refused
    assert "--trees is for tree signals" in run(site, "sample", "CCO", "--trees", "3", code=2)
