"""What commands share: messages to the user, outputs, exit status."""

import gzip
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from tqdm import tqdm

SHOWN = 5


class Skipped:
    """Counts and names records that could not be used; the summary comes at the end."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []  # names, as many as the summary shows

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        self.first += [name] if len(self.first) < SHOWN else []
        say(f"skipped {' '.join(name.split())}: {reason}")

    def summary(self, done: int, noun: str) -> None:
        if self.count:
            shown = ", ".join(self.first) + (", ..." if self.count > SHOWN else "")
            say(f"{done} {noun} done, {self.count} skipped: {shown}")


def say(text: str) -> None:
    """A message to the user."""
    tqdm.write(text, file=sys.stderr)  # past a progress bar
    sys.stderr.flush()


def status(produced: bool, skipped: bool, strict: bool) -> int:
    """The exit status of a command that reads records."""
    return 0 if produced and not (strict and skipped) else 1


class UsageError(Exception):
    """The command line asks for something impossible: exit status 2."""


def _opened(path: str, mode: str) -> TextIO:
    if path.endswith(".gz"):  # without the time in it, so that the same job gives the same bytes
        packed = cast(BinaryIO, gzip.GzipFile(path, mode.replace("t", "b"), mtime=0))
        return io.TextIOWrapper(packed, "utf-8", "backslashreplace")
    return cast(TextIO, open(path, mode, encoding="utf-8", errors="backslashreplace"))


class Output:
    """A text file in UTF-8, gzipped if its name says so, or stdout for "-".

    That it can be written is checked at once (parent folders are made), but the file is touched only with the first text: a
    job that fails before leaves what was there. An output that is also an input is refused.
    """

    def __init__(self, path: str, inputs: Sequence[str] = ()):
        self.path, self._mode = path, "wt"
        self._stream: TextIO | None = sys.stdout if path == "-" else None
        if path == "-":
            return
        target = Path(path)
        if os.path.exists(path) and any(os.path.exists(name) and target.samefile(name) for name in inputs):
            raise UsageError(f"{path} is also an input")
        new = not os.path.exists(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "ab"):
                pass
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        if new:
            target.unlink()

    def write(self, text: str) -> None:
        with self._named():
            if self._stream is None:
                self._stream = _opened(self.path, self._mode)
            self._stream.write(text)

    def flush(self) -> None:
        with self._named():
            if self._stream is not None:
                self._stream.flush()

    def cut(self, size: Any) -> None:
        """Go on behind the first `size` bytes of the file, which an earlier job wrote (`settle`)."""
        with self._named():
            with open(self.path, "ab"):
                pass
            os.truncate(self.path, size)
        self._mode = "at"

    def settle(self) -> Any:
        """Once this returns, all that was written is on the disk; returns the bytes, or what else `cut` takes, as JSON has
        it. What follows is a gzip member of its own."""
        with self._named():
            if self._stream is not None:
                self._stream.flush()
                if self.path.endswith(".gz"):
                    self._stream.close()
                    self._stream, self._mode = None, "at"
            if not os.path.exists(self.path) or (self._mode == "wt" and self._stream is None):
                return 0  # nothing is written yet: what lies there is another job's
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())
            return os.path.getsize(self.path)

    def complete(self) -> None:
        """All is written: make of it what is to be made of the whole."""

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *error: object) -> None:
        with self._named():
            if self._stream is not None and self.path != "-":
                self._stream.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of writing, such as a full disk, name the file and say that it is cut."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.path == "-":  # or the interpreter fails again on what is left in it
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            name = "stdout" if self.path == "-" else self.path
            raise OSError(f"{name}: {error.strerror or error}; what is written there is cut") from error
