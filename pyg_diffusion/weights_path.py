"""Where weights are: a file, a run's folder, or `RUN:best` and `RUN:last`. Known without torch."""

import os
from importlib.resources import files
from pathlib import Path

SHIPPED = "shipped"  # the name of the package's own weights, where a path is asked for
LAST, BEST = "weights.safetensors", "best.safetensors"  # of a run: at its end, and at the validation with the smallest loss
_NAMES = {"best": BEST, "last": LAST}


class WeightsError(ValueError):
    """Weights that cannot be used, and why."""


def weights_path(weights: str | os.PathLike) -> Path:
    """The file that is meant, there or not.

    Args:
        weights: a `.safetensors` file; a training run's folder, for the weights at its end; `RUN:last` for the same and
            `RUN:best` for those of its best validation; or `SHIPPED`.

    Raises:
        WeightsError: another name behind the colon, or what is no such file or folder.

    Example:
        >>> from pyg_diffusion.weights_path import weights_path
        >>> weights_path("runs/fields:best").as_posix()
        'runs/fields/best.safetensors'
    """
    if weights == SHIPPED:
        return Path(str(files("pyg_diffusion") / "weights" / "conformers.safetensors"))
    path = Path(weights)
    run, colon, name = str(weights).rpartition(":")
    if path.is_dir():
        return path / LAST
    if colon and not path.exists() and (name in _NAMES or Path(run).is_dir()):
        if name not in _NAMES:
            raise WeightsError(f"{path}: a run has {' and '.join(_NAMES)} weights, no {name!r}")
        return Path(run) / _NAMES[name]
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: expected a .safetensors file or a training run's folder")
    return path
