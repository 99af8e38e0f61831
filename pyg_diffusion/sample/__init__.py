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
    from .grids import GridRequest, geometric_grid, log_snr_grid, optimised_grid, tau_grid, time_grid
    from .guidance import ClassifierFree, EnergyGuided, Steered
    from .inpainting import Inpainted
    from .landscape import LandscapeDescent
    from .likelihood import log_likelihood, negative_elbo
    from .ode import ODE
    from .particles import ParticleGuided
    from .registry import GRIDS, SAMPLERS, parse_grid, parse_sampler
    from .renoised import Renoised
    from .sampler import Moment, Sampler, StepContext
    from .steering import steer
    from .trajectory import Recorder, Recording, Trajectory

__all__ = [
    "DDIM",
    "GRIDS",
    "ODE",
    "SAMPLERS",
    "Ancestral",
    "ClassifierFree",
    "Counted",
    "EnergyGuided",
    "Exponential",
    "GridRequest",
    "Inpainted",
    "LandscapeDescent",
    "Moment",
    "ParticleGuided",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Recorder",
    "Recording",
    "Renoised",
    "Sampler",
    "Steered",
    "StepContext",
    "Trajectory",
    "geometric_grid",
    "log_likelihood",
    "log_snr_grid",
    "negative_elbo",
    "optimised_grid",
    "parse_grid",
    "parse_sampler",
    "steer",
    "tau_grid",
    "time_grid",
]

_HOMES = {
    "DDIM": "ddim",
    "GRIDS": "registry",
    "GridRequest": "grids",
    "ODE": "ode",
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
    "Recorder": "trajectory",
    "Recording": "trajectory",
    "Renoised": "renoised",
    "Sampler": "sampler",
    "Steered": "guidance",
    "StepContext": "sampler",
    "Trajectory": "trajectory",
    "geometric_grid": "grids",
    "log_likelihood": "likelihood",
    "log_snr_grid": "grids",
    "negative_elbo": "likelihood",
    "optimised_grid": "grids",
    "parse_grid": "registry",
    "parse_sampler": "registry",
    "steer": "steering",
    "tau_grid": "grids",
    "time_grid": "grids",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
