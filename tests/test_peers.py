"""docs/peers.md: what it says of ours is shown by a test that is there, and what it says of others has its source."""

import re
import shlex
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest

from pyg_diffusion.cli.parser import parse

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table behind a heading, without its head."""
    lines = dropwhile(lambda line: not line.startswith("|"), PAGE[PAGE.index(heading) :].splitlines())
    _, _, *table = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


SHOWN = rows("## Where each of ours")


@pytest.mark.parametrize(("command", "test"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_each_of_ours_is_a_command_and_a_test(command, test):
    path, _, name = test.strip("`").partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert parse(shlex.split(command.strip("`"))).command == command.strip("`").split()[0]


def test_each_feature_is_shown_and_each_source_is_named():
    features = rows("# Beside")
    assert [row[0] for row in features] == [row[0] for row in SHOWN]
    assert all(len(row) == 8 and all(row) for row in features)
    sources = dict(rows("## Sources"))
    used = set(re.findall(r"\b([A-Z]\d)\b(?=[^|]*\])", PAGE[: PAGE.index("## Where")]))
    assert used == set(sources) and all(re.search(r"<https://\S+>$", text) for text in sources.values())
    for row in features:
        assert all(cell == "-" or re.search(r"\[[A-Z]\d(, [A-Z]\d)*\]$", cell) for cell in row[2:]), row[0]
