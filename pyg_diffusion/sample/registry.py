"""Samplers by name, as recipes, the command line and benchmarks call them: a new one is its file and a line here."""

from functools import partial
from inspect import signature
from typing import Any

from ..registry import Registry
from .sampler import Sampler

_HERE = "pyg_diffusion.sample"

# name -> class, or a function that gives a `Sampler`; entry point group `pyg_diffusion.samplers`
SAMPLERS: Registry[Any] = Registry(
    "samplers",
    {
        "ancestral": f"{_HERE}.ancestral:Ancestral",
        "ddim": f"{_HERE}.ddim:DDIM",
        "exponential1": f"{_HERE}.registry:exponential1",
        "exponential2": f"{_HERE}.registry:exponential2",
        "exponential3": f"{_HERE}.registry:exponential3",
    },
)


def _exponential(order: int) -> Sampler:
    from .exponential import Exponential

    return Exponential(order)


exponential1, exponential2, exponential3 = (partial(_exponential, order) for order in (1, 2, 3))


def sampler(name: str, **options: float) -> Sampler:
    """The sampler of a name, with options as its class takes them, such as DDIM's `eta`.

    Raises:
        KeyError: no such name; it says which there are.
        TypeError: an option that it has not.
        ValueError: an option out of range.

    Example:
        >>> from pyg_diffusion.sample.registry import sampler
        >>> sampler("ddim", eta=0.5)
        DDIM(eta=0.5)
    """
    make = SAMPLERS[name]
    known = signature(make).parameters
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"the sampler {name} has no {unknown[0]}; it has {', '.join(known) or 'no options'}")
    return make(**options)
