"""Tasks: one folder for each kind of data. Another package brings one through the entry point group `pyg_diffusion.tasks`."""

from ..registry import Registry
from .base import Task

TASKS: Registry[Task] = Registry(
    "tasks",
    {
        "molecules": "pyg_diffusion.tasks.molecules:TASK",
        "fields": "pyg_diffusion.tasks.fields:TASK",
        "matrices": "pyg_diffusion.tasks.matrices:TASK",
    },
)

__all__ = ["TASKS", "Task"]
