"""Renders the tables of the site from benchmarks/results/*.json: `python docs/results.py`.

They are those of docs/results, docs/cluster.md and docs/start/install.md. A table stands between `<!-- table NAME -->` and
`<!-- end -->` in a page; NAME is a function of one of the tables_*.py. Below each stands what it was measured on, and when.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import tables_install  # noqa: E402, F401
import tables_molecules  # noqa: E402, F401
import tables_networks  # noqa: E402, F401
import tables_signals  # noqa: E402, F401
import tables_workers  # noqa: E402, F401
from tables import TABLES  # noqa: E402

PAGES = [
    HERE.parent / "README.md",
    *sorted((HERE / "results").glob("*.md")),
    HERE / "cluster.md",
    HERE / "start" / "install.md",
]
PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page with its tables as they are today."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}{place[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
