"""Moved to `tasks.molecules.finetune`."""

from ..deprecated import moved

__getattr__ = moved(__name__, {"finetune_recipe": "tasks.molecules.finetune"})
