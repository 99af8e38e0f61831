"""Linear diffusion processes whose coefficients are functions of a Laplacian eigenvalue."""

from .linear import LinearSDE
from .schedule import ConstantRate, GeometricTime, LinearRate, Schedule

__all__ = ["ConstantRate", "GeometricTime", "LinearRate", "LinearSDE", "Schedule"]
