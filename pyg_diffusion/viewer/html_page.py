"""One HTML page with everything in it: molecules, the program that shows them, and 3Dmol.js."""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from .collection import Collection, Shown, moves_of

STATIC = files(__package__) / "static"
SCRIPTS = ("3dmol/3Dmol-min.js", "geometry.js", "page.js")


def _text(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _data(shown: Shown) -> dict[str, Any]:
    """A molecule as the page's program reads it."""
    moves, (rmsd, bound) = moves_of(shown.mol), shown.distances()
    conformers = zip(shown.records, shown.fields, shown.orders, moves, strict=True)
    return {
        "name": shown.name,
        "smiles": shown.smiles,
        "picture": shown.depiction(),
        "remarks": shown.remarks,
        "left_out": shown.left_out,
        "rmsd": rmsd,
        "rmsd_is_bound": bound,
        "conformers": [
            {"record": text, "fields": fields, "order": order, "move": move} for text, fields, order, move in conformers
        ],
    }


def left_out(collection: Collection) -> list[str]:
    """What is not in the page, in words."""
    said = []
    if collection.left_out:
        said.append(f"{collection.left_out} conformers beyond {collection.most} of a molecule are left out")
    if collection.beyond:
        said.append(f"{collection.beyond} records are left out: the page is full; show a part of them")
    return said


def page(collection: Collection, title: str, notes: Iterable[str] = (), progress: Any = iter) -> str:
    """The page, for a file or an answer. What molecules, names and data fields say goes in packed, never as HTML, and the
    page runs no script but its own and asks no network (its content security policy).

    Args:
        title: of the page, shown as it is.
        notes: sentences to show at its foot, beside what is left out.
        progress: wraps the iteration over molecules.

    Example:
        >>> from pyg_diffusion.chem import read_records
        >>> from pyg_diffusion.viewer import collected, page
        >>> found = collected(read_records("datasets/qm9_ensembles_20.sdf.gz"), most=2)
        >>> text = page(found, "QM9")
        >>> "<title>QM9</title>" in text, len(text) < 1_000_000
        (True, True)
    """
    data = {
        "title": title,
        "notes": [*notes, *left_out(collection)],
        "molecules": [_data(shown) for shown in progress(collection.molecules)],
    }
    packed = base64.b64encode(gzip.compress(json.dumps(data).encode(), mtime=0)).decode()
    scripts = [_text(name) for name in SCRIPTS]
    return _filled(
        _text("page.html"),
        title=html.escape(title),
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        style=_text("page.css"),
        data=packed,
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _filled(template: str, **values: str) -> str:
    """The template with {{name}} as the values; what a value holds is not looked at again."""
    parts: Sequence[str] = template.split("{{")
    return parts[0] + "".join(values[name] + rest for name, _, rest in (part.partition("}}") for part in parts[1:]))
