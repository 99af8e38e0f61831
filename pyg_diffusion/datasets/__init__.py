"""PyG datasets."""

from .grid_fields import GridFields
from .matrix_inverse import MatrixInverse, matrix_data
from .sdf import SDFDataset

__all__ = ["GridFields", "MatrixInverse", "SDFDataset", "matrix_data"]
