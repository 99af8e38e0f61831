"""`MatrixInverter` has moved."""

from .deprecated import moved

__getattr__ = moved(__name__, {"MatrixInverter": "tasks.matrices.generator"})
