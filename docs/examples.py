"""An extension of Griffe, which reads the docstrings for the site: it knows `Examples:`, and the house says `Example:`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Calls the section by the name that Griffe renders as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Every module, class, function and attribute as it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
