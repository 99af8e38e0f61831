"""The image of Dockerfile is built, samples, and serves as compose.yaml asks for it; by podman, which needs no daemon.

Where its base image cannot be pulled, one made of Debian's packages stands in under its name. What pip is told on this
machine, it is told in the build as well.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
import yaml
from rdkit import Chem

from pyg_diffusion.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PYTHON = re.search(r"^ARG PYTHON=(.*)$", RECIPE, re.MULTILINE)[1]
BASE = f"docker.io/library/python:{PYTHON}-slim"
IMAGE = "localhost/pyg-diffusion-test"
DEBIAN = "bookworm"  # the Debian that has this Python
MOST = 1_600  # MB, the base image included


def podman(*args: object, check: bool = True, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(["podman", *map(str, args)], capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"podman {args[0]}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def run(*args: object) -> subprocess.CompletedProcess:
    """`podman run` without a network; under limits that a machine which is a container itself can set as well."""
    runtime = ["--runtime", "runc"] if shutil.which("runc") else []  # crun refuses some kernels' mixture of cgroups
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
    return podman(*runtime, "run", "--network", "none", *limits, *args)


def stand_in(folder: Path, lacking) -> None:
    """An image of Debian's Python under the name of the base image."""
    if shutil.which("mmdebstrap") is None or os.geteuid():
        lacking("the base image cannot be pulled, and making one needs root and mmdebstrap (apt-get install mmdebstrap)")
    packed, packages = folder / "root.tar", f"--include=python{PYTHON},python{PYTHON}-venv,ca-certificates"
    link = f'--customize-hook=ln -s /usr/bin/python{PYTHON} "$1/usr/local/bin/python"'
    command = ["mmdebstrap", "--quiet", "--variant=apt", packages, link, DEBIAN, str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    podman("import", packed, BASE)
    packed.unlink()


def pip_here(folder: Path) -> list[str]:
    """Options of a build in which pip is told what it is told here: indexes, folders of wheels, certificates."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    told = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.MULTILINE))
    told = {key: told[key] for key in ("index-url", "extra-index-url", "find-links", "cert", "timeout") if key in told}
    options = []
    for word in " ".join(told.values()).split():
        path = Path(urlparse(word).path) if word.startswith("file:") else Path(word)
        if path.is_absolute() and path.exists():
            path = path.parent if word.startswith("file:") else path  # the files of an index lie beside it
            options += ["--volume", f"{path}:{path}:ro"]
    settings = folder / "pip.conf"
    settings.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in told.items()))
    if "find-links" in told:  # torch's own index is not asked
        options += ["--build-arg", f"TORCH_INDEX={told.get('index-url', 'https://pypi.org/simple')}"]
    return [*options, "--secret", f"id=pip,src={settings}"]


@pytest.fixture(scope="module")
def image(lacking, tmp_path_factory) -> Iterator[str]:
    if shutil.which("podman") is None:
        lacking("podman is not installed (apt-get install podman)")
    folder, made = tmp_path_factory.mktemp("image"), False
    if podman("image", "exists", BASE, check=False).returncode and podman("pull", "--quiet", BASE, check=False).returncode:
        stand_in(folder, lacking)
        made = True
    told = ["--format", "docker", "--layers=false", "--network", "host", "--isolation", "chroot"]  # asks least of the kernel
    podman("build", *told, *pip_here(folder), "--tag", IMAGE, ROOT)
    yield IMAGE
    podman("rmi", "--force", IMAGE, *([BASE] if made else []))


@pytest.fixture
def data(tmp_path) -> Path:
    tmp_path.chmod(0o777)
    return tmp_path


def test_the_image_is_small_has_no_gpu_part_and_no_rights(image):
    facts = json.loads(podman("image", "inspect", image).stdout)[0]
    print(f"the image: {facts['Size'] / 1e6:.0f} MB")
    assert facts["Size"] < MOST * 1e6
    assert facts["Config"]["User"] == "user" and facts["Config"]["Entrypoint"] == ["pyg-diffusion"]
    code = "import torch, os; print(torch.__version__, torch.version.cuda, os.getuid(), os.access('/opt/venv', os.W_OK))"
    version, cuda, user, writable = run("--rm", "--entrypoint", "python", image, "-c", code).stdout.split()
    pinned = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert (version, cuda, user, writable) == (f"{pinned}+cpu", "None", "1000", "False")


def test_it_samples_what_is_sampled_outside(image, data):
    (data / "in.smi").write_text("CCO ethanol\nc1ccccc1O phenol\n")
    options = ["-n", "2", "--seed", "1", "--quiet"]
    run("--rm", "--volume", f"{data}:/data", image, "sample", "/data/in.smi", *options, "-o", "/data/out.sdf")
    assert main(["sample", str(data / "in.smi"), *options, "-o", str(data / "here.sdf")]) == 0
    there, here = (list(Chem.SDMolSupplier(str(data / name), removeHs=False)) for name in ("out.sdf", "here.sdf"))
    assert len(there) == len(here) == 4
    for a, b in zip(there, here, strict=True):
        assert abs(a.GetConformer().GetPositions() - b.GetConformer().GetPositions()).max() < 1e-3
    assert (data / "out.sdf").stat().st_uid == 1000


def hardened() -> list[str]:
    """Options of `podman run` that compose.yaml asks for its service."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    options = ["--read-only", "--read-only-tmpfs=false"] if service["read_only"] else []
    for key, option in (("tmpfs", "--tmpfs"), ("cap_drop", "--cap-drop"), ("security_opt", "--security-opt")):
        options += [f"{option}={value.removesuffix(':true')}" for value in service[key]]
    return [*options, IMAGE, *service["command"]]


def test_it_serves_is_healthy_and_ends_when_told(image):
    name = f"pyg-diffusion-test-{os.getpid()}"
    run("--detach", "--name", name, *hardened())
    try:
        until = time.monotonic() + 120
        while podman("healthcheck", "run", name, check=False).returncode:
            assert time.monotonic() < until, podman("logs", name).stderr
            time.sleep(1)
        ask = (
            "import json, urllib.request as u; body = json.dumps({'smiles': 'CCO', 'n': 2}).encode();"
            "r = u.Request('http://127.0.0.1:8000/api/conformers', body, {'Content-Type': 'application/json'});"
            "print(u.urlopen(r, timeout=120).read().decode())"
        )
        assert podman("exec", name, "python", "-c", ask).stdout.count("$$$$") == 2
        podman("stop", "--time", 60, name)
        assert podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == "0"
    finally:
        podman("rm", "--force", name)


def test_any_other_command_is_healthy(image):
    name = f"pyg-diffusion-test-{os.getpid()}"
    run("--detach", "--name", name, "--entrypoint", "sleep", image, "60")
    try:
        assert podman("healthcheck", "run", name, check=False).returncode == 0
    finally:
        podman("rm", "--force", "--time", 0, name)
