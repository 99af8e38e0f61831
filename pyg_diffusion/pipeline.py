"""Sampling and scoring of files has moved to `tasks.molecules`."""

from .deprecated import moved

__getattr__ = moved(
    __name__,
    {
        "sample_records": "tasks.molecules.sample",
        "Tally": "tasks.molecules.sample",
        "evaluate_files": "tasks.molecules.evaluate",
    },
)
