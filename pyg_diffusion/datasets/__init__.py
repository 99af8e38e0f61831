"""PyG datasets."""

from .sdf import SDFDataset

__all__ = ["SDFDataset"]
