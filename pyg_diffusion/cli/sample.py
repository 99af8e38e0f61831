"""`pyg-diffusion sample`: whatever the weights make."""

import argparse

from ..console import UsageError, say


def run(args: argparse.Namespace) -> int:
    """Samples; returns the exit status."""
    from ..tasks import task_of
    from ..weights_io import SHIPPED, load_pretrained, standing, weights_path

    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda: this machine has no CUDA device that torch can use")
    denoiser, card = load_pretrained(SHIPPED if args.weights is None else args.weights)
    if args.weights is not None and not args.quiet and (where := standing(card)):
        say(f"{weights_path(args.weights)}: {where}")
    return task_of(card).sample(args, denoiser, card)
