"""Looking at conformers: one page that needs nothing else, and `view(mol)` in a notebook.

The names below load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection import Shown, collected
    from .html_page import page
    from .notebook import view

__all__ = ["Shown", "collected", "page", "view"]

_HOMES = {"Shown": "collection", "collected": "collection", "page": "html_page", "view": "notebook"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
