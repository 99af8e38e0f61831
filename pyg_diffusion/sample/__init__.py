"""Samplers: one per file, one `step` each. They see D, φ and σ, and nothing else.

The names below load on first use, so that `SAMPLERS` can be listed without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ancestral import Ancestral
    from .corrector import PredictorCorrector
    from .counted import Counted
    from .ddim import DDIM
    from .exponential import Exponential
    from .flow import ProbabilityFlow
    from .grids import log_snr_grid, optimised_grid, tau_grid, time_grid
    from .guidance import ClassifierFree, EnergyGuided, Steered
    from .inpainting import Inpainted
    from .landscape import LandscapeDescent
    from .likelihood import log_likelihood, negative_elbo
    from .particles import ParticleGuided
    from .registry import SAMPLERS, parse_sampler
    from .sampler import Moment, Sampler, StepContext
    from .steering import steer

__all__ = [
    "DDIM",
    "SAMPLERS",
    "Ancestral",
    "ClassifierFree",
    "Counted",
    "EnergyGuided",
    "Exponential",
    "Inpainted",
    "LandscapeDescent",
    "Moment",
    "ParticleGuided",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Sampler",
    "Steered",
    "StepContext",
    "log_likelihood",
    "log_snr_grid",
    "negative_elbo",
    "optimised_grid",
    "parse_sampler",
    "steer",
    "tau_grid",
    "time_grid",
]

_HOMES = {
    "DDIM": "ddim",
    "SAMPLERS": "registry",
    "Ancestral": "ancestral",
    "ClassifierFree": "guidance",
    "Counted": "counted",
    "EnergyGuided": "guidance",
    "Exponential": "exponential",
    "Inpainted": "inpainting",
    "LandscapeDescent": "landscape",
    "Moment": "sampler",
    "ParticleGuided": "particles",
    "PredictorCorrector": "corrector",
    "ProbabilityFlow": "flow",
    "Sampler": "sampler",
    "Steered": "guidance",
    "StepContext": "sampler",
    "log_likelihood": "likelihood",
    "log_snr_grid": "grids",
    "negative_elbo": "likelihood",
    "optimised_grid": "grids",
    "parse_sampler": "registry",
    "steer": "steering",
    "tau_grid": "grids",
    "time_grid": "grids",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
