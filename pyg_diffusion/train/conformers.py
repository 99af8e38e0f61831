"""Moved to `tasks.molecules.data`."""

from ..deprecated import moved

_NAMES = ("ConformerDataModule", "ConformerItems", "rotations")
__getattr__ = moved(__name__, dict.fromkeys(_NAMES, "tasks.molecules.data"))
