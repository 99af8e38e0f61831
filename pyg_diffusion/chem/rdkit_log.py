"""What RDKit would print, as text: its reasons for a refusal, its warnings about a drawing."""

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rdkit import rdBase

_LEVELS = ("rdApp.debug", "rdApp.info", "rdApp.warning", "rdApp.error")
_TIME = re.compile(r"^\[\d\d:\d\d:\d\d\]\s*")
# what a failed check prints around its message: where it happened, and a line for every frame of the stack
_TRACE = re.compile(r"\d+# |\*{4}$|-{5,}$|Stacktrace:$|Violation occurred on line|Failed Expression:|[-\w]+ Violation$")
_local = threading.local()  # .listeners: of this thread, the innermost last
_lock = threading.Lock()
_listening = 0  # contexts of all threads


def _heard(record: logging.LogRecord) -> bool:
    """A filter of RDKit's logger: what this thread listens to goes no further."""
    listeners = getattr(_local, "listeners", [])
    if not listeners:
        return True
    text = _TIME.sub("", record.getMessage()).removeprefix("ERROR: ").removeprefix("Warning: ").strip()
    text = text.removeprefix("WARNING: ")
    if text and not _TRACE.match(text):
        listeners[-1](text)
    return False


@contextmanager
def _listen(listener: Callable[[str], None]) -> Iterator[None]:
    """RDKit's messages of this thread go to the innermost listener; those of other threads are printed as ever.

    What was disabled or blocked before is so again after, and is heard all the same. A caller's own
    `rdBase.LogToPythonLogger` ends with it: RDKit does not tell where its log goes.
    """
    global _listening
    status = rdBase.LogStatus()
    with _lock:
        _listening += 1
        logging.getLogger("rdkit").addFilter(_heard)  # once, however often
        rdBase.LogToPythonLogger()
    _local.listeners = [*getattr(_local, "listeners", []), listener]
    try:
        yield
    finally:
        _local.listeners = _local.listeners[:-1]
        with _lock:
            _listening -= 1
            if not _listening:
                logging.getLogger("rdkit").removeFilter(_heard)
                rdBase.LogToCppStreams()
            for level in _LEVELS:
                if f"{level}:disabled" in status:
                    rdBase.DisableLog(level)


@contextmanager
def rdkit_log() -> Iterator[list[str]]:
    """Collects RDKit's warnings and errors, each once, without time stamps, instead of having them printed."""
    texts: list[str] = []

    def listener(text: str) -> None:
        if text not in texts:
            texts.append(text)

    with _listen(listener):
        yield texts


@contextmanager
def rdkit_counts() -> Iterator[Counter[str]]:
    """Counts RDKit's warnings and errors instead of having them printed; those that differ in numbers alone as the first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}

    def listener(text: str) -> None:
        counts[first.setdefault(re.sub(r"\d+", "0", text), text)] += 1

    with _listen(listener):
        yield counts


def repeated(heard: Counter[str]) -> None:
    """Have RDKit say again what `rdkit_counts` heard, here or in another process."""
    for text, count in heard.items():
        for _ in range(count):
            rdBase.LogErrorMsg(text)
