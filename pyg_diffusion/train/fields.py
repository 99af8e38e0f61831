"""Moved to `tasks.fields.data`."""

from ..deprecated import moved

__getattr__ = moved(__name__, {"FieldDataModule": "tasks.fields.data"})
