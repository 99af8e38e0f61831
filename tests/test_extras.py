"""Optional packages: each that the package asks for stands in the extra that it names, and a missing one is said at once."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import pyg_diffusion
from pyg_diffusion.cli import main
from pyg_diffusion.extras import MissingPackage, require
from pyg_diffusion.metrics import evaluate

ROOT = Path(pyg_diffusion.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTION = {"sklearn": "scikit-learn", "dimorphite_dl": "dimorphite-dl", "prometheus_client": "prometheus-client"}


def asked() -> set[tuple[str, str]]:
    """(module, extra) of every `require("module", "extra", ...)` of the package."""
    texts = [text for path in ROOT.rglob("*.py") if "require(" in (text := path.read_text(encoding="utf-8"))]
    calls = [node for text in texts for node in ast.walk(ast.parse(text))]
    names = [(n, ast.unparse(n.func).split(".")[-1]) for n in calls if isinstance(n, ast.Call)]
    return {
        (str(n.args[0].value), str(n.args[1].value))
        for n, name in names
        if name == "require"
        and len(n.args) == 3
        and isinstance(n.args[0], ast.Constant)
        and isinstance(n.args[1], ast.Constant)
    }


def test_what_is_asked_for_is_what_the_extra_installs():
    found = asked()
    assert {("lightning", "train"), ("posebusters", "eval"), ("matplotlib", "plot"), ("tblite", "xtb")} <= found
    for module, extra in found:
        names = [re.split(r"[<>=\[; ]", line)[0] for line in PROJECT["optional-dependencies"][extra]]
        assert DISTRIBUTION.get(module, module) in names, f"{module} is not in the extra {extra}: {names}"


def test_the_base_install_has_no_optional_package():
    base = {re.split(r"[<>=\[; ]", line)[0] for line in PROJECT["dependencies"]}
    optional = {re.split(r"[<>=\[; ]", line)[0] for lines in PROJECT["optional-dependencies"].values() for line in lines}
    assert not base & optional
    assert len(base) == 10


def test_it_is_an_error_of_import_and_of_value():
    for kind in (ImportError, ValueError):
        with pytest.raises(kind, match=r"drawing needs the package absent: pip install 'pyg_diffusion\[plot\]'"):
            require("absent", "plot", "drawing")


@pytest.mark.parametrize(
    ("package", "arguments", "said"),
    [
        ("lightning", ["train", "configs/quick.yaml", "-o", "RUN"], r"training needs the package lightning: .*\[train\]'"),
        ("matplotlib", ["plot", "RUN"], r"a picture needs the package matplotlib: .*\[plot\]'"),
        ("posebusters", ["evaluate", "{sdf}", "{sdf}"], r"\(--busters 0 .*needs the package posebusters: .*\[eval\]'"),
    ],
)
def test_a_command_names_what_is_missing(package, arguments, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    sdf = str(ROOT.parent / "datasets" / "qm9_ensembles_20.sdf.gz")
    run = str(tmp_path / "run")
    recipe = str(ROOT.parent / "configs" / "quick.yaml")
    monkeypatch.chdir(ROOT.parent)
    assert main([a.format(sdf=sdf).replace("RUN", run).replace("configs/quick.yaml", recipe) for a in arguments]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not Path(run).exists()


def test_without_slow_checks_none_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "posebusters", None)
    assert evaluate([], [], checked=0).molecules == []
    with pytest.raises(MissingPackage):
        evaluate([], [], checked=1)
