"""`pyg-diffusion sample` with weights of signals."""

import argparse
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ...console import UsageError
from ...data.signal_file import facts_in, read_signals, write_signals
from ...data.signals import Names, SignalSet, Values
from ...denoise import Denoiser
from ...generate import Steering
from ...weights_io import Card
from ..options import drawing_options
from ..signal_sample import array_of, sample_to_file
from .facts import Facts
from .generator import GraphSignalGenerator
from .source import parts_of


@dataclass
class Wanted:
    """What is drawn.

    Attributes:
        graphs: of each draw; with `fixed` where something is kept.
        number: of each draw the number of what it was asked for.
        asked: conditions of each draw, as one knows them; None where the model knows none, or none are asked.
    """

    graphs: list[Data]
    number: np.ndarray
    asked: list[dict[str, float]] | None


def sample(args: argparse.Namespace, denoiser: Denoiser, card: Card, terms: Sequence[str]) -> int:
    """Signals, as HDF5; returns the exit status."""
    facts = Facts.unpacked(card.data)
    wanted = _wanted(args, card, facts)
    known = dict(args.ask)
    if known:  # as the network reads them, from here on
        args.ask = list(facts.asked(known).items())
        wanted.asked = [known] * len(wanted.graphs)
    if args.guidance != 1 and wanted.asked and not args.ask:
        raise UsageError("--guidance goes with --ask")
    options = drawing_options(args, card)
    return sample_to_file(
        args,
        lambda: GraphSignalGenerator(denoiser, card, **options),
        len(wanted.graphs),
        terms,
        lambda generator, energy, progress, record: generator.sample_on(
            wanted.graphs, args.seed, wanted.asked, Steering(args.guidance, energy), progress, record
        ),
        lambda made: write(args.output, made, wanted, card.data),
        {key: value for key, value in card.data.items() if key != "arrays"},
    )


def _wanted(args: argparse.Namespace, card: Card, facts: Facts) -> Wanted:
    """What the options ask for.

    Raises:
        UsageError: options that do not go together.
    """
    files = [name for name in args.inputs if name != "-"]
    if len(files) > 1:
        raise UsageError(f"one file of graphs is enough; got {', '.join(files)}")
    if args.keep and files:
        raise UsageError("--keep brings its own graphs; give no input beside it")
    if args.keep and Path(args.keep).suffix == ".npy":
        return _kept_array(args, facts, int(card.data["channels"]))
    names = [] if args.ask else list(card.data.get("conditions", []))
    if args.keep or files:
        signals = read_signals(args.keep or files[0], _names_in(args.keep or files[0], card.data, names, bool(args.keep)))
    elif facts.graph is not None:
        return Wanted([copy(facts.graph)] * args.n, np.zeros(args.n, int), None)
    else:
        signals = parts_of(card.data).test
        number = np.arange(args.n) % len(signals)
        return _each(signals, number, names, None)
    number = np.arange(len(signals)).repeat(args.n)
    return _each(signals, number, names, int(card.data["channels"]) if args.keep else None)


def _names_in(path: str, data: Mapping[str, Any], conditions: Sequence[str], gaps: bool) -> Names:
    """What is called how in a file: as in training, or, where `sample` wrote it, as there."""
    own = facts_in(path)
    signal, weight = ("x", "edge_weight") if own else (data.get("signal", "x"), data.get("weight", "edge_weight"))
    if own:
        conditions = [name for name in conditions if name in own.get("told", [])]
    return Names(signal, weight, "", tuple(conditions), gaps)


def _kept_array(args: argparse.Namespace, facts: Facts, channels: int) -> Wanted:
    fixed = torch.as_tensor(array_of(args.keep), dtype=torch.float32)
    if facts.graph is None:
        raise UsageError(
            f"--keep {args.keep}: these weights are of many graphs, so give a file of signals with their graphs"
        )
    nodes = int(facts.graph.num_nodes or 0)
    if fixed.shape != (nodes, channels):
        raise UsageError(
            f"--keep {args.keep}: known values must be [{nodes}, {channels}], NaN where free; got {list(fixed.shape)}"
        )
    graph = copy(facts.graph)
    graph.fixed = fixed
    return Wanted([graph] * args.n, np.zeros(args.n, int), None)


def _each(signals: SignalSet, number: np.ndarray, names: Sequence[str], channels: int | None) -> Wanted:
    """Draws on the graphs of signals, which are kept where `channels` says how many there must be."""
    if channels is not None and signals.channels != channels:
        raise UsageError(f"--keep: {signals.channels} channels, and these weights have {channels}")
    graphs = [signals.data(k) for k in range(len(signals))]
    for k, graph in enumerate(graphs) if channels is not None else ():
        known = torch.ones_like(signals.x[k], dtype=torch.bool) if signals.known is None else signals.known[k]
        graph.fixed = torch.where(known, signals.x[k], torch.nan)
    told = [name for name in names if name in signals.scalars]
    asked = [{name: float(signals.scalars[name][k]) for name in told} for k in range(len(signals))]
    known_ones = [{name: value for name, value in row.items() if np.isfinite(value)} for row in asked]
    return Wanted([graphs[k] for k in number], number, [known_ones[k] for k in number] if told else None)


def write(path: str, made: Sequence[Tensor], wanted: Wanted, data: Mapping[str, Any]) -> None:
    """Draws with their graphs and what was asked; where values were kept, the mean and spread of each ensemble beside."""
    keys = {id(graph): graph for graph in wanted.graphs}
    place = {key: k for k, key in enumerate(keys)}
    graphs = []
    for graph in keys.values():
        graph = copy(graph)
        if "fixed" in graph:
            del graph.fixed
        graphs.append(graph)
    which = np.array([place[id(graph)] for graph in wanted.graphs])
    scalars: dict[str, Tensor] = {}
    for row in wanted.asked or ():
        for name in row:
            scalars.setdefault(
                name, torch.tensor([one.get(name, np.nan) for one in wanted.asked or ()], dtype=torch.float64)
            )
    x: Values = torch.stack(list(made)) if len(graphs) == 1 else list(made)
    signals = SignalSet(graphs, which, x, None, scalars)
    more: dict[str, np.ndarray] = {}
    if any("fixed" in graph for graph in wanted.graphs):
        more = ensembles(made, wanted.number)
    facts = {key: value for key, value in data.items() if key != "arrays"} | {"told": list(scalars)}
    write_signals(path, signals, facts, more)


def ensembles(made: Sequence[Tensor], number: np.ndarray) -> dict[str, np.ndarray]:
    """Of what was filled in: `filled [S]`, which it was, and mean and standard deviation of its draws, node by node,
    `filled_mean` and `filled_spread [ΣN, C]` of one after the other (NaN where it was drawn once)."""
    means, spreads = [], []
    for k in range(int(number.max()) + 1):
        draws = torch.stack([made[j] for j in np.flatnonzero(number == k).tolist()])
        means.append(draws.mean(0))
        spreads.append(draws.std(0) if len(draws) > 1 else torch.full_like(draws[0], torch.nan))
    return {
        "filled": number,
        "filled_mean": torch.cat(means).numpy(),
        "filled_spread": torch.cat(spreads).numpy(),
    }
