"""The upper half of the house in figures: lines, `Any`, `type: ignore`, long functions; of one commit and another.

    python benchmarks/house.py b52eb4e HEAD

The upper half is what is neither of the rooms below: generators, weights and cards, recipes and training, tasks, the command
line, plots. Lines are those that are neither blank, comment nor docstring, beside all lines. Writes results/house.json.
"""

import argparse
import ast
import io
import json
import subprocess
import tarfile
import tempfile
import tokenize
from pathlib import Path

LOWER = (
    "spectral", "sde", "denoise.py", "posterior.py", "loss.py", "regularize.py", "mining.py", "terms.py", "sample", "data",
    "datasets", "transforms", "chem", "metrics", "nn", "testing.py", "files.py", "weights", "network.py",
)  # fmt: skip
LONG = 60  # lines of a function


def code_lines(text: str) -> int:
    """Lines with code on them."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    idle = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {row for t in tokens if t.type not in idle for row in range(t.start[0], t.end[0] + 1)}
    return len(lines - docs)


def long_functions(text: str) -> list[str]:
    """Functions of more than `LONG` lines, docstring included."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f"{f.name} ({n})" for f in found if (n := (f.end_lineno or f.lineno) - f.lineno + 1) > LONG]


def figures(tree: Path) -> dict[str, object]:
    """Of the package in a tree, and of its upper half alone."""
    package = tree / "pyg_diffusion"
    files = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    upper = {name: text for name, text in files.items() if name.split("/")[0] not in LOWER}
    both = {"upper half": upper, "package": files}
    rows: dict[str, object] = {}
    for what, texts in both.items():
        rows[f"{what}: lines of code"] = sum(code_lines(t) for t in texts.values())
        rows[f"{what}: all lines"] = sum(t.count("\n") for t in texts.values())
        names = [n for t in texts.values() for n in ast.walk(ast.parse(t)) if isinstance(n, ast.Name) and n.id == "Any"]
        rows[f"{what}: Any"] = len(names)
        rows[f"{what}: type: ignore"] = sum(t.count("type: ignore") for t in texts.values())
        rows[f"{what}: hasattr and getattr"] = sum(t.count("hasattr(") + t.count(" getattr(") for t in texts.values())
        rows[f"{what}: functions above {LONG} lines"] = sum(len(long_functions(t)) for t in texts.values())
    rows["longest"] = sorted(f"{name}: {f}" for name, t in upper.items() for f in long_functions(t))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+")
    args = parser.parse_args()
    root, result = Path(__file__).parents[1], {}
    for commit in args.commits:
        archive = ["git", "archive", commit, "pyg_diffusion"]
        packed = io.BytesIO(subprocess.run(archive, cwd=root, check=True, capture_output=True).stdout)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed) as tar:
            tar.extractall(folder, filter="data")
            result[commit] = figures(Path(folder))
    rows = [row for row in next(iter(result.values())) if row != "longest"]
    width = max(map(len, rows)) + 2
    print(" " * width + "".join(commit.rjust(12) for commit in result))
    for row in rows:
        print(row.ljust(width) + "".join(str(found[row]).rjust(12) for found in result.values()))
    (root / "benchmarks/results/house.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
