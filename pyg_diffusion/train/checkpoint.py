"""The resume state on disk: written beside the one before and moved into place, so that a kill leaves one that is whole."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..files import replacing

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_NEEDED = ("global_step", "minutes", "state_dict")


class CheckpointError(ValueError):
    """A resume state that cannot be used, and why."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves to a file beside the old one, which becomes `previous.ckpt` at the moment that the new one takes its place.

    Lightning's own writes to the temporary folder and moves from there; where that is another file system, as on most
    clusters, the move is a copy into the old file, and a kill while it goes on leaves neither.

    Args:
        whole: the file that is there can be read, so it is worth keeping.
    """

    def __init__(self, whole: bool = True):
        self._whole = whole

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)
            if self._whole and path.exists():
                _keep(path, path.with_name(PREVIOUS))
        self._whole = True


def _keep(path: Path, other: Path) -> None:
    """`path` under a further name as well, in the place of what had that name."""
    link = other.with_name(other.name + ".link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        with replacing(other) as copy:
            copy.write_bytes(path.read_bytes())
    else:
        os.replace(link, other)


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The resume state in a file, on the CPU; no code in it is run.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # torch.load checks no sums
                raise CheckpointError(f"{path} is damaged ({broken!r} does not match its checksum)")
        state = torch.load(path, weights_only=True, map_location="cpu")
    except CheckpointError:
        raise
    except Exception as error:  # a broken file may raise anything: EOFError, RuntimeError, UnpicklingError, KeyError, ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is damaged ({os.path.getsize(path)} bytes: {reason})") from error
    if not isinstance(state, dict) or not all(key in state for key in _NEEDED):
        raise CheckpointError(f"{path} is no resume state of this program")
    return state


def resume_state(run_dir: Path) -> tuple[Path, dict[str, Any], str]:
    """(file, resume state, "" or a remark) to go on from: `last.ckpt`, or the one before where that is damaged or missing.

    Raises:
        CheckpointError: there is none, or none that can be read.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        path = run_dir / name
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        remark = ""
        if name != LAST:
            why = problems[0] if problems else f"{run_dir / LAST} is missing"
            remark = f"{why}; going on from {path}, saved at step {int(state['global_step'])}"
        return path, state, remark
    if not problems:
        raise CheckpointError(f"{run_dir / LAST}: no such file, so there is nothing to resume")
    raise CheckpointError(
        f"{'; '.join(problems)}: the run cannot be resumed; put a copy of {LAST} in its place, or begin anew in another "
        f"folder, where train.init_from={run_dir} takes over the weights if the run has exported any"
    )
