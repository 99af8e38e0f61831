"""What the page of old names says of today is so."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "history" / "first_design.md"
NOW = [line.rsplit("|", 2)[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
NAMES = sorted({name for cell in NOW for name in re.findall(r"`(pyg_diffusion[\w.]+)`", cell)})
FILES = sorted({name for cell in NOW for name in re.findall(r"`((?:benchmarks|configs|docs)/[\w./]+)`", cell)})


def found(name: str) -> object:
    """The module or attribute of a dotted name."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            thing = getattr(thing, part)
        return thing
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_where_the_page_says(name):
    assert found(name) is not None


def test_files_are_where_the_page_says():
    assert len(FILES) > 8
    assert [file for file in FILES if not (ROOT / file).is_file()] == []
