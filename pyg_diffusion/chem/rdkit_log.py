"""What RDKit would print, as text: its reasons for a refusal, its warnings about a drawing."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from rdkit import rdBase

_LEVELS = ("rdApp.debug", "rdApp.info", "rdApp.warning", "rdApp.error")
_TIME = re.compile(r"^\[\d\d:\d\d:\d\d\]\s*")


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = _TIME.sub("", record.getMessage()).removeprefix("ERROR: ").removeprefix("Warning: ").strip()
        if text and text not in self.texts:
            self.texts.append(text)


@contextmanager
def rdkit_log() -> Iterator[list[str]]:
    """Collects RDKit's warnings and errors, each once, without time stamps, instead of having them printed.

    What was disabled or blocked before is so again after, and is collected all the same. A caller's own
    `rdBase.LogToPythonLogger` ends with it: RDKit does not tell where its log goes.
    """
    logger, messages = logging.getLogger("rdkit"), _Messages()
    handlers, propagate, status = logger.handlers, logger.propagate, rdBase.LogStatus()
    logger.handlers, logger.propagate = [messages], False
    rdBase.LogToPythonLogger()
    try:
        yield messages.texts
    finally:
        rdBase.LogToCppStreams()
        logger.handlers, logger.propagate = handlers, propagate
        for level in _LEVELS:
            if f"{level}:disabled" in status:
                rdBase.DisableLog(level)
