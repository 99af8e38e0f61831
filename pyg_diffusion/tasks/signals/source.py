"""Signals of a recipe: read, and parted into those to train on, to validate on and to compare with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ...data.coarsen import coarsened
from ...data.signal_file import read_signals
from ...data.signals import SignalError, SignalSet, from_items
from ...registry import imported
from ...sections import validated
from .recipe import SignalsData


class Parts(NamedTuple):
    """Of the signals of a recipe."""

    train: SignalSet
    val: SignalSet
    test: SignalSet


def load(config: SignalsData, scalars: Sequence[str] = ()) -> SignalSet:
    """All signals.

    Args:
        scalars: numbers of each that are read as well.

    Raises:
        SignalError: they cannot be read, or used; which and why.
    """
    names = config.names(*scalars)
    if config.path:
        return read_signals(config.path, names)
    try:
        made = imported(config.dataset)
    except ValueError as error:
        raise SignalError(f"dataset: {error}") from error
    try:
        items = made(**config.arguments)
    except Exception as error:  # someone's data set may fail in any way
        raise SignalError(f"dataset: {config.dataset}: {type(error).__name__}: {error}") from error
    if not isinstance(items, Iterable) and not hasattr(items, "__getitem__"):
        raise SignalError(f"dataset: {config.dataset} gives a {type(items).__name__}, which has no items")
    try:
        return from_items(items, names)
    except SignalError as error:
        raise SignalError(f"{config.dataset}: {error}") from error


def coarsen(config: SignalsData, signals: SignalSet) -> tuple[SignalSet, Tensor | None]:
    """The signals at the resolution of a recipe, and the cluster of each node, None where that is the full one.

    Raises:
        SignalError: they are of many graphs, or their graph cannot be coarsened.
    """
    if config.coarsen == 1 and not config.coarse:
        return signals, None
    if len(signals.graphs) != 1:
        raise SignalError(f"resolutions are of signals of one graph, and these are on {len(signals.graphs)}")
    if config.coarsen == 1:
        return signals, None
    try:
        graph, clusters = coarsened(signals.graphs[0], config.coarsen)
    except ValueError as error:
        raise SignalError(f"coarsen: {error}") from error
    x = signals.stacked()
    means = clusters.means(x.transpose(0, 1).flatten(1)).view(clusters.number, len(x), -1).transpose(0, 1).contiguous()
    return replace(signals, graphs=[graph], x=means), clusters.of


def part(config: SignalsData, signals: SignalSet) -> Parts:
    """By index, by graph, or by time, as the recipe says.

    Raises:
        SignalError: there are too few.
    """
    rng, count = np.random.default_rng(config.seed), len(signals)
    if config.split == "graph":
        order, owner = rng.permutation(len(signals.graphs)), signals.graph
        what = "graphs that differ"
    else:
        order, owner = rng.permutation(count), np.arange(count)
        what = "signals"
    if config.split == "time":
        times = signals.scalars[config.time].numpy() if config.time else np.arange(count)
        if not np.isfinite(times).all():
            raise SignalError(f"graph {int(np.argmin(np.isfinite(times)))}: its time {config.time!r} is not finite")
        order = np.argsort(times, kind="stable")
    if len(order) < 3:
        raise SignalError(f"{len(order)} {what} are too few: some to train on, some held out twice")
    held = [max(1, round(share * len(order))) for share in (config.val_fraction, config.test_fraction)]
    if sum(held) >= len(order):
        held = [1, 1]
    begin = len(order) - sum(held)
    pieces = order[:begin], order[begin : begin + held[0]], order[begin + held[0] :]
    return Parts(*(signals.take(np.flatnonzero(np.isin(owner, piece))) for piece in pieces))


def parts_of(data: Mapping[str, Any]) -> Parts:
    """The signals that a card or a file tells of, read again.

    Raises:
        SignalError, RecipeError: they are not there any more, or are others.
    """
    config = validated(SignalsData, {k: data[k] for k in SignalsData.model_fields if k in data}, "data")
    return part(config, coarsen(config, load(config, data.get("conditions", [])))[0])
