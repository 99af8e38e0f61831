"""Every code block of README, CONTRIBUTING and docs runs: Python as pytest-markdown-docs reads it, commands in a shell.

A block is a slow test, but for those with `<!-- quick -->` in the line above; `<!-- not run: REASON -->` there says why one
is none. The commands of a page run one after the other in a folder of their own, where datasets, configs and the like are
at hand.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from pytest_markdown_docs.plugin import extract_fence_tests

from pyg_diffusion.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
AT_HAND = ("benchmarks", "configs", "datasets", "docs", "slurm")
SHELL = ("console", "bash", "sh", "shell")
COMMAND = re.compile(r"(pyg-diffusion|python|pip|make|echo|sh|sbatch|docker|curl)\s")
PRELUDE = 'set -euo pipefail\npyg-diffusion() { "$PYTHON" -m pyg_diffusion "$@"; }\npython() { "$PYTHON" "$@"; }\n'
PARSER = MarkdownIt("commonmark")


def remark(lines: list[str], fence: int) -> str:
    """What the comment above a block says of it."""
    found = re.fullmatch(r"\s*<!-- (.*) -->\s*", lines[fence - 1]) if fence else None
    return found[1] if found else ""


def case(page: Path, what: object, name: str, quick: bool):
    return pytest.param(what, marks=() if quick else pytest.mark.slow, id=f"{page.relative_to(ROOT)}, {name}")


def python_blocks() -> Iterator:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in extract_fence_tests(PARSER, text, 0, page):
            said = remark(text.split("\n"), block.start_line - 1)
            if not said.startswith("not run: "):
                yield case(page, (page, block.source), f"line {block.start_line}", said == "quick")


def commands() -> Iterator:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found: dict[str, list[str]] = {"quick": [], "": []}
        for block in (token for token in PARSER.parse(text) if token.type == "fence" and token.map):
            said = remark(text.split("\n"), block.map[0])
            asked = block.info.strip() in SHELL or (not block.info.strip() and COMMAND.match(block.content))
            if asked and not said.startswith("not run: "):
                found[said].append(block.content)
        yield from (case(page, blocks, said or "slow", said == "quick") for said, blocks in found.items() if blocks)


@pytest.fixture
def place(tmp_path, monkeypatch) -> None:
    """A new folder to be in."""
    monkeypatch.chdir(tmp_path)
    for name in AT_HAND:
        Path(name).symlink_to(ROOT / name)
    Path("runs").mkdir()


@pytest.mark.parametrize("block", python_blocks())
def test_a_block_of_python_runs(block, place):
    page, source = block
    exec(compile(source, page, "exec"), {"__name__": "block"})


@pytest.mark.parametrize("blocks", commands())
def test_commands_run(blocks, place, capfd):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for block in blocks:
        if plain := plain_commands(block):  # in this process, which saves its start
            assert [main(line) for line in plain] == [0] * len(plain)
        else:
            done = subprocess.run(["bash", "-c", PRELUDE + block], env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def plain_commands(block: str) -> list[list[str]]:
    """The arguments of each line; [] where one is more than a command of the package."""
    if re.search(r"[|<>&$;\\]", re.sub(r'"[^"]*"', "", block)):
        return []
    words = [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]
    return [line[1:] for line in words] if all(line[:1] == ["pyg-diffusion"] for line in words) else []


def test_blocks_are_found():
    ids = [case.id for case in (*python_blocks(), *commands())]
    assert "docs/howto/sampler.md, line 7" in ids and "docs/start/conformers.md, quick" in ids
    assert plain_commands('pyg-diffusion sample "CC(=O)O; x" -n 2  # two\n') == [["sample", "CC(=O)O; x", "-n", "2"]]
    assert plain_commands("echo CCO | pyg-diffusion sample\n") == []
