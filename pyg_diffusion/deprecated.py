"""Names that have moved, under their old addresses for one release."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

GOES = "0.8"  # the release without them


def moved(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for names that it had: `homes` maps each to "module" or "module:new_name" in the package."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = homes[name].partition(":")
        new = new or name
        warnings.warn(
            f"{module}.{name} is now pyg_diffusion.{home}.{new}; the old name goes in {GOES}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(f"pyg_diffusion.{home}"), new)

    return find
