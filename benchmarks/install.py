"""What an installation takes and whether it works: wheel and sdist, each Python, the newest and the lowest versions allowed.

    make install-check                                     # builds both into dist/, then this
    python benchmarks/install.py dist --python python3.12 --extras train plot

For each Python `pip install` of the wheel into a bare venv is measured, with the newest versions that pip finds; the command
samples in a folder where nothing of the checkout is, and again from the sdist. Then everything that the package asks for
goes down to the lowest version allowed (`uv pip compile --resolution lowest-direct`), and the command samples and prepares a
store. Extras go one by one into venvs that see the first of those, before it goes down, so that what is counted is what each
adds; `scatter`, which compiles, has `make scatter`.

MB are 10⁶ bytes on the disk, byte code included; seconds are of pip's processor time. Writes results/install.json, in which
rows of other Pythons and extras stay.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from machine import cpu_model

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "install.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDS = [line.split(">")[0] for line in PROJECT["dependencies"]]
APART = ("scatter", "docs", "dev")  # compiled, or for contributors
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in APART]
ENSEMBLES = ROOT / "datasets" / "qm9_ensembles_20.sdf.gz"
SAMPLE = ("sample", "CCO", "-n", "2", "-o", "made.sdf")
PREPARE = ("prepare", str(ENSEMBLES), "-o", "store.h5")
OF_TORCH = ("torch", "torchgen", "functorch", "nvidia", "triton", "cuda")  # folders of torch and of what it brings


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """What it printed; an error shows what it said."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def uv(*arguments: str | Path) -> str:
    return run([sys.executable, "-m", "uv", "--quiet", *arguments])


def size(folders: Sequence[Path]) -> float:
    """MB of what is in them."""
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) / 1e6


class Environment:
    """A bare venv with pip, or one that sees another's packages."""

    def __init__(self, python: str | Path, folder: Path, seen: "Environment | None" = None):
        uv("venv", "--seed", "--python", python, folder)
        self.python = folder / "bin" / "python"
        self.site = Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))
        if seen is not None:
            (self.site / "seen.pth").write_text(f"{seen.site}\n")
        self.empty, self.had = size([self.site]), self.packages()

    def ask(self, code: str) -> str:
        """What Python prints."""
        return run([self.python, "-c", code]).strip()

    def packages(self) -> int:
        """Of its own."""
        return len(list(self.site.glob("*.dist-info")))

    def direct(self) -> dict[str, str]:
        """Versions of what the package asks for."""
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {NEEDS}}}))"
        found: dict[str, str] = json.loads(self.ask(code))
        return found

    def install(self, *arguments: str | Path) -> dict[str, Any]:
        """`pip install`, and what it took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        uv("pip", "check", "--python", self.python)
        return {
            "packages": self.packages() - self.had,
            "disk_mb": round(size([self.site]) - self.empty, 1),
            "torch_mb": round(size([self.site / name for name in OF_TORCH]), 1),
            "seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        }

    def lower(self, version: str, constraints: Sequence[str | Path], work: Path) -> None:
        """Down to the lowest versions of what the package asks for, with the newest of what those need."""
        found = work / "lowest.txt"
        compile_ = ("pip", "compile", "--resolution", "lowest-direct", "--only-binary", ":all:", "--python-version", version)
        uv(*compile_, *constraints, "--output-file", found, ROOT / "pyproject.toml")
        uv("pip", "install", "--python", self.python, "--requirement", found)
        uv("pip", "check", "--python", self.python)

    def works(self, what: str, *commands: Sequence[str]) -> None:
        """Run the installed command in a folder of its own."""
        with tempfile.TemporaryDirectory() as name:
            for arguments in commands:
                run([self.python.with_name("pyg-diffusion"), *arguments], Path(name))
                made = Path(name) / arguments[-1]
                if (arguments == SAMPLE and made.read_text().count("$$$$") != 2) or not made.stat().st_size:
                    raise SystemExit(f"{' '.join(arguments)} did not make what was asked for")
        print(f"  {what}: {' and '.join(arguments[0] for arguments in commands)} work", flush=True)


class Quick(Environment):
    """Installs by uv, which takes a tenth of the time, and measures nothing."""

    def install(self, *arguments: str | Path) -> dict[str, Any]:
        uv("pip", "install", "--python", self.python, *arguments)
        uv("pip", "check", "--python", self.python)
        return {}


def checked(
    kind: type[Environment], python: str, dist: Path, torch: Sequence[str], extras: Sequence[str], work: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both versions, and of the extras."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    pinned = []
    for name, version in zip(("newest", "lowest"), torch, strict=False):
        (work / f"{name}_torch.txt").write_text(f"torch=={version}\n")
        pinned.append(("--constraint", work / f"{name}_torch.txt"))
    newest, lowest = pinned or [(), ()]
    environment = kind(python, work / "venv")
    version = environment.ask("import platform; print('.'.join(platform.python_version_tuple()[:2]))")
    print(f"Python {version}", flush=True)
    rows = [
        {"python": version, "versions": "newest"} | environment.install(*newest, wheel) | {"direct": environment.direct()}
    ]
    print(f"  {rows[0]}", flush=True)
    environment.works("wheel", SAMPLE)
    added = []
    for name in extras:
        beside = Environment(environment.python, work / name, environment)
        added.append({"extra": name} | beside.install(*newest, f"{wheel}[{name}]"))
        print(f"  {added[-1]}", flush=True)
    environment.install("--force-reinstall", "--no-deps", sdist)
    environment.works("sdist", SAMPLE)
    environment.lower(version, lowest, work)
    rows.append({"python": version, "versions": "lowest", "direct": environment.direct()})
    print(f"  {rows[1]}", flush=True)
    environment.works("lowest versions", SAMPLE, PREPARE)
    return rows, added


def keep(rows: list[dict[str, Any]], new: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """The rows, each new one in the place of the one that has its values of the keys."""
    found = {tuple(row[key] for key in keys): row for row in [*rows, *new]}
    return [found[key] for key in sorted(found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="folder of one wheel and one sdist")
    parser.add_argument("--python", nargs="+", default=[f"python3.{k}" for k in (11, 12, 13)], help="interpreters")
    parser.add_argument("--extras", nargs="+", default=[], choices=["all", *EXTRAS], metavar="EXTRA", help="by name, or all")
    parser.add_argument("--torch", nargs=2, default=(), metavar=("NEWEST", "LOWEST"), help="versions that decide gigabytes")
    parser.add_argument("--quick", action="store_true", help="install by uv, and measure nothing")
    args = parser.parse_args()
    extras = EXTRAS if "all" in args.extras else args.extras
    for python in args.python:
        with tempfile.TemporaryDirectory() as name:
            kind = Quick if args.quick else Environment
            rows, added = checked(kind, python, args.dist.resolve(), args.torch, extras, Path(name))
        extras = []
        result = json.loads(RESULT.read_text()) if RESULT.is_file() else {"rows": [], "extras": []}
        result["rows"] = keep(result["rows"], rows, "python", "versions")
        result["extras"] = keep(result["extras"], added, "extra")
        result |= {"cpu": cpu_model(), "date": date.today().isoformat()}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
