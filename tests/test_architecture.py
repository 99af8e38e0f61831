"""Imports run one way: spectral → sde → denoise → {loss, sample} → train → cli, spectral → data → transforms → datasets."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyg_diffusion

ROOT = Path(pyg_diffusion.__file__).parent

# What each part may import of the package. Parts that are not listed (cli, plot, ...) stand above all of these.
MAY_IMPORT = {
    "spectral": set(),
    "sde": {"spectral"},
    "denoise": {"spectral", "sde"},
    "posterior": {"spectral", "sde"},
    "loss": {"spectral", "sde", "denoise", "posterior"},
    "regularize": {"spectral", "sde", "denoise"},
    "terms": {"spectral", "regularize", "registry"},
    "bound_terms": {"spectral", "regularize", "terms", "data.schema", "transforms"},
    "mining": {"spectral", "sde", "denoise"},
    "sample": {"spectral", "sde", "denoise", "registry"},
    "files": set(),
    "registry": set(),
    "deprecated": set(),
    "data": {"spectral", "files"},
    "transforms": {"spectral", "data"},
    "nn": {"spectral", "data.schema", "data.properties", "denoise.Noisy"},
    "chem": {"spectral", "data", "transforms"},
    "metrics": {"spectral", "data", "chem", "registry", "deprecated"},
    "datasets": {"spectral", "data", "transforms", "chem"},
}
THIRD_PARTY = {
    "spectral": {"torch", "scipy", "numpy"},
    "sde": {"torch"},
    "denoise": {"torch"},
    "posterior": {"torch", "numpy"},
    "loss": {"torch"},
    "sample": {"torch", "scipy"},
    "nn": {"torch", "torch_geometric"},
}
RDKIT_HOMES = {"chem", "metrics", "datasets", "generate", "pipeline", "plot", "cli"}
NEEDS_NO_RDKIT = [
    "spectral",
    "sde",
    "denoise",
    "posterior",
    "loss",
    "sample",
    "nn",
    "data",
    "transforms",
    "train",
    "metrics",
    "terms",
    "generate_fields",
    "pipeline_fields",
]


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """(dotted name, line) of everything the module imports, also inside functions: `from .a import b` is `….a.b`."""
    package = ["pyg_diffusion", *path.relative_to(ROOT).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def own_imports(path: Path) -> list[tuple[str, int]]:
    """Imports of other parts of the package, without its name: "data.schema.ELEMENTS"."""
    own = [(name.partition(".")[2], line) for name, line in imports(path) if name.split(".")[0] == "pyg_diffusion"]
    return [(name, line) for name, line in own if name.split(".")[0] not in (part_of(path), "__version__")]


def test_the_reader_of_imports_sees_what_is_there():
    assert "denoise.Noisy" in [name for name, _ in own_imports(ROOT / "nn" / "conformer_net.py")]
    assert "spectral.Kernel" in [name for name, _ in own_imports(ROOT / "sde" / "linear.py")]
    assert "pyg_diffusion.sde.schedule.Schedule" in [name for name, _ in imports(ROOT / "sde" / "linear.py")]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_lies_below_it(part):
    broken = []
    for path in modules():
        if part_of(path) != part:
            continue
        for name, line in own_imports(path):
            if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[part]):
                broken.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not broken, f"{part} may import {sorted(MAY_IMPORT[part]) or 'nothing'} of the package\n" + "\n".join(broken)


@pytest.mark.parametrize("part", THIRD_PARTY)
def test_the_core_knows_few_libraries(part):
    broken = []
    for path in modules():
        if part_of(path) == part:
            for name, line in imports(path):
                top = name.split(".")[0]
                if top not in THIRD_PARTY[part] | {"pyg_diffusion"} | sys.stdlib_module_names:
                    broken.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not broken, "\n".join(broken)


def test_parts_form_no_cycle():
    graph: dict[str, set[str]] = {}
    for path in modules():
        if path != ROOT / "__init__.py":
            graph.setdefault(part_of(path), set()).update(name.split(".")[0] for name, _ in own_imports(path))
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert order.index("spectral") < order.index("sde") < order.index("denoise") < order.index("sample")


def test_the_command_line_and_training_stand_on_top():
    for path in modules():
        for name, line in own_imports(path):
            top = name.split(".")[0]
            assert top != "cli", f"{path.relative_to(ROOT)}:{line} imports the command line"
            assert top != "train" or part_of(path) in ("cli", "pipeline"), f"{path.relative_to(ROOT)}:{line} imports train"
            assert top != "testing", f"{path.relative_to(ROOT)}:{line} imports the test helpers"


def test_rdkit_lives_in_its_homes():
    for path in modules():
        for name, line in imports(path):
            if name.split(".")[0] == "rdkit":
                assert part_of(path) in RDKIT_HOMES, f"{path.relative_to(ROOT)}:{line} imports {name}"


def test_training_needs_no_rdkit():
    """In a process of its own where importing RDKit (or jsonargparse, posebusters) fails."""
    present = [part for part in NEEDS_NO_RDKIT if (ROOT / part).is_dir() or (ROOT / f"{part}.py").exists()]
    code = "import sys\nfor name in ('rdkit', 'jsonargparse', 'posebusters'):\n    sys.modules[name] = None\n"
    code += "\n".join(f"import pyg_diffusion.{part}" for part in present)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
