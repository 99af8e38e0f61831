"""Generated signals scored against held-out ones."""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from ...data import laplacian_operator
from ...data.signal_file import facts_in, read_signals
from ...data.signals import Names, SignalError, SignalSet, Values, graph_key
from ...metrics.classes import Judge, frechet_distance, has_judge
from ...metrics.field_measures import compare_fields, sampling_floor
from ...metrics.fields import BASELINES, nearest_mse, power_spectrum, spectrum_at
from ...metrics.graph_signals import GraphSignals, compare_signals
from ...metrics.known_values import BY_NAME
from ...sections import RecipeError
from ...spectral import ChebyshevOperator, DenseOperator, Laplacian, LaplacianOperator
from ..scores import FLOOR, OURS, evaluate_to
from .source import Parts, parts_of

EXACT = 3000  # nodes of a graph up to which all its modes are compared, and not bands of them


def operator_of(graph: Data, normalized: bool = False) -> LaplacianOperator:
    """L of the graph that signals are compared on."""

    def backend(laplacian: Laplacian) -> LaplacianOperator:
        if laplacian.num_nodes <= EXACT:
            return DenseOperator.from_laplacian(laplacian)
        return ChebyshevOperator(laplacian, tol=1e-3, max_degree=1024)

    grid = "grid_shape" in graph and not normalized
    return laplacian_operator(graph, None if grid else backend, torch.float64, normalized)


KNOWN = (*BY_NAME, "values_wasserstein", "power")  # measures that need no whole signal


def _whole(signals: SignalSet) -> SignalSet:
    """Those of which all is known."""
    if signals.known is None:
        return signals
    kept = signals.take([k for k, known in enumerate(signals.known) if bool(known.all())])
    kept.known = None
    return kept


def _has_gaps(signals: SignalSet | None) -> bool:
    return signals is not None and len(_whole(signals)) < len(signals)


def _with_gaps(signals: SignalSet) -> Values:
    """Its values, NaN where nobody knows them."""
    if signals.known is None:
        return signals.x
    x = [torch.where(known, x, torch.nan) for known, x in zip(signals.known, signals.x, strict=True)]
    return torch.stack(x) if len(signals.graphs) == 1 else x


def _reference(path: str | None, data: Mapping[str, Any], parts: Parts | None) -> SignalSet:
    if path is None:
        if parts is None:
            raise SignalError("nothing is said of what they were trained on, so give a file of reference signals")
        return parts.test
    if facts_in(path):
        return read_signals(path)
    signal, weight = data.get("signal", "x"), data.get("weight", "edge_weight")
    return read_signals(path, Names(signal, weight, data.get("mask", ""), gaps=True))


def _parts(data: Mapping[str, Any]) -> Parts | None:
    """The signals that the generated ones tell of, where they are still there."""
    try:
        return parts_of(data) if data.get("path") or data.get("dataset") else None
    except (SignalError, RecipeError):
        return None


def evaluate_signals(generated: str, reference: str | None = None, baselines: bool = False, seed: int = 0) -> dict[str, Any]:
    """Score a file of generated signals.

    Args:
        reference: a file of held-out signals; None takes the part of the data that was held out of all training. Where
            values are missing (a mask, NaN in a file), measures that need whole signals are of those that are whole.
        baselines: score `metrics.fields.BASELINES`, made of training signals, beside it; of signals of one graph.

    Returns:
        {"kind": "signals", "methods": {name: metrics}, "spectrum": {name: p}, "eigenvalues": λ, "notes": [text]}, JSON-able.
        The method "held-out samples", the floor, are the signals that weights were chosen by, against the reference. Notes
        say what was left out.

    Raises:
        SignalError: signals that cannot be compared, and why.
    """
    data = facts_in(generated)
    made = read_signals(generated, Names(scalars=tuple(data.get("told", []))))
    parts = _parts(data)
    truth = _reference(reference, data, parts)
    if truth.channels != made.channels:
        raise SignalError(f"generated signals have {made.channels} channels, and the reference {truth.channels}")
    one = len(made.graphs) == 1 and len(truth.graphs) == 1
    if one and graph_key(made.graphs[0]) != graph_key(truth.graphs[0]):
        one = False
    found = _on_one_graph if one else _on_many_graphs
    if baselines and not (one and parts is not None):
        raise SignalError("baselines are made of training signals of one graph, and there are none")
    held = None if parts is None else parts.val
    result = found(made, truth, held, bool(data.get("normalized")), seed)
    if baselines and parts is not None:
        result["methods"] |= _baselines(_whole(parts.train), truth, len(made), bool(data.get("normalized")), seed)
    if one and parts is not None:
        for row in data.get("categories", [])[:1]:
            _judge(row, result["methods"], made, _whole(truth), parts)
    named = {"reference": truth, FLOOR: held, **({"training": parts.train} if parts is not None and baselines else {})}
    return {"kind": "signals", "signals": len(made), **result, "notes": _notes(named, result["methods"][OURS])}


