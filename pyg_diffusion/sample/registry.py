"""Samplers by name, as recipes, the command line and benchmarks call them: a new one is its file and a line here.

Another package brings one through the entry point group `pyg_diffusion.samplers`, a program through `SAMPLERS.add`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:  # the command line lists the names, and must not wait for torch to do so
    from .sampler import Sampler

_HERE = "pyg_diffusion.sample"

# name -> class, or a function that gives a `Sampler`, all of whose arguments have defaults that tell their type
SAMPLERS: Registry[Callable[..., Sampler]] = Registry(
    "samplers",
    {
        "ancestral": f"{_HERE}.ancestral:Ancestral",
        "ddim": f"{_HERE}.ddim:DDIM",
        "exponential1": f"{_HERE}.exponential:exponential1",
        "exponential2": f"{_HERE}.exponential:exponential2",
        "exponential3": f"{_HERE}.exponential:exponential3",
        "euler": f"{_HERE}.flow:euler",
        "heun": f"{_HERE}.flow:heun",
        "predictor-corrector": f"{_HERE}.corrector:by_name",
    },
)


def _options(name: str) -> dict[str, Parameter]:
    return dict(signature(SAMPLERS[name]).parameters)


def sampler(name: str, **options: float | str) -> Sampler:
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
    make, known = SAMPLERS[name], _options(name)
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"the sampler {name} has no {unknown[0]}; it has {', '.join(known) or 'no options'}")
    return make(**options)


def parse_sampler(text: str) -> Sampler:
    """The sampler of `NAME` or `NAME:OPTION[,OPTION...]`, an option a value, in the order of the class, or `key=value`.

    Raises:
        ValueError: no such name, no such option, or a value of another type or out of range.

    Example:
        >>> from pyg_diffusion.sample import parse_sampler
        >>> parse_sampler("exponential2")
        Exponential(order=2)
        >>> parse_sampler("ddim:0.5")
        DDIM(eta=0.5)
        >>> parse_sampler("predictor-corrector:exponential2,size=0.1")
        PredictorCorrector(Exponential(order=2), corrections=1, size=0.1)
        >>> parse_sampler("ddim:half")
        Traceback (most recent call last):
        ...
        ValueError: sampler 'ddim:half': eta is a float, got 'half'
    """
    name, _, given = text.partition(":")
    if name not in SAMPLERS:
        raise ValueError(f"no sampler named {name!r}; there are {', '.join(SAMPLERS)}")
    known = _options(name)
    options: dict[str, float | str] = {}
    for place, part in enumerate(given.split(",") if given else ()):
        key, _, value = part.partition("=") if "=" in part else ((*known, "option")[min(place, len(known))], "=", part)
        if key not in known:
            raise ValueError(f"sampler {text!r}: {name} has no {key}; it has {', '.join(known) or 'no options'}")
        kind = type(known[key].default)
        try:
            options[key] = kind(value)
        except ValueError:
            raise ValueError(f"sampler {text!r}: {key} is a {kind.__name__}, got {value!r}") from None
    return sampler(name, **options)
