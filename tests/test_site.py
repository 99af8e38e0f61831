"""The pages of the site: tables are those of the results, and the navigation names every page."""

import importlib.util
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def module(name: str):
    """A script of docs/."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_tables_are_those_of_the_results():
    results = module("results")
    assert len(results.PAGES) == 9
    shown: set[str] = set()
    for page in results.PAGES:
        text = page.read_text(encoding="utf-8")
        assert results.filled(text) == text, f"{page.name}: run: python docs/results.py"
        shown |= {name for _, name, _ in results.PLACE.findall(text)}
    assert shown == set(results.TABLES), "each table stands in a page"


def test_a_number_has_three_digits():
    sys.path.append(str(DOCS))
    number = module("tables").number
    assert [number(x) for x in (0.30251, 12.345, 20005.2, 1.7e-8, 0.0, 7, None, "50 of 50")] == [
        "0.303", "12.3", "20,005", "1.70e-08", "0", "7", "-", "50 of 50"
    ]  # fmt: skip


def test_the_navigation_names_every_page():
    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for value in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(value)]

    named = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} | {"reference/command_line.md"}
    assert named == there


def test_every_command_and_option_is_in_the_reference():
    page = module("command_line").page()
    for text in ("\n## sample\n", "\n## prepare\n", "`--stereo`", "### sample: options of fields", "`--schema`"):
        assert text in page
    assert "%(" not in page


def test_the_image_is_made_of_files_that_are_there():
    """Docker itself is not asked: what is copied is there, let through, and enough for the package to be built."""
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*)$", recipe, re.MULTILINE) for name in line.split()[:-1]}
    let_through = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert copied == set(let_through)
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "setup.cfg", "README.md", "LICENSE", "pyg_diffusion"} <= copied
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    assert service["command"][0] == "serve" and re.search(r"^USER user$", recipe, re.MULTILINE)


def test_workflows_call_what_the_makefile_has():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called: set[str] = set()
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
        steps = [step.get("run", "") for job in jobs.values() for step in job.get("steps", [])]
        called |= {target for step in steps for target in re.findall(r"\bmake ([\w-]+)", step)}
    assert called == {"lint", "test", "slow", "docs", "dist", "browser", "coverage", "install-check", "scatter"}
    assert called <= targets


def test_the_citation_names_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["license"] == "MIT"
    assert [author["name"] for author in citation["authors"]] == ["The pyg_diffusion project"]
