"""`pyg-diffusion sample` with weights of fields."""

import argparse
from collections.abc import Sequence

from ...console import UsageError
from ...data.field_file import write_fields
from ...denoise import Denoiser
from ...weights_io import Card
from ..options import drawing_options
from ..signal_sample import array_of, sample_to_file
from .generator import FieldGenerator


def sample(args: argparse.Namespace, denoiser: Denoiser, card: Card, terms: Sequence[str]) -> int:
    """Fields, as HDF5; returns the exit status."""
    if args.inputs != ["-"]:
        raise UsageError(f"these weights make fields, which take no input; got {args.inputs[0]!r}")
    fixed = array_of(args.keep) if args.keep else None
    asked = dict(args.ask) or None
    return sample_to_file(
        args,
        lambda: FieldGenerator(denoiser, card, **drawing_options(args, card)),
        args.n,
        terms,
        lambda generator, **how: generator.sample(args.n, args.seed, asked, args.guidance, fixed=fixed, **how),
        lambda x: write_fields(args.output, x, card.data),
        card.data,
    )
