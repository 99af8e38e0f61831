"""How far a sampling job has come, kept beside its output, so that one that was cut goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...console import Output, Skipped, UsageError, say

if TYPE_CHECKING:
    from .sample import Sink, Tally

SUFFIX = ".progress"


class Journal:
    """A small file beside an output: what the job was asked, and what is safely written of it.

    It is replaced as a whole each time, so a kill at any moment leaves the state before or the one after.

    Args:
        output: the file that the job writes.
        settings: what was asked; a job goes on only where it is asked the same.
        resume: go on where the file says; without, it is begun anew.

    Attributes:
        state: what was noted last, None for a new job.

    Raises:
        UsageError: there is no cut job to go on with, or it was asked something else.
    """

    def __init__(self, output: str, settings: dict[str, Any], resume: bool):
        self.path, self.state = Path(output + SUFFIX), None
        self.settings = json.loads(json.dumps(settings))
        if not resume:
            if self.path.is_file():
                say(f"{self.path}: an earlier job was cut; this one begins anew (--resume goes on with the former)")
            return
        if not self.path.is_file():
            raise UsageError(f"--resume: {self.path} is not there, so no job with this output was cut; leave --resume out")
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            asked, self.state = before["settings"], before["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--resume: {self.path} is damaged ({error}); begin anew without --resume") from error
        other = sorted(key for key in {*asked, *self.settings} if asked.get(key) != self.settings.get(key))
        if other:
            raise UsageError(
                f"--resume: the cut job had another {', '.join(other)} ({self.path}); ask the same, or begin anew"
            )

    def note(self, **state: Any) -> None:
        """What is safely written so far."""
        self.state = state
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"settings": self.settings, "state": state}))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)

    def close(self) -> None:
        """The job is done."""
        self.path.unlink(missing_ok=True)


def journaled(
    draw: Callable[..., Tally], journal: Journal, sink: Sink, skipped: Skipped, out: Output, failed: Output | None
) -> Tally:
    """The job, or what is left of it.

    Args:
        draw: does it, called with `done` and `settle` of `sample_records`.
        out, failed: its files, cut back to what the journal knows to be whole.
    """

    def settle(done: int) -> None:
        sizes = [0 if file is None else file.settle() for file in (out, failed)]
        journal.note(done=done, sizes=sizes, tally=asdict(sink.tally), skipped=skipped.count, first=skipped.first)

    done = 0
    if journal.state is not None:
        done = journal.state["done"]
        for file, size in zip((out, failed), journal.state["sizes"], strict=True):
            if file is not None:
                file.cut(size)
        sink.tally = replace(sink.tally, **journal.state["tally"])
        skipped.count, skipped.first = journal.state["skipped"], journal.state["first"]
        say(f"{out.path}: going on behind {done} molecules")
    try:
        tally = draw(done=done, settle=settle)
    except BaseException:
        if journal.state is not None:
            say(f"{out.path}: {journal.state['done']} molecules are written; the same command with --resume goes on")
        raise
    out.complete()
    journal.close()
    return tally
