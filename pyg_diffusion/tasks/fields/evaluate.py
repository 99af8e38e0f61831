"""Generated fields scored against held-out ones."""

import argparse
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...data import laplacian_operator
from ...data.field_file import FieldFileError, grid_of, read_fields
from ...metrics.field_measures import compare_fields, sampling_floor
from ...metrics.fields import BASELINES, power_spectrum
from ...spectral import ExactOperator
from ..scores import FLOOR, OURS, evaluate_to
from .law import drawn_fields


def draw_fields(data: Mapping[str, Any], split: str, count: int) -> Tensor:
    """Fields `[count, N, C]` of the law that a file or card describes, of one of `GridFields`' splits."""
    with tempfile.TemporaryDirectory() as root:
        return drawn_fields(data, root, split, count)


def evaluate_fields(generated: str, reference: str | None = None, baselines: bool = False, seed: int = 0) -> dict[str, Any]:
    """Score a file of generated fields.

    Args:
        reference: a file of held-out fields; None draws as many from the law that the generated ones are of.
        baselines: score `metrics.fields.BASELINES`, made of training fields, beside it.

    Returns:
        {"kind": "fields", "methods": {name: metrics}, "spectrum": {name: p by mode}, "eigenvalues": λ}, JSON-able. The
        method "held-out samples", the sampling floor, is there where the law is known.
    """
    made, data = read_fields(generated)
    known = "law" in data
    if reference is not None:
        truth, other = read_fields(reference)
        if [other[k] for k in ("shape", "kinds", "spacing")] != [data[k] for k in ("shape", "kinds", "spacing")]:
            raise FieldFileError(f"{reference}: fields on another grid than {generated}")
    elif known:
        truth = draw_fields(data, "reference", len(made))
    else:
        raise FieldFileError(f"{generated}: of no known law, so give a file of reference fields")
    if truth.shape[1:] != made.shape[1:]:
        raise FieldFileError(
            f"generated {list(made.shape[1:])} and reference fields {list(truth.shape[1:])} differ in shape"
        )
    operator = laplacian_operator(grid_of(data), dtype=torch.float64)
    assert isinstance(operator, ExactOperator)
    samples = {OURS: made}
    if baselines:
        if not known:
            raise FieldFileError(f"{generated}: of no known law, so there are no training fields to make baselines of")
        train = draw_fields(data, "train", min(data["num_samples"], 10 * len(made)))
        samples |= {name: make(train, len(made), seed) for name, make in BASELINES.items()}
    methods = {name: compare_fields(x, truth, operator, seed=seed) for name, x in samples.items()}
    if known:
        methods[FLOOR] = sampling_floor(draw_fields(data, "test", 4 * len(truth)), truth, operator, seed=seed)
    spectra = {name: power_spectrum(x, operator).mean(1).tolist() for name, x in {**samples, "reference": truth}.items()}
    lam = operator.eigenvalues[0].tolist()
    return {"kind": "fields", "fields": len(made), "methods": methods, "spectrum": spectra, "eigenvalues": lam}


def evaluate(args: argparse.Namespace) -> int:
    """`pyg-diffusion evaluate FIELDS.h5`; returns the exit status."""
    return evaluate_to(args, lambda: evaluate_fields(args.generated, args.reference, args.baselines, args.seed))
