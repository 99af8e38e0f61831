"""Samplers and time grids by name, as recipes, the command line and benchmarks call them: a new one is a file and a line.

Another package brings one through the entry point group `pyg_diffusion.samplers` or `pyg_diffusion.grids`, a program through
`SAMPLERS.add` or `GRIDS.add`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Protocol

from ..registry import Registry

if TYPE_CHECKING:  # the command line lists the names, and must not wait for torch to do so
    from torch import Tensor

    from .grids import GridRequest
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
        "ode": f"{_HERE}.ode:ODE",
        "predictor-corrector": f"{_HERE}.corrector:by_name",
    },
)


class FollowsTimes(Protocol):
    """What a grid needs to know of a sampler (`Sampler`)."""

    @property
    def adaptive(self) -> bool: ...
    @property
    def deterministic(self) -> bool: ...


# name -> function of a `GridRequest`, and of options whose defaults tell their type
GRIDS: Registry[Callable[..., Tensor]] = Registry(
    "grids",
    {
        "geometric": f"{_HERE}.grids:geometric",
        "tau": f"{_HERE}.grids:tau",
        "log-snr": f"{_HERE}.grids:log_snr",
        "optimised": f"{_HERE}.grids:optimised",
    },
)


FITTED = ("optimised",)  # to one draw, which says nothing of a sampler that draws noise on the way


def _options(make: Callable[..., object]) -> dict[str, Parameter]:
    """The arguments that have defaults: a grid's first is what it is made for."""
    return {name: p for name, p in signature(make).parameters.items() if p.default is not Parameter.empty}


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
    make, known = SAMPLERS[name], _options(SAMPLERS[name])
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
    name, options = _parsed(text, "sampler", SAMPLERS)
    return sampler(name, **options)


def parse_grid(text: str, sampler: FollowsTimes) -> Callable[[GridRequest], Tensor]:
    """The time grid of `NAME` or `NAME:OPTION`, as for samplers, for this one: a function of a `GridRequest`.

    Raises:
        ValueError: no such name, no such option, a value of another type, or a grid that has no effect or sense here.

    Example:
        >>> from pyg_diffusion.sample import Exponential, parse_grid
        >>> parse_grid("tau:3.5", Exponential()).keywords
        {'power': 3.5}
    """
    name, options = _parsed(text, "grid", GRIDS)
    if sampler.adaptive:
        raise ValueError(f"{sampler} chooses its times itself; a grid has no effect on it")
    if name in FITTED and not sampler.deterministic:
        raise ValueError(f"the {name} grid is fitted to a deterministic sampler, such as exponential2, not to {sampler}")
    return partial(GRIDS[name], **options)


def _parsed(text: str, what: str, registry: Registry[Callable[..., Any]]) -> tuple[str, dict[str, float | str]]:
    """Name and options."""
    name, _, given = text.partition(":")
    if name not in registry:
        raise ValueError(f"no {what} named {name!r}; there are {', '.join(registry)}")
    known = _options(registry[name])
    options: dict[str, float | str] = {}
    for place, part in enumerate(given.split(",") if given else ()):
        key, _, value = part.partition("=") if "=" in part else ((*known, "option")[min(place, len(known))], "=", part)
        if key not in known:
            raise ValueError(f"{what} {text!r}: {name} has no {key}; it has {', '.join(known) or 'no options'}")
        kind = type(known[key].default)
        try:
            options[key] = kind(value)
        except ValueError:
            raise ValueError(f"{what} {text!r}: {key} is a {kind.__name__}, got {value!r}") from None
    return name, options
