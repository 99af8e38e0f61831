"""`FieldGenerator` has moved."""

from .deprecated import moved

__getattr__ = moved(__name__, {"FieldGenerator": "tasks.fields.generator"})
