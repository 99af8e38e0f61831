"""Things by name: those of the package, those that installed packages bring, and those that a program adds."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to things, each loaded when it is first asked for; its names cost no import.

    A package brings one of its own through the entry point group `pyg_diffusion.<group>`, a program through `add`. A name
    that is taken keeps what it has: the package's own come first, then what was added, then other packages by their names.

    Args:
        group: the last part of the entry point group.
        own: name -> "module:attribute", of the package.

    Example:
        >>> from pyg_diffusion.registry import Registry
        >>> shapes = Registry("shapes", {"path": "pathlib:Path"})
        >>> shapes.add("text", str)
        >>> list(shapes), shapes["path"].__name__
        (['path', 'text'], 'Path')
        >>> shapes["cube"]
        Traceback (most recent call last):
        ...
        KeyError: "no shapes named 'cube'; there are path, text"
    """

    def __init__(self, group: str, own: Mapping[str, str]):
        self.group = group
        self._found: dict[str, str | EntryPoint] = dict(own)
        self._loaded: dict[str, T] = {}
        self._complete = False

    def _names(self) -> dict[str, str | EntryPoint]:
        if not self._complete:  # looked for once, when the first name is asked for
            self._complete = True
            for entry in sorted(entry_points(group=f"pyg_diffusion.{self.group}"), key=lambda e: e.name):
                self._found.setdefault(entry.name, entry)
        return self._found

    def add(self, name: str, thing: T) -> None:
        """Give a name to a thing for as long as the program runs.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._found:
            raise ValueError(f"{self.group}: {name!r} is taken")
        self._found[name] = ""
        self._loaded[name] = thing

    def remove(self, name: str) -> None:
        """Take back what was added."""
        del self._found[name], self._loaded[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            found = self._names().get(name)
            if found is None:
                raise KeyError(f"no {self.group} named {name!r}; there are {', '.join(self)}")
            if isinstance(found, str):
                module, _, attribute = found.partition(":")
                self._loaded[name] = getattr(import_module(module), attribute)
            else:
                self._loaded[name] = found.load()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def own(names: Registry[Any], name: str) -> Any:
    """The function that `module:function` names, in the place of one of the registry's.

    Raises:
        ValueError: it names none, in one sentence.

    Example:
        >>> from pyg_diffusion.registry import Registry, own
        >>> own(Registry("shapes", {}), "math:sqrt")
        <built-in function sqrt>
    """
    if not all(name.partition(":")):
        raise ValueError(f"must be one of {', '.join(names)}, or module:function, got {name!r}")
    return imported(name)


def imported(name: str) -> Any:
    """The function or class that `module:Name` names.

    Raises:
        ValueError: it names none, in one sentence.

    Example:
        >>> from pyg_diffusion.registry import imported
        >>> imported("math:sqrt")
        <built-in function sqrt>
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"must be module:Name, got {name!r}")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # a module of someone's may fail in any way
        raise ValueError(f"{name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{name}: no function, but {found!r:.40}")
    return found
