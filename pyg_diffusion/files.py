"""Files that are there whole or not at all, whenever the program is killed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def sync(path: str | os.PathLike) -> None:
    """Have what was written to a file, or renamed in a folder, on the disk and not only in the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends and is removed where the block fails.

    In the same folder, since only a rename within one file system is atomic; and on the disk before it is renamed, since a
    crash of the machine would otherwise leave an empty file under the new name.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems know no such thing for folders
        sync(path.parent)


def json_of(path: str | os.PathLike) -> dict[str, Any]:
    """What a JSON file holds, {} where it is none or no mapping."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
