"""Every public class and function has an example, and every example in the package does what it says."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import pyg_diffusion

PUBLIC = ["spectral", "sample", "nn", "transforms", "datasets"]
ROOT = Path(pyg_diffusion.__file__).parent
MODULES = [
    ".".join(("pyg_diffusion", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted(ROOT.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_has_an_example(package):
    module = import_module(f"pyg_diffusion.{package}")
    things = [getattr(module, name) for name in module.__all__]
    things = [thing for thing in things if inspect.isclass(thing) or inspect.isfunction(thing)]
    assert len(things) > 1
    assert [thing.__name__ for thing in things if ">>>" not in (thing.__doc__ or "")] == []


def test_every_name_of_the_package_has_an_example():
    things = [getattr(pyg_diffusion, name) for name in pyg_diffusion.__all__ if name != "__version__"]
    assert [thing.__name__ for thing in things if ">>>" not in (thing.__doc__ or "")] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module, name) if test.examples]
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
