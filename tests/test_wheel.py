"""The built wheel: pure Python, with weights inside, and `pyg-diffusion sample` works from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPTIONAL = ("lightning", "tensorboard", "posebusters", "pandas", "matplotlib", "tblite", "ase", "pyarrow", "ray", "fastapi")


def test_wheel_samples_from_anywhere(tmp_path):
    source = tmp_path / "source"  # a copy, so that no build folder appears in the checkout
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "pyg_diffusion"):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(target)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")  # nothing to compile
    names = zipfile.ZipFile(wheel).namelist()
    assert {"pyg_diffusion/weights/conformers.safetensors", "pyg_diffusion/weights/conformers.json"} <= set(names)
    assert "pyg_diffusion/py.typed" in names
    assert not any(n.startswith(("tests/", "benchmarks/", "datasets/")) for n in names)
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    code = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))\n"  # what extras install: sampling needs none of it
    code += "import pyg_diffusion, pyg_diffusion.cli as c; print(pyg_diffusion.__file__); raise SystemExit(c.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "sample", "CCO", "-n", "2", "-o", "out.sdf", "--quiet"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    assert (tmp_path / "out.sdf").read_text().count("$$$$") == 2
