"""What is declared is what was tried: bounds, the conda recipe, the extra that compiles."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import pyg_diffusion

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDS = [Requirement(line) for line in PROJECT["dependencies"]]
CONDA = {"torch": "pytorch", "torch-geometric": "pytorch_geometric"}


def test_the_lowest_versions_allowed_are_those_that_worked():
    """By benchmarks/install.py on the lowest Python: a bound that nobody tried is a guess."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "install.json").read_text(encoding="utf-8"))["rows"]
    tried = {(row["python"], row["versions"]): row["direct"] for row in rows}
    pythons = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert set(tried) == {(python, versions) for python in pythons for versions in ("newest", "lowest")}
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    for need in NEEDS:
        bound = Version(str(need.specifier).removeprefix(">=")).release
        lowest, newest = (Version(tried[pythons[0], versions][need.name]) for versions in ("lowest", "newest"))
        assert lowest.release[: len(bound)] == bound, f"{need.name}: {lowest} was tried, {need.specifier} is said"
        assert newest >= lowest
        assert all(need.specifier.contains(direct[need.name]) for direct in tried.values())


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    context, run = recipe["context"], recipe["requirements"]["run"]
    assert context["version"] == pyg_diffusion.__version__
    assert PROJECT["requires-python"] == f">={context['python_min']}"
    assert run == ["python >=${{ python_min }}", *(f"{CONDA.get(n.name, n.name)} {n.specifier}" for n in NEEDS)]
    (command,) = PROJECT["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(command)]
    licences = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("pyg_diffusion/*/static/*/LICENSE*"))
    assert recipe["about"]["license_file"] == ["LICENSE", *licences]
    assert recipe["about"]["summary"] == PROJECT["description"]


def test_the_conda_recipe_renders():
    """By rattler-build, which refuses unknown fields, versions and licences; building needs conda's channels."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("rattler_build")
    from rattler_build import Stage0Recipe

    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
    (variant,) = Stage0Recipe.from_yaml(text).render()
    made = variant.recipe.to_dict()
    assert made["package"] == {"name": "pyg_diffusion", "version": pyg_diffusion.__version__}
    assert made["requirements"]["run"][0] == f"python {PROJECT['requires-python']}"
    for right, wrong in (("license: MIT", "license: NONE"), ("summary:", "sumary:"), ("scipy >=1.17", "scipy >=1.17 <>")):
        with pytest.raises(Exception, match=r"license|sumary|build string"):
            Stage0Recipe.from_yaml(text.replace(right, wrong))


@pytest.mark.slow
def test_a_torch_scatter_of_another_torch_does_no_harm(tmp_path):
    """Its library does not load: PyG says so and goes on without."""
    (tmp_path / "torch_scatter.py").write_text("raise OSError('_scatter_cpu.so: undefined symbol')\n")
    code = "from pyg_diffusion.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "sample", "CCO", "-n", "1", "-o", "out.sdf", "--quiet"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "undefined symbol" in done.stderr
    assert (tmp_path / "out.sdf").read_text().count("$$$$") == 1
