"""Blocks of work shared out over workers: processes of this machine, or actors of a Ray cluster. Knows no task."""

from collections.abc import Callable
from typing import Any

from ..registry import Registry
from .foreman import Crew, Died, Failed, Finished, Foreman, Ready, WorkersLost

__all__ = ["ENGINES", "Crew", "Died", "Failed", "Finished", "Foreman", "Ready", "WorkersLost"]

# name -> called with `load`, which every worker calls once for the function of a block that it then works by
ENGINES: Registry[Callable[..., Crew[Any]]] = Registry(
    "engines",
    {
        "processes": "pyg_diffusion.workers.processes:Processes",
        "ray": "pyg_diffusion.workers.ray_actors:Actors",
    },
)
