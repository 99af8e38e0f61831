"""What MkDocs is told beside mkdocs.yml: the pictures of benchmarks/results are part of the site."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PICTURES = Path(__file__).parent.parent / "benchmarks" / "results"
LINK = re.compile(r"(?:\.\./)+benchmarks/results/([\w.]+\.png)")


def on_files(files: Files, config: Any) -> Files:
    """Add them, as pictures/NAME.png."""
    for path in sorted(PICTURES.glob("*.png")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that hold in the repository hold in the site."""
    here = posixpath.dirname(page.file.src_uri)
    return LINK.sub(lambda link: posixpath.relpath(f"pictures/{link[1]}", here or "."), markdown)
