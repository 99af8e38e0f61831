"""`pyg-diffusion serve`: conformers over HTTP."""

import argparse

from ..console import UsageError
from ..extras import MissingPackage, require


def run(args: argparse.Namespace) -> int:
    """Serves until told to end; returns the exit status."""
    try:
        for package in ("fastapi", "uvicorn", "multipart", "prometheus_client"):
            require(package, "serve", "pyg-diffusion serve")
    except MissingPackage as error:
        raise UsageError(str(error)) from error
    from ..serve.limits import Limits
    from ..serve.run import serve

    limits = Limits(
        body=int(args.body_mb * 1e6),
        molecules=args.molecules,
        atoms=args.atoms,
        conformers=args.conformers,
        queue=args.queue,
        seconds=args.seconds,
    )
    serve(args.host, args.port, args.weights, args.device, limits)
    return 0
