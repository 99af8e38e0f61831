"""Moved to `tasks.matrices.data`."""

from ..deprecated import moved

__getattr__ = moved(__name__, {"FreshMatrices": "tasks.matrices.data", "MatrixDataModule": "tasks.matrices.data"})
