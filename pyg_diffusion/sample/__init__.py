"""Samplers: one per file, one network call per step. They see D, φ and σ, and nothing else."""

from .ancestral import Ancestral
from .ddim import DDIM
from .exponential import Exponential
from .sampler import Sampler, StepContext, time_grid

__all__ = ["DDIM", "Ancestral", "Exponential", "Sampler", "StepContext", "time_grid"]
