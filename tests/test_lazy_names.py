"""Names that load on first use: what a type checker reads is what there is."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import pyg_diffusion

LAZY = ["pyg_diffusion", *(f"pyg_diffusion.{name}" for name in ("chem", "metrics", "sample", "train", "viewer"))]


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_the_names_and_homes_that_load(package):
    module = import_module(package)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == module._HOMES
    assert set(module.__all__) - {"__version__"} == set(told)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        module.absent  # noqa: B018


def test_the_package_says_that_it_is_typed():
    assert (Path(pyg_diffusion.__file__).parent / "py.typed").is_file()
