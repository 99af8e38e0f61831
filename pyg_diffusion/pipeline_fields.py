"""Scoring of fields has moved to `tasks.fields`."""

from .deprecated import moved

__getattr__ = moved(__name__, {"evaluate_fields": "tasks.fields.evaluate"})
