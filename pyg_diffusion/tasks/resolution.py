"""Resolutions: a signal is drawn coarse first, as means over clusters of nodes, then what is missing in them.

Every resolution is a model of its own, of the same process. The finest has the one above it in its weights. With R the means
over clusters and P the best linear estimate of the signal from them (`spectral.clusters`), a resolution models the detail
x - P R x and is told P R x; a draw is P y + (d - P R d), y the draw of the one above and d that of the detail, so that its
means are y.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ..denoise import Denoiser
from ..nn.registry import NETWORKS
from ..sections import RecipeError, Section
from ..spectral import Kernel, LaplacianOperator, PowerSpectrum
from ..spectral.clusters import Clusters, Interpolation
from ..spectral.sparse import SparseOperator
from ..train.recipe import Counted, Recipe
from ..weights_io import Card, WeightsError, load_pretrained, spectrum_knots

LEAST, LEAST_APPROXIMATE = 1e-6, 1e-2  # powers below this share of the largest are raised to it, for estimates


class ResolutionOptions(Section):
    """What a recipe says of resolutions."""

    coarsen: Counted = 1
    """train on means over blocks of so many nodes along each axis of a grid, or over clusters of so many nodes of another
    graph, by Ward's method; 1: on the signals themselves"""
    coarse: str = ""
    """weights of a coarser resolution of the same signals (a run's folder): only what they lack is trained, and they become
    a part of these weights"""


class Coarser(NamedTuple):
    """Weights of the resolution above."""

    denoiser: Denoiser
    card: Card


def check_resolution(recipe: Recipe) -> None:
    """Raises RecipeError where a network cannot be told of a coarser resolution."""
    data = recipe.data
    if isinstance(data, ResolutionOptions) and data.coarse and not NETWORKS[recipe.model.kind].takes_node_conditions:
        raise RecipeError(f"data.coarse: {recipe.model.kind} cannot be told of coarser signals; take model.kind: graph")


def coarser_of(options: ResolutionOptions, kind: str, conditions: list[str], shared: Mapping[str, Any]) -> Coarser | None:
    """The weights that a recipe names.

    Args:
        kind: of the data.
        shared: what must be the same in both trainings, and is here: what the signals are, and which are held out.

    Raises:
        RecipeError: there are none, or they do not go with it.
    """
    if not options.coarse:
        return None
    try:
        found = Coarser(*load_pretrained(options.coarse))
    except WeightsError as error:
        raise RecipeError(f"data.coarse: {error}") from error
    data = found.card.data
    factor, asked = data.get("coarsen", 1), data.get("conditions", found.card.model.get("conditions", []))
    if data["kind"] != kind:
        raise RecipeError(f"data.coarse: {options.coarse} makes {data['kind']}, not {kind}")
    if factor <= options.coarsen or factor % options.coarsen:
        raise RecipeError(
            f"data.coarse: {options.coarse} was trained with data.coarsen={factor}; "
            f"here it must be a larger multiple of {options.coarsen}"
        )
    if list(asked) != list(conditions):
        raise RecipeError(f"data.coarse: {options.coarse} has model.conditions {asked}; give the same here")
    for key, mine in shared.items():
        if data.get(key) != mine:
            raise RecipeError(
                f"data.coarse: {options.coarse} was trained with data.{key}={data.get(key)}, and here it is {mine}"
            )
    found.denoiser.requires_grad_(False).train()
    return found


def coarse_facts(coarser: Coarser, power: PowerSpectrum) -> dict:
    """What a card says of the resolution above."""
    spectrum = coarser.denoiser.spectrum
    assert isinstance(spectrum, PowerSpectrum)
    return {
        "card": coarser.card.model_dump(),
        "spectrum": spectrum_knots(spectrum),
        "power": spectrum_knots(power),
    }


class Details:
    """What a resolution adds to the one above it, of signals `[S, N, C]` of one graph.

    Args:
        operator: of the graph.
        clusters: of its nodes, which the resolution above has.
        power: p(λ) of whole signals.
    """

    def __init__(self, operator: LaplacianOperator, clusters: Clusters, power: PowerSpectrum):
        self.operator, self.clusters, self.power = operator, clusters, power
        self.estimate = Interpolation(operator, clusters, self._kernel(1.0))
        self._white = self._kernel(-0.5)

    def _kernel(self, exponent: float) -> Kernel:
        """A power of p, the mean over channels, bounded from below."""
        power = self.power.to(self.operator.device)
        least = LEAST_APPROXIMATE if isinstance(self.operator, SparseOperator) else LEAST
        top = float(power.log_power.exp().reshape(len(power.log_power), -1).mean(1).max())

        def kernel(lam: Tensor) -> Tensor:
            p = power(lam)
            p = p.mean(-1) if p.dim() > lam.dim() else p
            result: Tensor = p.clamp_min(least * top) ** exponent
            return result

        return kernel

    def to(self, device: torch.device) -> Self:
        """On a device."""
        if self.operator.device == device:
            return self
        return type(self)(self.operator.to(device=device), self.clusters.to(device), self.power)

    def means(self, x: Tensor) -> Tensor:
        """R x: `[S, K, C]`."""
        return _signals(self.clusters.to(x.device).means(_columns(x)), x.size(0))

    def base(self, means: Tensor) -> Tensor:
        """P y of means `[S, K, C]`, `[S, N, C]`."""
        return _signals(self.estimate(_columns(means)), means.size(0))

    def of(self, x: Tensor) -> Tensor:
        """x - P R x."""
        return x - self.base(self.means(x))

    def told(self, base: Tensor) -> Tensor:
        """What the network is told of P y: in units of its size, and white, `[S, N, 2 C]`."""
        white = self.operator.apply(self._white, _columns(base))
        return torch.cat([base * self.estimate.variance**-0.5, _signals(white, base.size(0))], 2)

    def shown(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Details and what is told of them, of a batch `[count N, C]`."""
        whole = x.view(count, -1, x.size(1))
        base = self.base(self.means(whole))
        return (whole - base).flatten(0, 1), self.told(base).flatten(0, 1)


def _columns(x: Tensor) -> Tensor:
    """`[S, N, C] -> [N, S C]`."""
    return x.transpose(0, 1).flatten(1)


def _signals(columns: Tensor, count: int) -> Tensor:
    """`[N, S C] -> [S, N, C]`."""
    return columns.view(len(columns), count, -1).transpose(0, 1).contiguous()
