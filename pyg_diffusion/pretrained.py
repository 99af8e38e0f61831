"""Moved to `weights_io`."""

from .denoise import Denoiser
from .deprecated import moved

_NAMES = (
    "SECOND", "SHIPPED", "Card", "WeightsError", "build_denoiser", "continue_from", "join_stages", "load_pretrained",
    "save_pretrained", "union_of_domains",
)  # fmt: skip

__getattr__ = moved(__name__, dict.fromkeys(_NAMES, "weights_io"))


def compile_network(denoiser: Denoiser) -> None:
    """torch.compile what is worth it of a network."""
    denoiser.net.compile()
