"""A package of one file brings a task; the program trains, samples, scores and draws it, and no line here knows of it."""

import json
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


LIFE = """
import contextlib, io, json, sys
from pyg_diffusion.cli import main
ended = []
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code
    ended.append((code, said.getvalue()))
print(json.dumps(ended))
"""


def run(site: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and words of each command; all in one process, since starting takes most of the time."""
    paths = os.pathsep.join([str(site), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", LIFE],
        input=json.dumps(commands),
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_its_whole_life(site, tmp_path):
    recipe, folder, made = tmp_path / "trees.yaml", str(tmp_path / "run"), str(tmp_path / "made.trees")
    recipe.write_text(RECIPE)
    trained, sampled, scored, drawn, refused, strange = run(
        site,
        ["train", str(recipe), "-o", folder, "--quiet"],
        ["sample", "--weights", folder, "--trees", "6", "-o", made],
        ["evaluate", made],
        ["plot", made, "-o", str(tmp_path / "made.png")],
        ["sample", "--weights", folder, "-n", "3", "-o", made],
        ["sample", "CCO", "--trees", "3"],
    )
    assert trained[0] == sampled[0] == scored[0] == drawn[0] == 0, (trained, sampled, scored, drawn)
    assert "5 steps" in trained[1]
    assert "6 signals" in sampled[1]
    assert "of the law 1" in scored[1]
    assert (tmp_path / "made.png").stat().st_size > 1000
    assert refused[0] == strange[0] == 2
    assert "-n is for conformers or fields" in refused[1]
    assert "--trees is for tree signals" in strange[1]
