"""Linear diffusion processes whose coefficients are functions of a Laplacian eigenvalue."""

from .linear import LinearSDE
from .schedule import (
    SCHEDULES,
    ConstantRate,
    CosineTime,
    GeometricTime,
    LinearRate,
    Schedule,
    TabulatedTime,
    make_schedule,
)

__all__ = [
    "SCHEDULES",
    "ConstantRate",
    "CosineTime",
    "GeometricTime",
    "LinearRate",
    "LinearSDE",
    "Schedule",
    "TabulatedTime",
    "make_schedule",
]
