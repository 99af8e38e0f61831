"""Networks. They see torch, PyG and `spectral`; they know no process."""

from .conformer_net import ConformerNet

__all__ = ["ConformerNet"]
