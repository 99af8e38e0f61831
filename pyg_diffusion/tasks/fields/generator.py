"""FieldGenerator: weights + process + sampler, from noise to fields on a grid."""

from torch_geometric.data import Data

from ...data.coarsen import coarsened
from ...data.field_file import grid_of
from ...spectral.clusters import Clusters
from ..signal_generator import SignalGenerator


class FieldGenerator(SignalGenerator):
    """Samples fields on the grid that the weights were trained on; arguments and attributes as of `SignalGenerator`.

    Example:
        >>> from pyg_diffusion import FieldGenerator
        >>> from pyg_diffusion.spectral import PowerSpectrum
        >>> from pyg_diffusion.weights_io import Card, build_denoiser
        >>> card = Card(
        ...     process={"gamma": 1.0, "lambda0": 1.0, "noise": "white", "tau_min": 1e-3, "tau_max": 10.0},
        ...     model={"kind": "graph", "width": 16, "depth": 1, "heads": 2, "channels": 2, "positions": 2},
        ...     bf16=False,
        ...     data={"kind": "fields", "shape": [8, 8], "kinds": "cycle", "spacing": 1.0, "channels": 2},
        ... )
        >>> untrained = build_denoiser(card, PowerSpectrum.harmonic(1.0))  # `from_pretrained` gives a trained one
        >>> FieldGenerator(untrained, card, steps=5, device="cpu").sample(3, seed=1).shape
        torch.Size([3, 64, 2])
    """

    makes = "fields"

    def graph(self) -> Data:
        return grid_of(self.card.data)

    def clusters(self) -> Clusters:
        assert self.coarser is not None
        return coarsened(self.graph(), self.card.data["shape"][0] // self.coarser.card.data["shape"][0])[1]
