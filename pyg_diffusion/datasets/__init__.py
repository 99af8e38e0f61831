"""PyG datasets."""

from .grid_fields import GridFields
from .sdf import SDFDataset

__all__ = ["GridFields", "SDFDataset"]
