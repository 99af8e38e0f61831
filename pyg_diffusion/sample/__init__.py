"""Samplers: one per file, one `step` each. They see D, φ and σ, and nothing else."""

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
from .sampler import Moment, Sampler, StepContext
from .steer import steer

__all__ = [
    "DDIM",
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
    "steer",
    "tau_grid",
    "time_grid",
]