def _notes(named: Mapping[str, SignalSet | None], rows: Mapping[str, float]) -> list[str]:
    """What gaps left out of the table, in words."""
    counts = [
        f"{len(signals) - len(_whole(signals))} of {len(signals)} {name.replace(' samples', '')} signals"
        for name, signals in named.items()
        if signals is not None and _has_gaps(signals)
    ]
    if not counts:
        return []
    known, others = ([row for row in rows if (row in KNOWN) == need] for need in (True, False))
    rest = f"; left out of {', '.join(others)}" if others else "; all else needs two whole signals of each set"
    return [f"values are missing in {', '.join(counts)}: counted as far as known in {', '.join(known)}{rest}"]


def _baselines(train: SignalSet, truth: SignalSet, count: int, normalized: bool, seed: int) -> dict[str, dict[str, float]]:
    """Rows of simple generators, made of training signals."""
    if len(train) < 2:
        raise SignalError(f"baselines need 2 training signals without missing values, and there are {len(train)}")
    operator, x, y, gaps = operator_of(truth.graphs[0], normalized), train.stacked(), _with_gaps(truth), _has_gaps(truth)
    assert isinstance(y, Tensor)
    return {
        name: compare_fields(make(x, count, seed), y, operator, seed=seed, gaps=gaps) for name, make in BASELINES.items()
    }


def _judge(name: str, methods: dict[str, dict[str, float]], made: SignalSet, truth: SignalSet, parts: Parts) -> None:
    """Rows of what a classifier that was fitted to the training signals says of signals with classes.

    `NAME_agreement`: the share whose class it takes for the one that was asked; `frechet`: distance in its features to the
    reference; `nearest_training`: mean squared error to the nearest training signal, which shows copies.
    """
    train = _whole(parts.train)
    if not has_judge() or len(truth) < 2 or len(train.scalars[name].unique()) < 2:
        return
    judge = Judge(train.stacked(), train.scalars[name])
    for method, signals in ((OURS, made), (FLOOR, _whole(parts.val))):
        if method in methods and len(signals) > 1:
            rows = {"frechet": frechet_distance(judge.features(signals.stacked()), judge.features(truth.stacked()))}
            if name in signals.scalars:
                rows = {f"{name}_agreement": judge.agreement(signals.stacked(), signals.scalars[name]), **rows}
            methods[method] |= rows | {"nearest_training": nearest_mse(signals.stacked(), train.stacked())}


def _on_one_graph(made: SignalSet, truth: SignalSet, held: SignalSet | None, normalized: bool, seed: int) -> dict[str, Any]:
    """By the measures of fields."""
    operator = operator_of(truth.graphs[0], normalized)
    x, y, gaps = made.stacked(), _with_gaps(truth), _has_gaps(truth) or _has_gaps(held)
    assert isinstance(y, Tensor)
    if min(len(x), len(y)) < 2:
        raise SignalError("at least 2 generated and 2 reference signals are needed")
    methods = {OURS: compare_fields(x, y, operator, seed=seed, gaps=gaps)}
    if held is not None and len(held) > 1:
        z = _with_gaps(held)
        assert isinstance(z, Tensor)
        few = y[: len(z)] if len(z) < len(y) else y
        methods[FLOOR] = sampling_floor(z, few, operator, seed=seed, gaps=gaps)
    full = _whole(truth)
    sets = {OURS: x, **({"reference": full.stacked()} if len(full) else {})}
    spectra = {name: power_spectrum(v, operator).mean(1).tolist() for name, v in sets.items()}
    return {"methods": methods, "spectrum": spectra, "eigenvalues": spectrum_at(operator).tolist()}


def _on_many_graphs(
    made: SignalSet, truth: SignalSet, held: SignalSet | None, normalized: bool, seed: int
) -> dict[str, Any]:
    """By what signals of different graphs have in common."""
    sets = {OURS: made, "reference": truth} | ({FLOOR: held} if held is not None else {})
    seen = {name: GraphSignals.of(_pairs(signals), normalized) for name, signals in sets.items()}
    truth_seen = seen["reference"]
    methods = {name: compare_signals(seen[name], truth_seen) for name in sets if name != "reference"}
    if not len(truth_seen.eigenvalues):
        return {"methods": methods, "spectrum": {}, "eigenvalues": []}
    lam, there = truth_seen.bins()
    spectra = {name: seen[name].binned(there).mean(1).tolist() for name in (OURS, "reference")}
    return {"methods": methods, "spectrum": spectra, "eigenvalues": lam.tolist()}


def _pairs(signals: SignalSet) -> list[tuple[Data, Tensor]]:
    return [(signals.data(k), x) for k, x in enumerate(_with_gaps(signals))]


def evaluate(args: argparse.Namespace) -> int:
    """`pyg-diffusion evaluate SIGNALS.h5`; returns the exit status."""
    return evaluate_to(args, lambda: evaluate_signals(args.generated, args.reference, args.baselines, args.seed))
