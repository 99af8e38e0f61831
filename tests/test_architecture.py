"""Imports run one way: spectral → sde → denoise → {loss, sample} → {generate, train} → tasks → cli."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyg_diffusion
from pyg_diffusion.tasks import TASKS

ROOT = Path(pyg_diffusion.__file__).parent

# What each part may import of the package. Parts that are not listed (tasks, cli) stand above all of these.
MAY_IMPORT = {
    "files": set(),
    "deadline": set(),
    "extras": set(),
    "console": set(),
    "registry": set(),
    "deprecated": set(),
    "workers": {"registry", "extras"},
    "sections": set(),
    "spectral": set(),
    "sde": {"spectral", "registry"},
    "network": {"spectral"},
    "denoise": {"spectral", "sde", "network"},
    "posterior": {"spectral", "sde"},
    "loss": {"spectral", "sde", "denoise", "posterior", "registry"},
    "regularize": {"spectral", "sde", "denoise"},
    "terms": {"spectral", "regularize", "registry"},
    "bound_terms": {"spectral", "regularize", "terms", "data.schema", "transforms"},
    "mining": {"spectral", "sde", "denoise", "network", "registry"},
    "sample": {"spectral", "sde", "denoise", "network", "registry", "deadline"},
    "data": {"spectral", "files"},
    "transforms": {"spectral", "data"},
    "nn": {"spectral", "data.schema", "data.properties", "data.molecule", "network", "registry", "sections"},
    "chem": {"spectral", "data", "transforms", "registry", "extras", "files", "workers", "deadline"},
    "metrics": {"spectral", "data", "chem", "registry", "deprecated", "extras"},
    "datasets": {"spectral", "data", "transforms", "chem"},
    "weights_path": set(),
    "weights_io": {"spectral", "sde", "denoise", "network", "nn", "data.schema", "files", "weights_path"},
    "generate": {"spectral", "denoise", "data", "sample", "weights_io", "deprecated"},
    "train": {
        "spectral", "sde", "denoise", "sample", "posterior", "loss", "mining", "terms", "network", "nn", "data", "files",
        "sections", "registry", "weights_io", "weights_path", "deprecated", "extras",
    },
    "plot": set(),
    "viewer": {"chem", "metrics", "extras"},
}  # fmt: skip
THIRD_PARTY = {
    "spectral": {"torch", "scipy", "numpy", "ducc0"},
    "sde": {"torch"},
    "denoise": {"torch"},
    "posterior": {"torch", "numpy"},
    "loss": {"torch"},
    "sample": {"torch", "scipy"},
    "network": {"torch"},
    "nn": {"torch", "torch_geometric", "pydantic"},
    "sections": {"pydantic", "pydantic_core", "annotated_types"},
    "generate": {"torch", "torch_geometric", "numpy"},
    "registry": set(),
    "workers": {"ray"},
    "console": {"tqdm"},
}
KNOW_NO_TASK = (
    "train", "generate", "cli", "weights_io", "sections", "plot", "console", "registry", "nn", "sample", "workers",
)  # fmt: skip
WORDS = {("train/run.py", "signals")}  # in a card: how many there were, of whatever task
RDKIT_HOMES = ("chem", "metrics", "datasets", "tasks/molecules", "viewer", "serve", "cli/__init__.py")
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
    "generate",
    "weights_io",
    "cli.parser",
    "tasks.molecules.data",
    "tasks.molecules.recipe",
    "tasks.fields.generator",
    "tasks.fields.evaluate",
    "tasks.signals.generator",
    "tasks.signals.evaluate",
    "tasks.matrices.generator",
    "tasks.matrices.evaluate",
]
NEEDS_NO_TORCH = ["cli.parser", "tasks"]  # or --help takes seconds


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
    assert "network.Noisy" in [name for name, _ in own_imports(ROOT / "nn" / "conformer_net.py")]
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


def test_tasks_stand_above_all_and_the_command_line_above_them():
    for path in modules():
        if path in (ROOT / "__init__.py", ROOT / "__main__.py"):  # lazy names; the command
            continue
        for name, line in own_imports(path):
            where = f"{path.relative_to(ROOT)}:{line} imports"
            top = name.split(".")[0]
            assert top != "cli", f"{where} the command line"
            assert top != "testing", f"{where} the test helpers"
            assert top != "tasks" or part_of(path) in ("cli", "serve", "__init__"), f"{where} {name}"
            assert top != "train" or part_of(path) in ("tasks", "cli"), f"{where} {name}"


@pytest.mark.parametrize("part", KNOW_NO_TASK)
def test_a_part_knows_no_task_by_name(part):
    """No comparison with a task's name and no table of them: no string that is one."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if part_of(path) == part else ():
            where = (path.relative_to(ROOT).as_posix(), getattr(node, "value", None))
            if isinstance(node, ast.Constant) and node.value in TASKS and where not in WORDS:
                raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} knows {node.value!r}")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_imports_no_other(task):
    for path in modules():
        room = path.relative_to(ROOT).parts[:2]
        for name, line in imports(path) if room == ("tasks", task) else ():
            other = name.split(".")[2] if name.startswith("pyg_diffusion.tasks.") else task
            assert other == task or other not in TASKS, f"{path.relative_to(ROOT)}:{line} imports {name}"


def test_rdkit_lives_in_its_homes():
    for path in modules():
        for name, line in imports(path):
            if name.split(".")[0] == "rdkit":
                where = path.relative_to(ROOT).as_posix()
                assert where.startswith(RDKIT_HOMES), f"{where}:{line} imports {name}"


@pytest.mark.parametrize(
    ("without", "parts"), [(("rdkit", "posebusters"), NEEDS_NO_RDKIT), (("torch", "rdkit", "pydantic"), NEEDS_NO_TORCH)]
)
def test_what_needs_little_needs_no_more(without, parts):
    """In a process of its own where importing the rest fails."""
    code = f"import sys\nfor name in {without}:\n    sys.modules[name] = None\n"
    code += "\n".join(f"import pyg_diffusion.{part}" for part in parts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
