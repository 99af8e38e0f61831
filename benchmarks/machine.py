"""What a benchmark ran on: every result file says so."""

import platform
import time
from datetime import date
from pathlib import Path


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def machine() -> dict[str, str | int]:
    """Processor, threads, versions, and the day."""
    import torch  # here, as who wants the processor alone has no need of it

    return {
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": date.today().isoformat(),
    }


def core_time() -> None:
    """From here on the clocks of this process count the time that its core gave it, so that equal times are equal work.

    For scripts on one thread that compare trainings of equal minutes; `train.max_minutes` and the seconds of draws then are
    minutes and seconds of a core.
    """
    import torch

    torch.set_num_threads(1)
    time.monotonic = time.perf_counter = time.process_time
