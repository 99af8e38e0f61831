"""PyG datasets."""

from .digits import Digits
from .graph_fields import GraphFields
from .grid_fields import GridFields
from .matrix_inverse import MatrixInverse, matrix_data
from .sdf import SDFDataset

__all__ = ["Digits", "GraphFields", "GridFields", "MatrixInverse", "SDFDataset", "matrix_data"]
